"""The server side of one SSH connection to a host: login, and the start of sessions."""

import socket
import time
from contextlib import suppress
from typing import Protocol

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)

from breakglass.sandbox.sessions import Session

LOGGER = "breakglass.sandbox.ssh"
MESSAGE_CHANNEL_SUCCESS = 99
NEVER_REKEY = 2**36


class Serves(Protocol):
    """A host as its connections see it."""

    def lets_in(self, user: str, key: paramiko.PKey) -> bool: ...

    def execute(self, channel: paramiko.Channel, argv: list[bytes]) -> Session: ...

    @property
    def login_seconds(self) -> int: ...


class HostTransport(paramiko.Transport):
    """A client's connection. A session starts when its client has the answer to its request."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self._connection = connection
        self.starting: dict[int, Session] = {}
        self.set_log_channel(LOGGER)
        # paramiko #822: a rekey in the middle of a long stream may hang it.
        self.packetizer.REKEY_BYTES = NEVER_REKEY
        self.packetizer.REKEY_PACKETS = NEVER_REKEY

    def break_off(self) -> None:
        """Break the connection, as a pulled cable does."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self.close()
        self._connection.close()

    def _send_user_message(self, data: paramiko.Message) -> None:
        """Send a message. If it accepts a request for a session, let the session start."""
        super()._send_user_message(data)  # type: ignore[misc]  # the stubs know public names only
        message = data.asbytes()
        if message[:1] != bytes((MESSAGE_CHANNEL_SUCCESS,)):
            return
        channel_number = int.from_bytes(message[1:5], "big")
        for number, session in list(self.starting.items()):
            if session.channel.remote_chanid == channel_number:
                del self.starting[number]
                session.answered.set()


class Door(paramiko.ServerInterface):
    """Who may log in, and what may be requested: one key, commands and a shell; no terminal, no
    forwarding, no SFTP.
    """

    def __init__(self, host: Serves, transport: HostTransport) -> None:
        self._host, self._transport = host, transport

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        time.sleep(self._host.login_seconds)
        return AUTH_SUCCESSFUL if self._host.lets_in(username, key) else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002
        return OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        return self._start(channel, [b"/bin/sh", b"-c", command])

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        return self._start(channel, [b"/bin/sh"])

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:  # noqa: ARG002
        return False

    def _start(self, channel: paramiko.Channel, argv: list[bytes]) -> bool:
        if b"\0" in b"".join(argv):
            return False
        self._transport.starting[channel.chanid] = self._host.execute(channel, argv)
        return True
