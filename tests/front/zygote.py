"""A process that has imported breakglass and forks once for each command: a real process with real
streams, without the second that importing takes.

It reads requests from the socket on standard input: a line of JSON, and four descriptors (the
command's three streams, and where its process ID and in the end its status are reported).
"""

import fcntl
import gc
import importlib
import io
import json
import os
import re
import signal
import socket
import sys
import termios
from typing import Any

import breakglass.cli.recover
import breakglass.cli.session  # noqa: F401
from breakglass.cli.main import run


class _FatalStream(io.TextIOWrapper):
    """Standard output of a command that dies, with nobody's leave, as soon as it has reported so
    many steps as done.
    """

    def __init__(self, dies_after: int) -> None:
        super().__init__(io.FileIO(1, "w", closefd=False), encoding="utf-8", write_through=True)
        self._left = dies_after

    def write(self, text: str) -> int:
        written = super().write(text)
        self._left -= len(re.findall(r"^ *\d+/\d+ done ", text, re.MULTILINE))
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return written


def serve(requests: socket.socket) -> int | None:
    """In the zygote: until nobody asks any more, then None. In a command's process: what its
    arguments are reported to `run`.
    """
    for name in ("kubernetes.client", "paramiko", "yaml"):
        importlib.import_module(name)
    # Nobody's garbage: a command's process would go through all of it when it ends.
    gc.freeze()
    # The processes that wait for commands are nobody's to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, 1 << 20, 4)
        if not message:
            return None
        request = json.loads(message)
        if os.fork():
            for descriptor in descriptors:
                os.close(descriptor)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        requests.close()
        *streams, reported = descriptors
        command = os.fork()
        if command:
            os.write(reported, f"{command}\n".encode())
            for stream in streams:
                os.close(stream)
            status = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
            os.write(reported, f"{status}\n".encode())
            os._exit(0)
        os.close(reported)
        _become(request, streams)
        return run(request["arguments"])


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """What a new process would have: its own session, streams, environment and directory."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    sys.stdin = io.TextIOWrapper(
        io.BufferedReader(io.FileIO(0, "r", closefd=False)), encoding="utf-8"
    )
    out = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(1, "w", closefd=False)),
        encoding="utf-8",
        line_buffering=os.isatty(1),
    )
    sys.stdout = _FatalStream(request["dies_after"]) if request["dies_after"] else out
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w", closefd=False), encoding="utf-8", write_through=True
    )
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["directory"])


if __name__ == "__main__":
    # Left by SystemExit, so that a command's process ends as the installed program does: threads
    # waited for, streams flushed.
    sys.exit(serve(socket.socket(fileno=os.dup(0))))
