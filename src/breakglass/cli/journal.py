"""What was changed, by whom and when: a line of JSON before each change, and one after it."""

import errno
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from breakglass.cli.journal_file import is_cut, join, put_aside, reason
from breakglass.plan import Copy, Lock, PatchNode, Purpose, Run, Step


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
                put_aside(self._path)
                self._descriptor = join(self._path)
                self._lead = b"\n" if is_cut(self._descriptor) else b""
            line = self._lead + json.dumps(entry).encode() + b"\n"
            if os.write(self._descriptor, line) < len(line):
                self._lead = b"\n"
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._lead = b""
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                self._warn(
                    f"the journal {self._path} cannot be written: {reason(error)}; this run "
                    f"goes on, but what it changes is not recorded there"
                )


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
