"""The address and the ports that the sandbox listens on."""

import random
import socket
from contextlib import suppress

ADDRESS = "127.0.0.1"
_BELOW_EPHEMERAL = range(30000, 32768)
"""Linux uses ports from 32768 on for outgoing connections (ip_local_port_range); responders use
20000 to 29999.
"""


def free_port() -> int:
    """A free port that no outgoing connection can take while its host or registry is stopped.
    Raises OSError if there is none.
    """
    for port in random.sample(_BELOW_EPHEMERAL, len(_BELOW_EPHEMERAL)):
        with suppress(OSError), socket.create_server((ADDRESS, port)):
            return port
    raise OSError(
        f"no port from {_BELOW_EPHEMERAL.start} to {_BELOW_EPHEMERAL.stop - 1} is free on {ADDRESS}"
    )
