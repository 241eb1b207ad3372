"""SSH servers on loopback: each a host of the estate with a directory, programs and processes of
its own.
"""

import logging
import os
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)

from breakglass.sandbox.ports import ADDRESS, free_port
from breakglass.sandbox.sessions import Naming, Session, end_processes

MARK = "BREAKGLASS_SANDBOX_HOST"
"""The environment variable that tells the stand-ins where their host's files are, and us whose
process it is.
"""
LOGGER = "breakglass.sandbox.ssh"
MESSAGE_CHANNEL_SUCCESS = 99
NEVER_REKEY = 2**36


class Host:
    """A host: commands run with the machine's own shell, as the user who started the sandbox, below
    `root`.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        *,
        user: str,
        programs: Sequence[Path],
        client_key: paramiko.PKey,
        known_as: Path | None = None,
    ) -> None:
        """`known_as`: what whoever talks to the host calls its `root`."""
        self.name, self.root, self.user = name, root, user
        self.port = 0
        self._naming = Naming(outside=f"{known_as or root}/".encode(), inside=f"{root}/".encode())
        self._client_key = client_key
        self._key = paramiko.ECDSAKey.generate()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._listening: threading.Thread | None = None
        self._transports: set[_Transport] = set()
        self._serving: set[threading.Thread] = set()
        self._sessions: set[Session] = set()
        home = root / "home"
        home.mkdir(parents=True, exist_ok=True)
        self.environ: Mapping[str, str] = {
            "PATH": ":".join(str(directory) for directory in programs),
            "HOME": str(home),
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            MARK: str(root),
        }
        logging.getLogger(LOGGER).addHandler(logging.NullHandler())
        logging.getLogger(LOGGER).propagate = False

    @property
    def up(self) -> bool:
        return self._listener is not None

    @property
    def address(self) -> str:
        """`user@host:port`, as the configuration names it."""
        return f"{self.user}@{ADDRESS}:{self.port}"

    @property
    def known_hosts_line(self) -> str:
        return f"[{ADDRESS}]:{self.port} {self._key.get_name()} {self._key.get_base64()}"

    def start(self) -> None:
        """Listen: on a free port the first time, on the same one afterwards."""
        if self.up:
            return
        self.port = self.port or free_port()
        self._listener = socket.create_server((ADDRESS, self.port))
        self._listening = threading.Thread(
            target=self._listen, args=(self._listener,), name=f"sandbox {self.name}", daemon=True
        )
        self._listening.start()

    def stop(self) -> None:
        """Power off: connections break, processes end, files stay."""
        listener, self._listener = self._listener, None
        if listener:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        if self._listening:
            self._listening.join(5)
        # Connections first: a client of a host without power sees no exit status.
        self.cut()
        for thread in list(self._serving):
            thread.join(5)
        end_processes(f"{MARK}={self.root}")
        for session in list(self._sessions):
            session.kill()
            session.join(5)
        self._sessions.clear()

    def cut(self) -> None:
        """Break every connection; what runs on the host goes on."""
        with self._lock:
            transports = list(self._transports)
        for transport in transports:
            transport.break_off()

    def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command on the host without SSH, as somebody who sits at its console would."""
        command = [self._naming.come_in(os.fsencode(word)) for word in ("/usr/bin/env", *argv)]
        ended = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            cwd=self.environ["HOME"],
            env=dict(self.environ),
            start_new_session=True,
            check=False,
        )
        return subprocess.CompletedProcess(
            argv,
            ended.returncode,
            self._naming.go_out(ended.stdout),
            self._naming.go_out(ended.stderr),
        )

    def lets_in(self, user: str, key: paramiko.PKey) -> bool:
        return user == self.user and key == self._client_key

    def execute(self, channel: paramiko.Channel, argv: list[bytes]) -> Session:
        session = Session(
            channel,
            argv,
            directory=Path(self.environ["HOME"]),
            environ=self.environ,
            naming=self._naming,
        )
        with self._lock:
            self._sessions = {known for known in self._sessions if known.running} | {session}
        session.start()
        return session

    def _listen(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(
                    target=self._serve,
                    args=(connection,),
                    name=f"sandbox {self.name} connection",
                    daemon=True,
                )
                with self._lock:
                    self._serving = {known for known in self._serving if known.is_alive()} | {
                        thread
                    }
                    # Registered before it is negotiated, so that a host that stops breaks this one
                    # as well.
                    thread.start()

    def _serve(self, connection: socket.socket) -> None:
        transport = _Transport(connection)
        with self._lock:
            self._transports.add(transport)
        try:
            transport.add_server_key(self._key)
            transport.start_server(server=_Door(self, transport))
            # paramiko itself keeps no hold of a channel: one that nobody holds is gone before its
            # command comes.
            channels: list[paramiko.Channel] = []
            while transport.is_active() and self.up:
                accepted = transport.accept(1.0)
                channels = [channel for channel in channels if not channel.closed] + (
                    [accepted] if accepted else []
                )
        except (paramiko.SSHException, OSError, EOFError):
            pass  # a client that changed its mind, or a host that was stopped meanwhile
        finally:
            transport.break_off()
            with self._lock:
                self._transports.discard(transport)


class _Transport(paramiko.Transport):
    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self._connection = connection
        self.starting: dict[int, Session] = {}
        self.set_log_channel(LOGGER)
        # paramiko #822: a rekey in the middle of a long stream may hang it.
        self.packetizer.REKEY_BYTES = NEVER_REKEY
        self.packetizer.REKEY_PACKETS = NEVER_REKEY

    def break_off(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self.close()
        self._connection.close()

    def _send_user_message(self, data: paramiko.Message) -> None:
        """Sends, and lets the session start whose request this message answers."""
        super()._send_user_message(data)  # type: ignore[misc]  # the stubs know public names only
        sent = data.asbytes()
        if sent[:1] == bytes((MESSAGE_CHANNEL_SUCCESS,)) and self.starting:
            for session in [
                self.starting.pop(number)
                for number in list(self.starting)
                if self.starting[number].channel.remote_chanid == int.from_bytes(sent[1:5], "big")
            ]:
                session.answered.set()


class _Door(paramiko.ServerInterface):
    """Who may come in and what may be asked: one key, commands and a shell; no terminal, no
    forwarding, no SFTP.
    """

    def __init__(self, host: Host, transport: _Transport) -> None:
        self._host, self._transport = host, transport

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
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
