"""The only package that knows paramiko, which is loaded with the first connection."""

from breakglass.ssh.connections import Connections

__all__ = ["Connections"]
