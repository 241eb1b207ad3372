"""Where the sandbox listens."""

import random
import socket
from contextlib import suppress

ADDRESS = "127.0.0.1"
_BELOW_EPHEMERAL = range(30000, 32768)
"""Linux gives connections their ports from 32768 on (ip_local_port_range), responders take 20000 to
29999.
"""


def free_port() -> int:
    """One that no connection takes while the host or registry behind it is off. Raises OSError
    where none is free.
    """
    for port in random.sample(_BELOW_EPHEMERAL, len(_BELOW_EPHEMERAL)):
        with suppress(OSError), socket.create_server((ADDRESS, port)):
            return port
    raise OSError(
        f"no port from {_BELOW_EPHEMERAL.start} to {_BELOW_EPHEMERAL.stop - 1} is free on {ADDRESS}"
    )
