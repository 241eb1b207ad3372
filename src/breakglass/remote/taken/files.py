"""The files of containerd that are changed and restored."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from breakglass.remote.faults import FAILED, Fault
from breakglass.remote.files import sync_directory

MOST_BYTES = 1 << 20


def text_of(path: Path) -> str | None:
    """None: there is no such file."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(content) > MOST_BYTES:
        raise Fault(FAILED, f"{path} is larger than a file of that kind is")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise Fault(FAILED, f"{path} is not UTF-8") from None


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def missing(directory: Path) -> list[Path]:
    """The directories that have to be made, the outermost first."""
    return [*missing(directory.parent), directory] if not directory.exists() else []


def make(directory: Path) -> None:
    for each in missing(directory):
        each.mkdir()
        each.chmod(0o755)


def partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.breakglass")


def replace(
    path: Path, text: str, *, mode: int, owner: int, group: int, mtime_ns: int | None = None
) -> None:
    """In one rename: containerd reads the file at every pull."""
    hidden = partial(path)
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode())
        file.flush()
        if (os.fstat(descriptor).st_uid, os.fstat(descriptor).st_gid) != (owner, group):
            os.fchown(descriptor, owner, group)
        os.fchmod(descriptor, mode)
        if mtime_ns is not None:
            os.utime(descriptor, ns=(time.time_ns(), mtime_ns))
        os.fsync(descriptor)
    hidden.replace(path)
    sync_directory(path.parent)
