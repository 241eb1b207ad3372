"""Processes on the lab's hosts, seen from the machine: who they are, and how a signal reaches the
right one.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path


class HostProcess(subprocess.Popen[str]):
    """A command entered into a host by nsenter; signals go to the command itself, not to
    nsenter.
    """

    @property
    def inner_pid(self) -> int:
        """The command's own PID, as the machine sees it; 0 once it has ended."""
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            if self.poll() is not None:
                return 0
            found = children(self.pid)
            if found:
                return found[0]
            time.sleep(0.002)
        return 0

    def await_catching(self, sig: int) -> None:
        """Wait until the command has a handler for such a signal, or has ended: before that it is
        the interpreter that is signalled.
        """
        deadline = time.monotonic() + 20
        while (inner := self.inner_pid) and not catches(inner, sig):
            assert time.monotonic() < deadline, f"no handler for signal {sig}"
            time.sleep(0.01)

    def send_signal(self, sig: int) -> None:
        """Signal the command; terminate() and kill() come through here."""
        inner = self.inner_pid
        if inner:
            send(inner, sig)
        elif self.poll() is None:
            super().send_signal(sig)


def children(pid: int) -> list[int]:
    """PIDs of the children of pid."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def catches(pid: int, sig: int) -> bool:
    """Whether the process has a handler for the signal (SigCgt in proc_pid_status(5))."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (sig - 1) & 1)


def descendants(pid: int) -> set[int]:
    """PIDs of everything below pid."""
    found: set[int] = set()
    waiting = children(pid)
    while waiting:
        child = waiting.pop()
        if child not in found:
            found.add(child)
            waiting.extend(children(child))
    return found


def started(pid: int) -> str:
    """When pid started, in clock ticks since boot; empty if there is no such process. With the PID
    it names a process for good.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def within(init_pid: int) -> Iterator[tuple[int, int]]:
    """(PID as the machine sees it, PID on the host) of every process of the host whose PID 1 is
    init_pid.
    """
    try:
        namespace = Path(f"/proc/{init_pid}/ns/pid").readlink()
    except FileNotFoundError:
        return
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "ns/pid").readlink() != namespace:
                continue
            line = next(
                line
                for line in (entry / "status").read_text().splitlines()
                if line.startswith("NSpid:")
            )
        except (OSError, StopIteration):  # gone, or none of ours to look at
            continue
        yield int(entry.name), int(line.split()[-1])


def command_line(pid: int) -> str:
    """The command line of pid, blanks between arguments; empty for a zombie or a process that is
    gone.
    """
    try:
        return (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode(errors="replace")
            .strip()
        )
    except (FileNotFoundError, ProcessLookupError):
        return ""


def alive(pid: int) -> bool:
    """True while pid runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def send(pid: int, sig: int) -> None:
    """Signal pid, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sig)


def end(pid: int, timeout_seconds: float = 10, sig: int = signal.SIGTERM) -> None:
    """Signal pid and wait; kill it when it has not gone after timeout_seconds."""
    send(pid, sig)
    deadline = time.monotonic() + timeout_seconds
    while alive(pid):
        if time.monotonic() > deadline:
            send(pid, signal.SIGKILL)
        time.sleep(0.01)
