"""The only package that knows paramiko, which is loaded with the first connection."""

from breakglass.ssh.connections import KNOWN_HOSTS_VARIABLE, Connections
from breakglass.ssh.identities import KEY_VARIABLE

SECRETS = (KEY_VARIABLE, KNOWN_HOSTS_VARIABLE)
"""Variables that hold a key and known hosts as text: for us, and for no process that we start."""

__all__ = ["SECRETS", "Connections"]
