"""What a test injects and what has to come of it: one row of docs/faults.md. A fault that nobody
can inject here is a row too.
"""

from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Row:
    """`exit_codes`: what the first run may end with; `within_seconds`: how long it may take,
    deadlines of the contract and a slow machine included.
    """

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


def row(
    command: str,
    fault: str,
    outcome: str,
    *,
    exit_code: int | tuple[int, ...],
    within_seconds: float = 60,
) -> pytest.MarkDecorator:
    """Marks a test with its row; the `trial` fixture checks exit code and time against it."""
    codes = (exit_code,) if isinstance(exit_code, int) else exit_code
    return pytest.mark.fault.with_args(Row(command, fault, outcome, codes, within_seconds))


NOT_HERE: tuple[NotHere, ...] = (
    NotHere(
        "snapshot",
        "a disk that drops or reorders its own write cache at a power cut",
        "no device mapper here: the file system is copied as it was written so far",
    ),
    NotHere(
        "snapshot",
        "the wall clock of the whole VM a year back",
        "no namespace has a wall clock of its own: only Python's clock on the VM is set back",
    ),
    NotHere(
        "snapshot",
        "a newer dockerd that writes its error into the stream as JSON",
        "not provoked in the docker 28 of the lab yet; the unit tests feed such a stream by hand",
    ),
    NotHere(
        "fetch",
        "packets lost or delayed at random",
        "the kernel has no netem here: links are cut, black-holed, slowed down and frozen instead",
    ),
    NotHere(
        "pin",
        "an etcd cluster that loses its quorum",
        "there is one etcd: it is paused, and the API server killed, instead",
    ),
    NotHere(
        "any",
        "a jump host, a host certificate, a hardware key that fails",
        "the lab has none; jump hosts are tried against a real sshd on loopback",
    ),
)
