"""SSH servers on loopback. Each is a host with its own directory, programs and processes."""

import logging
import os
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import paramiko

from breakglass.sandbox import machine_ids
from breakglass.sandbox.door import LOGGER, Door, HostTransport
from breakglass.sandbox.ports import ADDRESS, Reservation
from breakglass.sandbox.sessions import Naming, Session, end_processes

MARK = "BREAKGLASS_SANDBOX_HOST"
"""The environment variable with the directory of a host. The stand-ins find its files by it, and we
find its processes.
"""


class Host:
    """A host with its files below `root`. Its commands run with the machine's own shell, as the
    user who started the sandbox.
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
        """`known_as`: the name of `root` for everybody who talks to the host."""
        self.name, self.root, self.user = name, root, user
        self.reservation = Reservation()
        self.port = self.reservation.port
        self._naming = Naming(
            outside=f"{known_as or root}/".encode(),
            inside=f"{root}/".encode(),
            own_files=machine_ids.own_files(root),
        )
        self.login_seconds = 0
        """How long the host takes to let a client in."""
        self.banner = ""
        """What its shell prints before each command."""
        self._client_key = client_key
        self._key = paramiko.ECDSAKey.generate()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._listening: threading.Thread | None = None
        self._transports: set[HostTransport] = set()
        self._serving: set[threading.Thread] = set()
        self._sessions: set[Session] = set()
        machine_ids.write(
            root, boot=machine_ids.boot_id(name), machine=machine_ids.machine_id(name)
        )
        self.environ = _environ(root, user, programs)
        Path(self.environ["HOME"]).mkdir(parents=True, exist_ok=True)
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
        """Listen, each time on the same port."""
        if self.up:
            return
        self._listener = socket.create_server((ADDRESS, self.port))
        self._listening = threading.Thread(
            target=self._listen, args=(self._listener,), name=f"sandbox {self.name}", daemon=True
        )
        self._listening.start()

    def stop(self) -> None:
        """Cut the power: connections break, processes end, files stay."""
        listener, self._listener = self._listener, None
        if listener:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        if self._listening:
            self._listening.join(5)
        # Connections first, since a client of a host without power sees no exit status.
        self.cut()
        for thread in list(self._serving):
            thread.join(5)
        end_processes(f"{MARK}={self.root}")
        for session in list(self._sessions):
            session.kill()
            session.join(5)
        self._sessions.clear()

    def cut(self) -> None:
        """Break every connection. Commands on the host go on."""
        with self._lock:
            transports = list(self._transports)
        for transport in transports:
            transport.break_off()

    def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command on the host without SSH, as at its console."""
        command = [self._naming.word_in(os.fsencode(word)) for word in ("/usr/bin/env", *argv)]
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
        """Whether this user may log in with this key."""
        return user == self.user and key == self._client_key

    def execute(self, channel: paramiko.Channel, argv: list[bytes]) -> Session:
        """Start a command whose input and output are the channel."""
        session = Session(
            channel,
            [*self._greeting(), *argv],
            directory=Path(self.environ["HOME"]),
            environ=self.environ,
            naming=self._naming,
        )
        with self._lock:
            self._sessions = {known for known in self._sessions if known.running} | {session}
        session.start()
        return session

    def _greeting(self) -> tuple[bytes, ...]:
        """What stands before a command, where the shell's start-up file prints something."""
        if not self.banner:
            return ()
        script = b'printf "%s\\n" "$0"; exec "$@"'
        return (b"/bin/sh", b"-c", script, os.fsencode(self.banner))

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
                    # Registered before the login, so that stop() breaks this connection as well.
                    thread.start()

    def _serve(self, connection: socket.socket) -> None:
        transport = HostTransport(connection)
        with self._lock:
            self._transports.add(transport)
        try:
            transport.add_server_key(self._key)
            transport.start_server(server=Door(self, transport))
            # paramiko has only weak references to channels. Without these references a channel
            # would be gone before its command comes.
            channels: list[paramiko.Channel] = []
            while transport.is_active() and self.up:
                accepted = transport.accept(1.0)
                channels = [channel for channel in channels if not channel.closed]
                if accepted:
                    channels.append(accepted)
        except (paramiko.SSHException, OSError, EOFError):
            pass  # a client that changed its mind, or a host that was stopped meanwhile
        finally:
            transport.break_off()
            with self._lock:
                self._transports.discard(transport)


def _environ(root: Path, user: str, programs: Sequence[Path]) -> Mapping[str, str]:
    """The environment of a command on the host."""
    return {
        "PATH": ":".join(str(directory) for directory in programs),
        "HOME": str(root / "home"),
        "USER": user,
        "LOGNAME": user,
        "SHELL": "/bin/sh",
        "LANG": "C.UTF-8",
        MARK: str(root),
    }
