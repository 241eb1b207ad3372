"""A disk whose power can be cut: a file system in a file, mounted over a directory of a host, its
file copied while it is mounted.

The copy has what the kernel had written to the disk by then, and nothing of what it still held in
memory. A disk that loses what it has taken, or takes it in another order, is not imitated: what was
written counts as lasting.
"""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from ..host import Host
from .invariants import Observed, Shelf, read_shelf, violations

HERE = "/run/lab/disks"
_numbers = count(1)


@dataclass(frozen=True)
class PowerDisk:
    host: Host
    file: str

    def cut(self) -> "PowerDisk":
        """What would be on the disk if the power went now."""
        copy = PowerDisk(self.host, f"{HERE}/{next(_numbers)}.img")
        shutil.copyfile(self.host.path(self.file), self.host.path(copy.file))
        return copy

    @contextlib.contextmanager
    def mounted(self, directory: str) -> Iterator[None]:
        """The disk is at this directory; what was cut off is recovered from its journal."""
        self.host.path(directory).mkdir(parents=True, exist_ok=True)
        self.host.run("mount", "-o", "loop", self.file, directory)
        try:
            yield
        finally:
            self.host.run("umount", "--lazy", directory)

    def shelf(self) -> Shelf:
        """What is on it."""
        where = f"{HERE}/looked-at"
        with self.mounted(where):
            return read_shelf(self.host.path(where))

    def discard(self) -> None:
        self.host.path(self.file).unlink()


def violated(host: str, before: Shelf, now: Shelf) -> list[str]:
    """I1 and I2, of a shelf that is nowhere else to be seen."""

    def only(shelf: Shelf) -> Observed:
        return Observed(shelves={host: shelf}, names={}, nodes={}, processes={}, locks=())

    return violations(only(before), only(now))


@contextlib.contextmanager
def power_disk(host: Host, directory: str, *, megabytes: int = 48) -> Iterator[PowerDisk]:
    """A directory is an empty disk of its own, until the end."""
    found = PowerDisk(host, f"{HERE}/{next(_numbers)}.img")
    host.path(HERE).mkdir(parents=True, exist_ok=True)
    host.run("truncate", "-s", f"{megabytes}M", found.file)
    host.run("mkfs.ext4", "-q", "-F", found.file)
    with found.mounted(directory):
        host.path(f"{directory}/lost+found").rmdir()
        yield found
    found.discard()
