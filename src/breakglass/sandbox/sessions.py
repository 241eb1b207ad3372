"""One command of an SSH client: a process whose three streams are tied to the client's channel.

As with a real sshd, no process ends because its client goes away: its standard input ends, and its
output is lost.
"""

import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from paramiko import Channel, Message
from paramiko.common import cMSG_CHANNEL_REQUEST

CHUNK_BYTES = 64 * 1024
GLANCE_MILLISECONDS = 100
"""How often a quiet stream checks whether its client is still there."""


@dataclass(frozen=True)
class Naming:
    """Replaces the name of a node's root directory. All nodes have the same paths in their one
    configuration, but here they share a file system: outside, every root has the same name.
    """

    outside: bytes
    inside: bytes
    own_files: tuple[tuple[bytes, bytes], ...] = ()
    """(a file of this machine, the host's own in its place), for the words of commands."""

    def come_in(self, data: bytes) -> bytes:
        return data.replace(self.outside, self.inside)

    def word_in(self, word: bytes) -> bytes:
        for file, own in self.own_files:
            word = word.replace(file, own)
        return self.come_in(word)

    def go_out(self, data: bytes) -> bytes:
        return data.replace(self.inside, self.outside)


class Session:
    """A running command. `answered` is set when the client knows that its request was accepted."""

    def __init__(
        self,
        channel: Channel,
        argv: list[bytes],
        *,
        directory: Path,
        environ: Mapping[str, str],
        naming: Naming,
    ) -> None:
        self.channel = channel
        self.answered = threading.Event()
        self._argv = [naming.word_in(word) for word in argv]
        self._directory = directory
        self._environ = dict(environ)
        self._naming = naming
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"sandbox session {channel.chanid}", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_seconds: float) -> None:
        self._thread.join(timeout_seconds)

    def kill(self) -> None:
        """Kill the process and its group, if it still runs."""
        if self._process and self._process.poll() is None:
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        # A client fails if its channel is closed before its request is accepted.
        self.answered.wait(1.0)
        process = self._process = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._directory,
            env=self._environ,
            start_new_session=True,
            bufsize=0,
        )
        assert process.stdin
        assert process.stdout
        assert process.stderr
        feeding = self._spawn(self._feed, process.stdin)
        draining = [
            self._spawn(self._drain, process.stdout, self.channel.sendall),
            self._spawn(self._drain, process.stderr, self.channel.sendall_stderr),
        ]
        status = process.wait()
        # Like sshd: the status is sent at once. The channel stays open until every process that
        # inherited the output has closed it.
        with suppress(OSError, EOFError):
            self._send_status(status)
        for thread in draining:
            thread.join()
        with suppress(OSError, EOFError):
            self.channel.close()
        feeding.join()

    def _spawn(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, name=self._thread.name, daemon=True)
        thread.start()
        return thread

    def _feed(self, pipe: IO[bytes]) -> None:
        """Write the client's bytes to the process, until one of the two ends."""
        os.set_blocking(pipe.fileno(), False)
        room = select.poll()
        room.register(pipe.fileno(), select.POLLOUT)
        with suppress(OSError), pipe:
            while data := self.channel.recv(CHUNK_BYTES):
                data = self._naming.come_in(data)
                while data:
                    if room.poll(GLANCE_MILLISECONDS):
                        data = data[os.write(pipe.fileno(), data) :]
                    elif self.channel.closed:
                        return

    def _drain(self, pipe: IO[bytes], send: Callable[[bytes], None]) -> None:
        """Send the process's output to the client, until the pipe ends or the client is gone."""
        readable = select.poll()
        readable.register(pipe.fileno(), select.POLLIN)
        with suppress(OSError, EOFError), pipe:
            while not self.channel.closed:
                if readable.poll(GLANCE_MILLISECONDS):
                    if not (data := os.read(pipe.fileno(), CHUNK_BYTES)):
                        return
                    send(self._naming.go_out(data))

    def _send_status(self, status: int) -> None:
        if status >= 0:
            self.channel.send_exit_status(status)
            return
        # paramiko's server side knows no exit-signal (RFC 4254, 6.10).
        message = Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(self.channel.remote_chanid)
        message.add_string("exit-signal")
        message.add_boolean(False)
        message.add_string(signal.Signals(-status).name.removeprefix("SIG"))
        message.add_boolean(False)
        message.add_string("")
        message.add_string("")
        self.channel.transport._send_user_message(message)  # type: ignore[union-attr]  # the stubs know public names only


def end_processes(mark: str) -> None:
    """Kill every process whose environment has the mark, including daemons that left their
    session.
    """
    # More than once, for a process may start another one meanwhile.
    for _ in range(20):
        pids = _marked(mark)
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            return


def _marked(mark: str) -> list[int]:
    pids = []
    for directory in Path("/proc").glob("[0-9]*"):
        pid = int(directory.name)
        with suppress(OSError):
            variables = (directory / "environ").read_bytes().split(b"\0")
            if mark.encode() in variables and pid != os.getpid():
                pids.append(pid)
    return pids
