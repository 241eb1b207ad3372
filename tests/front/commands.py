"""Commands through the front door, each a process of its own."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ZYGOTE = Path(__file__).with_name("zygote.py")


@dataclass(frozen=True)
class Ended:
    """How a command ended. A status below zero is the signal that killed it."""

    status: int
    stdout: str
    stderr: str

    @property
    def reported(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        found: dict[str, Any] = json.loads(self.stdout)
        return found

    @property
    def lines(self) -> list[str]:
        """The lines of the JSON's steps."""
        return [step["line"] for step in self.reported["steps"]]


class Started:
    """A command that runs."""

    def __init__(self, reported: int, stdout: Path, stderr: Path) -> None:
        self._reported, self._stdout, self._stderr = reported, stdout, stderr
        self._words = b""
        self.pid = int(self._word(timeout_seconds=60))

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    @property
    def shown(self) -> str:
        """What it has printed so far, of both streams."""
        return self._stdout.read_text("utf-8") + self._stderr.read_text("utf-8")

    def until(self, text: str, *, timeout_seconds: float = 60.0) -> None:
        """Wait until it has printed this."""
        deadline = time.monotonic() + timeout_seconds
        while text not in self.shown:
            assert time.monotonic() < deadline, f"it never printed {text!r}, but:\n{self.shown}"
            time.sleep(0.02)

    def end(self, *, timeout_seconds: float = 120.0) -> Ended:
        """Wait for its end; after the time-out it is killed, and that is a failure."""
        try:
            status = int(self._word(timeout_seconds=timeout_seconds))
        except TimeoutError:
            self.send(signal.SIGKILL)
            self._word(timeout_seconds=5)
            raise AssertionError(
                f"it did not end within {timeout_seconds} s; it printed:\n{self.shown}"
            ) from None
        finally:
            os.close(self._reported)
        ended = Ended(status, self._stdout.read_text("utf-8"), self._stderr.read_text("utf-8"))
        self._stdout.unlink()
        self._stderr.unlink()
        return ended

    def _word(self, *, timeout_seconds: float) -> bytes:
        deadline = time.monotonic() + timeout_seconds
        while b"\n" not in self._words:
            if not select.select([self._reported], [], [], max(0.0, deadline - time.monotonic()))[
                0
            ]:
                raise TimeoutError
            data = os.read(self._reported, 100)
            assert data, "the zygote is gone"
            self._words += data
        word, _, self._words = self._words.partition(b"\n")
        return word


class Commands:
    """The zygote, for as long as the tests run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen([sys.executable, str(ZYGOTE)], stdin=theirs.fileno())

    def close(self) -> None:
        self._socket.close()
        self._process.wait(10)

    def start(
        self,
        *arguments: str,
        environ: Mapping[str, str],
        directory: Path | None = None,
        terminal: int | None = None,
        dies_after: int | None = None,
    ) -> Started:
        """`terminal`: the descriptor that standard input is; otherwise there is none. `dies_after`:
        it is killed when it has reported so many steps as done.
        """
        paths = []
        for name in ("stdout", "stderr"):
            descriptor, path = tempfile.mkstemp(prefix=name, dir=self._directory)
            os.close(descriptor)
            paths.append(Path(path))
        reported, theirs = os.pipe()
        stdin = os.open(os.devnull, os.O_RDONLY) if terminal is None else os.dup(terminal)
        streams = [stdin, *(os.open(path, os.O_WRONLY | os.O_APPEND) for path in paths)]
        request = {
            "arguments": arguments,
            "environ": dict(environ),
            "directory": str(directory or self._directory),
            "dies_after": dies_after,
        }
        socket.send_fds(self._socket, [json.dumps(request).encode()], [*streams, theirs])
        for stream in (*streams, theirs):
            os.close(stream)
        return Started(reported, *paths)


def without_moment(lines: list[str]) -> list[str]:
    """The lines of steps without what may differ between a dry run and the run after it: `run` and
    `at` of the annotation.
    """
    return [re.sub(r"""("(?:run|at)[\\']*":[\\']*")[^"\\']*""", r"\1", line) for line in lines]
