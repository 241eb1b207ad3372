"""What goes wrong, done to the real thing, and undone at the end of the block."""

import contextlib
import time
from collections.abc import Callable, Iterator

from ..host import Host
from ..process import HostProcess, command_line, send, within


@contextlib.contextmanager
def stopped(*daemons: tuple[Host, str]) -> Iterator[None]:
    """These daemons do not run."""
    for host, daemon in daemons:
        host.stop(daemon)
    try:
        yield
    finally:
        for host, daemon in daemons:
            host.start(daemon)


@contextlib.contextmanager
def paused(host: Host, daemon: str) -> Iterator[None]:
    """A daemon accepts connections and never answers."""
    host.pause(daemon)
    try:
        yield
    finally:
        host.resume(daemon)


@contextlib.contextmanager
def unplugged(*hosts: Host) -> Iterator[None]:
    for host in hosts:
        host.unplug()
    try:
        yield
    finally:
        for host in hosts:
            host.plug()


@contextlib.contextmanager
def black_hole(host: Host) -> Iterator[None]:
    """All that is sent to a host vanishes; no connection is refused, none is closed."""
    host.black_hole(on=True)
    try:
        yield
    finally:
        host.black_hole(on=False)


def until(so: Callable[[], bool], *, child: HostProcess | None = None, timeout: float = 60, what: str = "") -> None:
    """Wait for the moment to inject: until it is so. The run must not have ended before."""
    deadline = time.monotonic() + timeout
    while not so():
        if child is not None and child.poll() is not None:
            stdout, stderr = child.communicate()
            raise AssertionError(f"the run ended before the fault was injected{what and ': ' + what}\n{stdout}\n{stderr}")
        assert time.monotonic() < deadline, f"it did not come to it: {what}"
        time.sleep(0.005)


def running(host: Host, words: str) -> list[int]:
    """PIDs, as the machine sees them, of the host's processes whose command line begins with these words."""
    return [pid for pid, _ in within(host.init_pid) if command_line(pid).startswith(words)]


def signal_all(host: Host, words: str, sig: int) -> int:
    """Signal every process of the host whose command line begins with these words; how many there were."""
    found = running(host, words)
    for pid in found:
        send(pid, sig)
    return len(found)
