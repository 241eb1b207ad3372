"""Hold a lock file for as long as the caller lives: `lock PATH HOLDER [SILENCE_SECONDS]`.

Prints `held` once it holds it, then reads its lifeline until it ends, or is silent for too long.
Held by another: prints who and for how long, exit 7. The lock is flock(2) on the file, so
util-linux `flock` respects it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import sys
import time

from breakglass.remote.lifeline import SILENCE_SECONDS, wait_for_silence


def main(argv: list[str], lifeline: int | None) -> int:
    """Returns the exit code."""
    path, holder, *seconds = argv
    return hold(path, holder, lifeline or 0, float(seconds[0]) if seconds else SILENCE_SECONDS)


def hold(path: str, holder: str, lifeline: int, silence_seconds: float) -> int:
    try:
        descriptor = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        print(
            "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror,
            file=sys.stderr,
        )
        return 4
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        print("it is no regular file", file=sys.stderr)
        return 4
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(json.dumps(describe(descriptor)))
        return 7
    except OSError as error:
        print(error.strerror, file=sys.stderr)
        return 4
    if not is_at(path, descriptor):
        # Whoever held it has ended between our two calls, and the file with it.
        os.close(descriptor)
        return hold(path, holder, lifeline, silence_seconds)
    try:
        write_holder(descriptor, holder)
    except OSError as error:
        print(error.strerror, file=sys.stderr)
        return 4
    print("held", flush=True)
    wait_for_silence(lifeline, silence_seconds)
    os.ftruncate(descriptor, 0)
    if is_at(path, descriptor):
        os.unlink(path)  # noqa: PTH108 (held still: a process that opens it now sees that it is gone)
    return 0


def write_holder(descriptor: int, holder: str) -> None:
    record = {"holder": holder, "at": int(time.time())}
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, (json.dumps(record) + "\n").encode(), 0)
    except OSError as error:
        # On a full disk the lock holds all the same; only who holds it cannot be written down.
        # Otherwise restore, which needs no room, would wait for somebody to make some.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def is_at(path: str, descriptor: int) -> bool:
    """Whether the file is still the one of that name."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def describe(descriptor: int) -> dict[str, str | int | None]:
    """Who holds it, and for how long, by this host's clock."""
    for _ in range(5):
        try:
            record = json.loads(os.pread(descriptor, 4096, 0).decode())
            return {
                "holder": str(record["holder"]),
                "age_seconds": max(0, int(time.time()) - int(record["at"])),
            }
        except (ValueError, KeyError, TypeError):
            time.sleep(0.1)  # it may have been taken this instant
    return {"holder": None, "age_seconds": None}
