"""SSH. Only this package imports paramiko, and only when the first connection is made."""

from breakglass.ssh.connections import Connections
from breakglass.ssh.host_key import KNOWN_HOSTS_VARIABLE
from breakglass.ssh.private_keys import KEY_VARIABLE

SECRETS = (KEY_VARIABLE, KNOWN_HOSTS_VARIABLE)
"""Environment variables with a private key and known_hosts lines. No process that we start gets
them.
"""

__all__ = ["SECRETS", "Connections"]
