"""A row of the table: two numbers that were measured side by side, what they come to, and whether
that is good enough.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

SLACK = 0.25
"""The machines are noisy: a gate stands that much looser than its goal."""


@dataclass(frozen=True)
class Row:
    """`figure` is what the goal is about; `ours` and `theirs` say what it comes from."""

    what: str
    ours: str
    theirs: str
    figure: float
    goal: float
    unit: str = "times"
    at_least: bool = False

    @property
    def gate(self) -> float:
        return self.goal * (1 - SLACK if self.at_least else 1 + SLACK)

    @property
    def passes(self) -> bool:
        return self.reaches(self.gate)

    @property
    def verdict(self) -> str:
        if self.reaches(self.goal):
            return "ok"
        return "ok, within the gate" if self.passes else "MISSED"

    def reaches(self, mark: float) -> bool:
        return self.figure >= mark if self.at_least else self.figure <= mark

    def cells(self) -> tuple[str, ...]:
        sign = "≥" if self.at_least else "≤"
        return (
            self.what,
            self.ours,
            self.theirs,
            f"{self.figure:.3g} {self.unit}",
            f"{sign} {self.goal:g}",
            f"{sign} {self.gate:.3g}",
            self.verdict,
        )


HEADINGS = ("measured", "breakglass", "beside it", "figure", "goal", "gate", "")


def text(rows: Sequence[Row]) -> str:
    """For a terminal."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(rows: Sequence[Row]) -> str:
    """For docs/measured.md."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells() for row in rows)]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def seconds(measured: Sequence[float], size_bytes: int = 0) -> str:
    """The median of some times; with a size, the rate too."""
    median = statistics.median(measured)
    rate = f" ({size_bytes / 1e6 / median:.0f} MB/s)" if size_bytes else ""
    return (f"{median:.1f} s" if median >= 10 else f"{median:.2f} s") + rate


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(ours) / statistics.median(theirs)
