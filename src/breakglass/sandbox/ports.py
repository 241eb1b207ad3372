"""Where the sandbox listens."""

import random
import socket
from contextlib import suppress

ADDRESS = "127.0.0.1"
_BELOW_EPHEMERAL = range(30000, 32768)
"""Linux takes the ports of connections from 32768 on; responders listen on 20000 to 29999."""


def reserve() -> socket.socket:
    """A socket that keeps a port while nobody listens on it: connections are refused, and no other
    sandbox takes it. Raises OSError where none is free.
    """
    for port in random.sample(_BELOW_EPHEMERAL, len(_BELOW_EPHEMERAL)):
        reservation = socket.socket()
        with suppress(OSError):
            reservation.bind((ADDRESS, port))
            # From here on our own listener may use the port too, but only it.
            reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return reservation
        reservation.close()
    first, last = _BELOW_EPHEMERAL.start, _BELOW_EPHEMERAL.stop - 1
    raise OSError(f"no port from {first} to {last} is free on {ADDRESS}")


def port_of(reservation: socket.socket) -> int:
    return int(reservation.getsockname()[1])
