"""The protocols between deciding, reading and changing."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from breakglass.marks import Mark
from breakglass.plan import Argv, Copy, Host, Lock, PatchNode, Run, Sign
from breakglass.text import inert

_REPORT_OF_BASH = re.compile(rb"^(?:ba)?sh: line \d+: +\d+ .*\n?", re.MULTILINE)
"""What bash says of a command that a signal ended: the whole command line, our loader included."""

Progress = Callable[[int], None]
"""Called with the number of bytes done so far, from any thread, a few times a second."""


@dataclass(frozen=True)
class Result:
    """How a remote command ended."""

    exit_status: int | None
    """None: unknown. The connection was lost, a deadline passed, or a signal killed it: the state
    must be read again.
    """
    stdout: bytes
    stderr: bytes
    lost: str = ""
    """Where the status, or the end of the output, is missing: why, in words."""
    disconnected: bool = False
    """Whether the host did not take the command, or the end of its output is missing."""

    @property
    def ok(self) -> bool:
        return self.exit_status == 0


NO_ROOM = b"@no-room "
"""What our scripts begin their sentence with where a disk is full: `remote/faults.py` writes it."""
NO_LOGIN = b"@no-login "
"""The same where a registry wants a login."""


def said(result: Result) -> str:
    """What a failed command printed, in one line, with its exit status."""
    words = inert(_REPORT_OF_BASH.sub(b"", result.stderr).replace(NO_ROOM, b"") or result.stdout)
    if result.exit_status is None:
        return f"{result.lost or 'outcome unknown'}{': ' + words if words else ''}"
    status = result.exit_status
    how = f"signal {status - 128}" if 128 < status < 160 else f"exit {status}"
    return f"{how}: {words}" if words else how


class Reads(Protocol):
    """What a reader gets: it can ask a host, and nothing else."""

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:
        """Run a command that changes nothing. Raises Unreachable when the host is not reached or
        does not let us in.
        """
        ...


class Held(Protocol):
    """A lock that we hold."""

    def lost(self) -> bool:
        """Whether the lock was lost meanwhile."""
        ...


class Writes(Reads, Protocol):
    """What `apply` gets besides."""

    def run(self, step: Run, progress: Progress) -> Result: ...

    def copy(self, step: Copy, progress: Progress) -> tuple[Result, Result]:
        """The results of source and sink."""
        ...

    def sign(self, step: Sign, record: bytes) -> Result:
        """Sign this record and hand the signature to the step's sink; its result. Raises Refused
        where the key cannot be used.
        """
        ...

    def hold(self, step: Lock) -> AbstractContextManager[Held]:
        """Raises Busy, naming the holder and its age, when another run holds it."""
        ...


class PatchOutcome(StrEnum):
    DONE = "done"
    CHANGED = "changed"
    """Somebody else changed the node; it is left alone."""
    GONE = "gone"
    """There is no such node any more."""
    REFUSED = "refused"
    UNSENT = "unsent"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Patched:
    """What became of one patch."""

    step: PatchNode
    outcome: PatchOutcome
    why: str = ""
    now: Mark | None = field(default=None, compare=False)
    """What the node carries now, where somebody else has changed it."""

    @property
    def ok(self) -> bool:
        """Whether nothing is left to do for this node."""
        return self.outcome in (PatchOutcome.DONE, PatchOutcome.GONE)


class ReadsCluster(Protocol):
    def nodes(self) -> list[dict[str, Any]]:
        """Every Node object, as the API's JSON. Raises Unreachable."""
        ...

    def pods(self) -> list[dict[str, Any]]:
        """Every Pod object that is not finished, as the API's JSON. Raises Unreachable."""
        ...

    def volumes(self) -> list[dict[str, Any]]:
        """Every PersistentVolume object, as the API's JSON. Raises Unreachable."""
        ...


class WritesCluster(ReadsCluster, Protocol):
    def patch(
        self, steps: Sequence[PatchNode], finished: Callable[[Patched], None]
    ) -> list[Patched]:
        """Send the patches in parallel; never raises for a single node."""
        ...
