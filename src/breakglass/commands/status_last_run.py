"""The last run on this machine, as status reports it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LastRun:
    """The last run that changed something from this machine, as its journal has it."""

    run: str
    by: str
    command: str
    at: str
    changes: int
    """Those that are known to be done."""
    exit_code: int | None
    """None: the end of the run is not in the journal."""
