"""The names that belong to one tarball, and how its files are opened and replaced."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from breakglass.remote.archive.stream import write_all
from breakglass.remote.faults import REFUSED, Fault
from breakglass.remote.files import sync_directory
from breakglass.remote.limits import RECORD_BYTES

PRIVATE, READABLE = 0o600, 0o644
"""The modes of a tarball and of its sidecars: on a node only root reads them. On the registry VM
others may, such as the user whose rsync copies them to the NAS; there the mode of the directory
decides who that is.
"""


class Names:
    """Every name that belongs to one tarball. Nothing else in the directory is touched."""

    def __init__(self, directory: Path, file: str) -> None:
        stem = file[: -len(".tar.gz")]
        self.file, self.checksum, self.record, self.signature = (
            directory / file,
            directory / f"{file}.sha256",
            directory / f"{stem}.json",
            directory / f"{stem}.json.sig",
        )
        self.partial, self.note, self.partial_record, self.partial_signature = (
            directory / f".{file}.partial",
            directory / f".{file}.partial.sha256",
            directory / f".{stem}.json.partial",
            directory / f".{stem}.json.sig.partial",
        )

    def hidden(self) -> list[Path]:
        put = (self.note, self.partial_record, self.partial_signature)
        published = (self.checksum, self.record, self.signature)
        return [self.partial, *put, *map(temporary, (*put, *published))]

    def remove(self, *paths: Path) -> list[str]:
        removed = []
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                removed.append(path.name)
        return removed


def temporary(path: Path) -> Path:
    return path.with_name("." + path.name.lstrip(".") + ".new")


def open_regular(path: Path, flags: int) -> int:
    """A descriptor of a regular file; a link, a pipe or a directory under that name is refused,
    never followed.
    """
    try:
        # O_NONBLOCK: to open a pipe would wait for its other end. Regular files do not know it.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        raise Fault(
            REFUSED,
            f"{path}: "
            + ("is a symbolic link" if error.errno == errno.ELOOP else str(error.strerror)),
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise Fault(REFUSED, f"{path} is not a regular file")
    return descriptor


def put(path: Path, text: str, mode: int = PRIVATE) -> None:
    """Replaces a small file: at every moment its old or its new content is there, after a power cut
    too.
    """
    descriptor = open_regular(temporary(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(descriptor, text.encode())
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary(path).replace(path)
    sync_directory(path.parent)


def free_bytes(directory: Path) -> int:
    try:
        status = os.statvfs(directory)
    except OSError as error:
        raise Fault(REFUSED, f"{directory}: {error.strerror}") from error
    return status.f_bavail * status.f_frsize


def read_text(path: Path) -> str:
    """Of a small file of ours; empty for anything else, also for one that is too large."""
    try:
        descriptor = open_regular(path, os.O_RDONLY)
    except Fault:
        return ""
    try:
        content = os.read(descriptor, RECORD_BYTES + 1)
        return content.decode("utf-8", "replace") if len(content) <= RECORD_BYTES else ""
    finally:
        os.close(descriptor)
