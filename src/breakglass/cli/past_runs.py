"""What the journal says of runs on this machine. Lines that are none of ours are passed over."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breakglass.age import age_in_words, age_seconds, moment_of
from breakglass.cli.journal_file import aside, tail
from breakglass.commands.status_last_run import LastRun
from breakglass.shape import fits, parse_json
from breakglass.text import inert

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


@dataclass(frozen=True)
class Traced:
    """A line of the journal: from here on there is something to undo, or not any more."""

    trace: str
    """One of plan.Trace, or what another version wrote."""
    result: str
    node: str | None
    """The node that was cordoned; None: the change was on `host`."""
    host: str


def last_run(path: Path) -> LastRun | None:
    """The last run in the journal."""
    written = (tail(path) or tail(aside(path))).splitlines()
    last = next(filter(None, map(_entry, reversed(written))), None)
    if last is None:
        return None
    run = json.dumps(last["run"]).encode()
    its = [
        entry
        for entry in (_entry(line) for line in written if run in line)
        if entry and entry["run"] == last["run"]
    ]
    return LastRun(
        run=last["run"],
        by=last["by"],
        command=last["command"],
        at=last["at"],
        changes=sum(entry["result"] == "done" for entry in its),
        exit_code=last.get("exit_code") if last["result"] == "ended" else None,
    )


def describe(last: LastRun, *, now: str) -> str:
    """The last run in one line."""
    age = age_seconds(last.at, now)
    when = f"at {inert(last.at, limit=40)}" if age is None else f"{age_in_words(age)} ago"
    changes = f"{last.changes} change{'' if last.changes == 1 else 's'}"
    end = "cut short, or still at work" if last.exit_code is None else f"exit {last.exit_code}"
    return f"{inert(last.command)} by {inert(last.by)}, {when}: {changes}, {end}"


def traces(path: Path) -> Iterator[Traced]:
    """What there was to undo and what was undone, the oldest first."""
    for line in (*tail(aside(path)).splitlines(), *tail(path).splitlines()):
        entry = _entry(line) if b'"trace"' in line else None
        if entry and fits(entry, _TRACE):
            yield Traced(
                entry["trace"], entry["result"], entry.get("node"), entry.get("host") or ""
            )


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = parse_json(line)
    except ValueError:
        return None
    return dict(entry) if fits(entry, _ENTRY) and moment_of(entry["at"]) else None
