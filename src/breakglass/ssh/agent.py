"""A key that the agent holds. Imports paramiko, so it is imported only with the first key."""

from typing import Any

import paramiko
from paramiko.agent import AgentKey


class NotSigned(paramiko.SSHException):
    """The agent did not sign. paramiko raises the same class for what a server does."""


class HeldKey(AgentKey):
    """Signs by the agent. Raises NotSigned."""

    def sign_ssh_data(self, data: Any, algorithm: str | None = None) -> Any:
        try:
            return super().sign_ssh_data(data, algorithm)
        except (paramiko.SSHException, OSError) as error:
            raise NotSigned(str(error)) from error
