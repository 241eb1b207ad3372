"""What was changed, by whom and when: a line of JSON before each change, and one after it."""

import errno
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from breakglass.age import age_in_words, age_seconds, moment_of
from breakglass.plan import Copy, Lock, PatchNode, Purpose, Run, Step
from breakglass.shape import fits, parse_json
from breakglass.text import inert

LIMIT_BYTES = 4 * 1024 * 1024
"""A run that finds more than this puts it aside, and begins anew."""
TAIL_BYTES = 4 * LIMIT_BYTES
"""How much of the file is read to find the last run: all of it, unless it could not be put
aside.
"""
_ENTRY = {
    "at": str,
    "run": str,
    "by": str,
    "command": str,
    "result": str,
    "exit_code": (range(256), None),
}
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_.:-]{0,252}")
_TRACE = {"trace": str, "node": (_NAME, None), "host": (_NAME, None)}
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


class Journal:
    """One run's lines. Where they cannot be written that is said once, and the run goes on."""

    def __init__(
        self, path: Path, *, run: str, by: str, command: str, warn: Callable[[str], None]
    ) -> None:
        self._path, self._who, self._warn = path, {"run": run, "by": by, "command": command}, warn
        self._began: dict[Step, float] = {}
        """The steps that have begun and not ended."""
        self._has_begun = self._has_warned = False
        self._descriptor: int | None = None
        self._lead = b""
        """What the next line begins with: a line end, where the one before it was cut by a full
        disk.
        """

    def begin(self, step: Step) -> None:
        if not isinstance(step, Lock) and step.purpose is not Purpose.LOOKS:
            # A lock is gone with the run.
            self._has_begun, self._began[step] = True, time.monotonic()
            self._write(
                host=_where(step), line=str(step), result="begun", seconds=None, **_trace(step)
            )

    def close(self, step: Step, result: str) -> None:
        """The first word on a step counts: done, failed or unknown."""
        began = self._began.pop(step, None)
        if began is not None:
            self._write(
                host=_where(step),
                line=str(step),
                result=result,
                seconds=round(time.monotonic() - began, 3),
                **_trace(step),
            )

    def end(self, exit_code: int) -> None:
        """Of a run that has changed nothing nothing is written."""
        if self._has_begun:
            self._write(host=None, line=None, result="ended", exit_code=exit_code)

    def _write(self, **fields: object) -> None:
        """In one call, so that two runs at once never mix their lines."""
        entry = {"at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), **self._who, **fields}
        try:
            if self._descriptor is None:
                _put_aside(self._path)
                self._descriptor = _join(self._path)
                self._lead = b"\n" if _is_cut(self._descriptor) else b""
            line = self._lead + json.dumps(entry).encode() + b"\n"
            if os.write(self._descriptor, line) < len(line):
                self._lead = b"\n"
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._lead = b""
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                self._warn(
                    f"the journal {self._path} cannot be written: {_reason(error)}; this run "
                    f"goes on, but what it changes is not recorded there"
                )


def last_run(path: Path) -> dict[str, Any] | None:
    """The last run in the journal: `run`, `by`, `command`, `at`, `changes` (those that
    are known to be done), `exit_code` (None: its end is not there).

    Lines that are none of ours are passed over.
    """
    written = (_tail(path) or _tail(_aside(path))).splitlines()
    last = next(filter(None, map(_entry, reversed(written))), None)
    if last is None:
        return None
    run = json.dumps(last["run"]).encode()
    its = [
        entry
        for entry in (_entry(line) for line in written if run in line)
        if entry and entry["run"] == last["run"]
    ]
    return {key: last[key] for key in ("run", "by", "command", "at")} | {
        "changes": sum(entry["result"] == "done" for entry in its),
        "exit_code": last.get("exit_code") if last["result"] == "ended" else None,
    }


def describe(last: Mapping[str, Any], *, now: str) -> str:
    """The last run in one line."""
    age = age_seconds(last["at"], now)
    when = f"at {inert(last['at'], limit=40)}" if age is None else f"{age_in_words(age)} ago"
    changes = f"{last['changes']} change{'' if last['changes'] == 1 else 's'}"
    end = (
        "cut short, or still at work" if last["exit_code"] is None else f"exit {last['exit_code']}"
    )
    return f"{inert(last['command'])} by {inert(last['by'])}, {when}: {changes}, {end}"


def traces(path: Path) -> Iterator[dict[str, Any]]:
    """The entries that say that there is something to undo, or that it was undone: `trace`,
    `result`, and `node` or `host`; the oldest first.
    """
    for line in (*_tail(_aside(path)).splitlines(), *_tail(path).splitlines()):
        entry = _entry(line) if b'"trace"' in line else None
        if entry and fits(entry, _TRACE):
            yield entry


def _trace(step: Step) -> dict[str, str]:
    """What `traces` reads; never read from the command line of the step."""
    if not isinstance(step, PatchNode | Run) or step.trace is None:
        return {}
    node = {"node": step.node} if isinstance(step, PatchNode) else {}
    return {"trace": str(step.trace), **node}


def _where(step: Step) -> str:
    return (
        "operator"
        if isinstance(step, PatchNode)
        else str(step.sink.host if isinstance(step, Copy) else step.host)
    )


def _put_aside(path: Path) -> None:
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
                path.rename(_aside(path))
        finally:
            os.close(descriptor)


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _join(path: Path) -> int:
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


def _is_cut(descriptor: int) -> bool:
    """Whether the last line has no end. Looked at twice: another run may be in the middle of
    writing it.
    """
    for pause in (0.0, 0.05):
        time.sleep(pause)
        size = os.fstat(descriptor).st_size
        if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
            return False
    return True


def _regular(descriptor: int) -> os.stat_result:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return found


def _reason(error: OSError) -> str:
    return "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror or str(error)


def _tail(path: Path) -> bytes:
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


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = parse_json(line)
    except ValueError:
        return None
    return dict(entry) if fits(entry, _ENTRY) and moment_of(entry["at"]) else None
