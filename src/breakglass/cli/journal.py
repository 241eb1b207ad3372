"""What was changed, by whom and when: a line of JSON before each change, and one after it."""

import errno
import json
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from breakglass.errors import BreakglassError
from breakglass.observe.age import age_seconds, moment_of, told_age
from breakglass.observe.text import inert
from breakglass.plan import Argv, Confirm, Copy, Host, Lock, PatchNode, Run, Step
from breakglass.ports import Held, Patched, Progress, Result, Writes, WritesCluster
from breakglass.shape import fits, parse_json

T = TypeVar("T")

TAIL_BYTES = 256 * 1024
"""How much of the file is read to tell of the last run."""
_ENTRY = {"at": str, "run": str, "by": str, "command": str, "result": str, "exit_code": (range(256), None)}
_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""No link is followed, and nothing waits for the other end of a FIFO."""


def place(environ: Mapping[str, str], home: Path) -> Path:
    """Where the journal is. The rules: XDG Base Directory Specification."""
    state = Path(environ.get("XDG_STATE_HOME") or "")
    return (state if state.is_absolute() else home / ".local" / "state") / "breakglass" / "journal.jsonl"


class Journal:
    """One run's lines. Where they cannot be written that is said once, and the run goes on."""

    def __init__(self, path: Path, *, run: str, by: str, command: str, warn: Callable[[str], None]) -> None:
        self._path, self._who, self._warn = path, {"run": run, "by": by, "command": command}, warn
        self._began: dict[Step, float] = {}
        """The steps that have begun and not ended."""
        self._has_begun = self._has_warned = False
        self._descriptor: int | None = None
        self._lead = b""
        """What the next line begins with: a line end, where the one before it was cut by a full disk."""

    def begin(self, step: Step) -> None:
        if _changes(step):
            self._has_begun, self._began[step] = True, time.monotonic()
            self._write(host=_where(step), line=str(step), result="begun", seconds=None)

    def close(self, step: Step, result: str) -> None:
        """The first word on a step counts: done, failed or unknown."""
        began = self._began.pop(step, None)
        if began is not None:
            self._write(host=_where(step), line=str(step), result=result, seconds=round(time.monotonic() - began, 3))

    def end(self, exit_code: int) -> None:
        """Of a run that has changed nothing nothing is written."""
        if self._has_begun:
            self._write(host=None, line=None, result="ended", exit_code=exit_code)

    def _write(self, **told: object) -> None:
        """In one call, so that two runs at once never mix their lines."""
        entry = {"at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), **self._who, **told}
        try:
            if self._descriptor is None:
                self._descriptor = _open(self._path)
                self._lead = b"\n" if _is_cut(self._descriptor) else b""
            line = self._lead + json.dumps(entry).encode() + b"\n"
            if os.write(self._descriptor, line) < len(line):
                self._lead = b"\n"
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._lead = b""
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                self._warn(f"the journal {self._path} cannot be written: {_reason(error)}; this run goes on, but what it changes is not recorded there")


class JournaledHosts:
    """Changing hosts, each change written down around it. Implements ports.Writes."""

    def __init__(self, hosts: Writes, journal: Journal) -> None:
        self._hosts, self._journal = hosts, journal

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:
        return self._hosts.ask(host, *pipeline, quiet_seconds=quiet_seconds)

    def hold(self, step: Lock) -> AbstractContextManager[Held]:
        return self._hosts.hold(step)

    def run(self, step: Run, progress: Progress) -> Result:
        return self._change(step, lambda: self._hosts.run(step, progress), lambda result: (result,))

    def copy(self, step: Copy, progress: Progress) -> tuple[Result, Result]:
        return self._change(step, lambda: self._hosts.copy(step, progress), lambda results: results)

    def _change(self, step: Run | Copy, do: Callable[[], T], results: Callable[[T], Sequence[Result]]) -> T:
        outcome = "unknown"
        self._journal.begin(step)
        try:
            ended = do()
            statuses = [result.exit_status for result in results(ended)]
            outcome = "failed" if any(statuses) else "unknown" if None in statuses else "done"
        except BreakglassError:
            outcome = "failed"
            raise
        finally:
            self._journal.close(step, outcome)
        return ended


class JournaledCluster:
    """Changing Node objects, likewise. Implements ports.WritesCluster."""

    def __init__(self, cluster: WritesCluster, journal: Journal) -> None:
        self._cluster, self._journal = cluster, journal

    def nodes(self) -> list[dict[str, Any]]:
        return self._cluster.nodes()

    def pods(self) -> list[dict[str, Any]]:
        return self._cluster.pods()

    def volumes(self) -> list[dict[str, Any]]:
        return self._cluster.volumes()

    def patch(self, steps: Sequence[PatchNode], finished: Callable[[Patched], None]) -> list[Patched]:
        def told(patched: Patched) -> None:
            self._journal.close(patched.step, {"done": "done", "gone": "done", "unknown": "unknown"}.get(patched.outcome, "failed"))
            finished(patched)

        for step in steps:
            self._journal.begin(step)
        try:
            return self._cluster.patch(steps, told)
        finally:
            for step in steps:
                self._journal.close(step, "unknown")


def last_run(path: Path) -> dict[str, Any] | None:
    """The last run that the journal tells of: `run`, `by`, `command`, `at`, `changes` (those that are known to be done), `exit_code` (None: its end is not there).

    Lines that are none of ours are passed over.
    """
    entries = [entry for entry in map(_entry, _tail(path).splitlines()) if entry is not None]
    if not entries:
        return None
    its = [entry for entry in entries if entry["run"] == entries[-1]["run"]]
    last = its[-1]
    return {key: last[key] for key in ("run", "by", "command", "at")} | {
        "changes": sum(entry["result"] == "done" for entry in its),
        "exit_code": last.get("exit_code") if last["result"] == "ended" else None,
    }


def describe(last: Mapping[str, Any], *, now: str) -> str:
    """The last run in one line."""
    age = age_seconds(last["at"], now)
    when = f"at {inert(last['at'], limit=40)}" if age is None else f"{told_age(age)} ago"
    changes = f"{last['changes']} change{'' if last['changes'] == 1 else 's'}"
    end = "cut short, or still at work" if last["exit_code"] is None else f"exit {last['exit_code']}"
    return f"{inert(last['command'])} by {inert(last['by'])}, {when}: {changes}, {end}"


def _changes(step: Step) -> bool:
    """All that is done on a host or to the cluster, but for what only looks. A lock is gone with the run."""
    return not isinstance(step, Lock | Confirm) and not (isinstance(step, Run) and step.pipeline[0][:3] == ("python3", "archive.py", "verify"))


def _where(step: Step) -> str:
    return "operator" if isinstance(step, PatchNode) else str(step.sink.host if isinstance(step, Copy) else step.host)


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
    """Whether the last line has no end. Looked at twice: another run may be in the middle of writing it."""
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
