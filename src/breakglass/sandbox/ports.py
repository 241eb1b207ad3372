"""Where the sandbox listens."""

import random
import socket
from contextlib import suppress

ADDRESS = "127.0.0.1"
_BELOW_EPHEMERAL = range(30000, 32768)
"""Linux takes the ports of connections from 32768 on; responders listen on 20000 to 29999."""


class Reservation:
    """Keeps a port while nobody listens on it: connections are refused, and no other sandbox takes
    it. Ends with the object.
    """

    def __init__(self) -> None:
        """Raises OSError where no port is free."""
        self._socket = socket.socket()
        for self.port in random.sample(_BELOW_EPHEMERAL, len(_BELOW_EPHEMERAL)):
            with suppress(OSError):
                self._socket.bind((ADDRESS, self.port))
                # From here on our own listener may use the port too, but only it.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                return
        first, last = _BELOW_EPHEMERAL.start, _BELOW_EPHEMERAL.stop - 1
        raise OSError(f"no port from {first} to {last} is free on {ADDRESS}")

    def end(self) -> None:
        self._socket.close()

    __del__ = end
