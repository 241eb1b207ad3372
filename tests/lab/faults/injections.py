"""What goes wrong, done to the real thing, and undone at the end of the block."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import network
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


def until(
    so: Callable[[], bool], *, child: HostProcess | None = None, timeout: float = 60, what: str = ""
) -> None:
    """Wait for the moment to inject: until it is so. The run must not have ended before."""
    deadline = time.monotonic() + timeout
    while not so():
        if child is not None and child.poll() is not None:
            stdout, stderr = child.communicate()
            raise AssertionError(
                f"the run ended before the fault was "
                f"injected{what and ': ' + what}\n{stdout}\n{stderr}"
            )
        assert time.monotonic() < deadline, f"it did not come to it: {what}"
        time.sleep(0.005)


CANONICAL = "python3 ... archive canonical"
"""The command line of the program that feeds ctr, for `running`."""


def running(host: Host, words: str) -> list[int]:
    """PIDs, as the machine sees them, of the host's processes whose command line begins with these
    words; `...` stands for anything.
    """
    begin, *others = words.split("...")
    lines = {pid: command_line(pid) for pid, _ in within(host.init_pid)}
    return [
        pid
        for pid, line in lines.items()
        if line.startswith(begin) and all(other in line for other in others)
    ]


def signal_all(host: Host, words: str, sig: int) -> int:
    """Signal every process of the host whose command line begins with these words; how many there
    were.
    """
    found = running(host, words)
    for pid in found:
        send(pid, sig)
    return len(found)


@contextlib.contextmanager
def in_front_of(host: Host, command: str, script: str) -> Iterator[None]:
    """A sh script is found in a program's place (in /usr/local/bin, where a login and sudo look
    first); `$real` in it is the program.
    """
    real = host.run("sh", "-c", f"command -v {command}").stdout.strip()
    path = f"/usr/local/bin/{command}"
    assert real != path, f"{host.name}: there is something in front of {command} already"
    host.write(path, f"#!/bin/sh\nreal={real}\n{script}\n", mode=0o755)
    try:
        yield
    finally:
        host.path(path).unlink()


def contacts(host: Host) -> int:
    """How many TCP connections the host has begun, and datagrams it has sent, since it was
    raised.
    """
    found: dict[str, int] = {}
    lines = Path(f"/proc/{host.init_pid}/net/snmp").read_text().splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        found |= {
            f"{names.split(':')[0]} {name}": int(value)
            for name, value in zip(names.split()[1:], values.split()[1:], strict=True)
        }
    return found["Tcp ActiveOpens"] + found["Udp OutDatagrams"]


@contextlib.contextmanager
def slow(host: Host, *, kilobytes_per_second: int) -> Iterator[None]:
    """What a host sends goes at this speed, so that a moment of a stream can be hit."""
    device = ["tc", "-n", network.namespace(host.name), "qdisc"]
    subprocess.run(
        [
            *device,
            "add",
            "dev",
            "eth0",
            "root",
            "tbf",
            "rate",
            f"{kilobytes_per_second * 8}kbit",
            "burst",
            "16kb",
            "latency",
            "300ms",
        ],
        check=True,
    )
    try:
        yield
    finally:
        subprocess.run([*device, "del", "dev", "eth0", "root"], check=True)


@contextlib.contextmanager
def read_only(host: Host, directory: str) -> Iterator[None]:
    """What a disk does after an error, where it was mounted with errors=remount-ro."""
    host.path(directory).mkdir(parents=True, exist_ok=True)
    host.run("mount", "--bind", directory, directory)
    try:
        host.run("mount", "-o", "remount,ro,bind", directory)
        yield
    finally:
        host.run("umount", directory)


@contextlib.contextmanager
def disk_of_its_own(
    host: Host, directory: str, *, kilobytes: int
) -> Iterator[Callable[[int], None]]:
    """A directory is an empty disk of this size, until the end; what is given gives it another
    size.
    """
    host.path(directory).mkdir(parents=True, exist_ok=True)
    host.run("mount", "-t", "tmpfs", "-o", f"mode=755,size={kilobytes}k", "lab", directory)

    def resize(kilobytes: int) -> None:
        host.run("mount", "-o", f"remount,size={kilobytes}k", directory)

    try:
        yield resize
    finally:
        host.run("umount", "--lazy", directory)


class Threshold:
    """A program that has been started and waits before it does anything: that somebody is there,
    and that all may go on.
    """

    def __init__(self, host: Host) -> None:
        self.there, self.closed = (
            host.path("/run/lab/threshold.there"),
            host.path("/run/lab/threshold.closed"),
        )

    def reached(self) -> bool:
        return self.there.exists()

    def open(self) -> None:
        self.closed.unlink(missing_ok=True)


WAIT = "touch /run/lab/threshold.there; while [ -e /run/lab/threshold.closed ]; do sleep 0.02; done"


@contextlib.contextmanager
def _threshold(host: Host, command: str, script: str) -> Iterator[Threshold]:
    threshold = Threshold(host)
    threshold.closed.touch()
    try:
        with in_front_of(host, command, f'{script}\nexec "$real" "$@"'):
            yield threshold
    finally:
        threshold.open()
        threshold.there.unlink(missing_ok=True)


@contextlib.contextmanager
def before(host: Host, command: str, words: str = "*") -> Iterator[Threshold]:
    """A program waits before it begins, where its arguments match this pattern of sh; what it is
    fed with, or is to feed, waits with it.
    """
    with _threshold(host, command, f'case "$*" in {words}) {WAIT} ;; esac') as threshold:
        yield threshold


@contextlib.contextmanager
def halfway(
    host: Host,
    command: str,
    words: str = "*",
    *,
    first_bytes: int = 1000,
) -> Iterator[Threshold]:
    """A program has begun and stands still when so much of its output has come; as `before`.

    Unlike a signal to a process that was found, which a fast host may have ended by then, this
    can not come too late.
    """
    piped = f'(exec -a {command} "$0" "$@") | {{ head -c {first_bytes}; {WAIT}; cat; }}'
    held = f'exec bash -o pipefail -c \'{piped}\' "$real" "$@"'
    with _threshold(host, command, f'case "$*" in {words}) {held} ;; esac') as threshold:
        yield threshold
