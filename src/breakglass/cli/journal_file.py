"""The file of the journal: where it is, how it is opened, read and put aside when it is long."""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

LIMIT_BYTES = 4 * 1024 * 1024
"""A run that finds more than this puts it aside, and begins anew."""
TAIL_BYTES = 4 * LIMIT_BYTES
"""How much of the file is read to find the last run: all of it, unless it could not be put
aside.
"""
_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""No link is followed, and nothing waits for the other end of a FIFO."""


def place(environ: Mapping[str, str], home: Path) -> Path:
    """Where the journal is. The rules: XDG Base Directory Specification."""
    state = Path(environ.get("XDG_STATE_HOME") or "")
    return (
        (state if state.is_absolute() else home / ".local" / "state")
        / "breakglass"
        / "journal.jsonl"
    )


def aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def put_aside(path: Path) -> None:
    """A journal that has grown long becomes journal.jsonl.1, unless a run is at work that writes
    into it: each has a shared lock on it.
    """
    with suppress(OSError):
        found = path.lstat()
        # Of somebody else's, root's perhaps, the next one would be ours, and they could not write
        # there any more.
        if found.st_size <= LIMIT_BYTES or found.st_uid != os.geteuid():
            return
        descriptor = os.open(
            path, os.O_RDWR | _SAFELY
        )  # to write: NFS gives no exclusive lock otherwise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(path.lstat(), _regular(descriptor)):
                path.rename(aside(path))
        finally:
            os.close(descriptor)


def join(path: Path) -> int:
    """The journal, with a lock on it for as long as this run lives. Raises OSError."""
    for _ in range(20):
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if os.path.samestat(path.lstat(), os.fstat(descriptor)):
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            time.sleep(0.01)  # another run is putting it aside, or has just done so
        except OSError:
            return descriptor  # a file system without locks: there it is never put aside
        os.close(descriptor)
    return _open(path)


def is_cut(descriptor: int) -> bool:
    """Whether the last line has no end. Looked at twice: another run may be in the middle of
    writing it.
    """
    for pause in (0.0, 0.05):
        time.sleep(pause)
        size = os.fstat(descriptor).st_size
        if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
            return False
    return True


def tail(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | _SAFELY)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, TAIL_BYTES, max(0, _regular(descriptor).st_size - TAIL_BYTES))
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def reason(error: OSError) -> str:
    return "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror or str(error)


def _open(path: Path) -> int:
    """The journal, ours alone to read and to write. Raises OSError."""
    for directory in (*reversed(path.parent.parents), path.parent):
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _SAFELY, 0o600)
    try:
        found = _regular(descriptor)
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _regular(descriptor: int) -> os.stat_result:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return found
