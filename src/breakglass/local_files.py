"""Reads files of this machine: regular files only, and never more than a limit.

A FIFO may never be written to, and a device may never end.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 1 << 20
"""A configuration, a kubeconfig, a bundle of CAs, a key: all are smaller."""
MOST_BYTES_OF_KNOWN_HOSTS = 64 << 20
"""A large company's list has megabytes."""


@dataclass(frozen=True)
class Read:
    """A file's content, and what it was at the moment of reading."""

    content: bytes
    status: os.stat_result


def read_regular(path: Path, *, most_bytes: int = MOST_BYTES) -> Read:
    """Links are followed. Raises OSError, whose `strerror` says why, for what is not a regular
    file or is larger than the limit.
    """
    # Not to wait for the other end of a FIFO, and to get no terminal.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        check_regular(status, path)
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(
            errno.EFBIG, f"it is larger than {most_bytes} bytes; it is something else", str(path)
        )
    return Read(content, status)


def check_regular(status: os.stat_result, path: Path) -> None:
    """The null device counts as an empty file, as everywhere. Raises OSError."""
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    is_null = stat.S_ISCHR(status.st_mode) and status.st_rdev == Path(os.devnull).stat().st_rdev
    if not stat.S_ISREG(status.st_mode) and not is_null:
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_text(path: Path, *, errors: str = "strict", most_bytes: int = MOST_BYTES) -> str:
    """The whole file as UTF-8. Raises OSError, UnicodeDecodeError."""
    return read_regular(path, most_bytes=most_bytes).content.decode("utf-8", errors)


def why_not_regular(path: Path) -> str:
    """In words; empty for a regular file, and for one that is not there or cannot be seen."""
    try:
        check_regular(path.stat(), path)
    except (FileNotFoundError, NotADirectoryError, PermissionError, ValueError):
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return ""
