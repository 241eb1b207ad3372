"""What a test injects and what has to come of it: one row of docs/faults.md. A fault that nobody can inject here is a row too."""

from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Row:
    """`exit_codes`: what the first run may end with; `within_seconds`: how long it may take, deadlines of the contract and a slow machine included."""

    command: str
    fault: str
    outcome: str
    exit_codes: tuple[int, ...]
    within_seconds: float = 60


@dataclass(frozen=True)
class NotHere:
    """A fault that cannot be injected here, and why."""

    command: str
    fault: str
    why: str


def row(command: str, fault: str, outcome: str, *, exit_code: int | tuple[int, ...], within_seconds: float = 60) -> pytest.MarkDecorator:
    """Marks a test with its row; the `trial` fixture checks exit code and time against it."""
    codes = (exit_code,) if isinstance(exit_code, int) else exit_code
    return pytest.mark.fault.with_args(Row(command, fault, outcome, codes, within_seconds))


NOT_HERE: tuple[NotHere, ...] = ()
