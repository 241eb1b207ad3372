"""The line of a running step: how far it is, how fast, and how long it will take."""

import threading
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text
from rich.theme import Theme

from breakglass.plan import Copy, PatchNode, Run, Step

BAR = Theme(
    {
        "bar.complete": "bold",
        "bar.finished": "bold",
        "bar.back": "none",
        **{
            f"progress.{part}": "none"
            for part in ("elapsed", "remaining", "download", "data.speed", "spinner")
        },
    }
)
"""A speed is no error: rich would print it in red. The only colour is that of an error's first
words; all else is bold at the most, so that any background will do.
"""
PLAIN_EVERY_SECONDS = 10.0
"""Without a terminal a long step says this often how far it is."""
SIZE_COLUMNS = 34
"""What the columns of size and speed take at the most."""


class RunningStep:
    """A bar on a terminal, else a line now and then, from `start` to `close`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._over = threading.Event()
        self._total: int | None = None
        self._done = self._resumed = 0

    def start(self, position: str, step: Step, line: str) -> None:
        """From here on the screen shows that the step is alive, and how far it is.

        `position`: its number, and of how many; `line`: the step, printable.
        """
        if isinstance(step, PatchNode):
            return  # they go out together, and none takes long
        self._total = getattr(step, "total_bytes", None)
        self._done = self._resumed = getattr(step, "resumed_bytes", 0)
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._bar = Progress(
                *self._columns(position, step, line), console=self._console, transient=True
            )
            self._task = self._bar.add_task("", total=self._total, completed=self._resumed)
            self._bar.start()
        else:
            self._print_now_and_then(position)

    def moved_to(self, done_bytes: int) -> None:
        self._done = done_bytes
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done_bytes)

    def close(self) -> None:
        """Take a bar that is still there from the screen."""
        self._over.set()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _columns(self, position: str, step: Step, line: str) -> list[ProgressColumn]:
        """Of the line of a running step: its bar where the total is known, else `line`."""
        moves_data = isinstance(step, Copy) or (
            isinstance(step, Run) and (step.total_bytes is not None or len(step.pipeline) > 1)
        )
        columns: list[ProgressColumn] = [
            TextColumn(position, markup=False),
            SpinnerColumn("line"),
            TimeElapsedColumn(),
        ]
        size = [DownloadColumn(), TransferSpeedColumn()] if moves_data else []
        if moves_data and self._total:
            left = [TimeRemainingColumn(), TextColumn("left")]
            return [*columns, BarColumn(bar_width=20), *size, *left]
        # Without a total a bar would only go to and fro.
        width = self._console.width - len(f"{position} | 0:00:00 ")
        if moves_data:
            width -= SIZE_COLUMNS
        return [*columns, *size, TextColumn(cut(line, width), markup=False)]

    def _print_now_and_then(self, position: str) -> None:
        """Until the step ends: a thread prints how far it is."""
        self._over = over = threading.Event()
        began = time.monotonic()

        def report() -> None:
            while not over.wait(PLAIN_EVERY_SECONDS):
                seconds = time.monotonic() - began
                line = f"{position} running, {seconds:.0f} s{self._how_far(seconds)}"
                self._console.print(Text(line))

        threading.Thread(target=report, daemon=True).start()

    def _how_far(self, seconds: float) -> str:
        """How much by now, how fast, and how long it will take from here."""
        if self._done <= self._resumed:
            return ""
        rate = (self._done - self._resumed) / seconds
        of_total = f" of {self._total / 1e6:.0f}" if self._total else ""
        left = f", {max(0, self._total - self._done) / rate:.0f} s left" if self._total else ""
        return f", {self._done / 1e6:.0f}{of_total} MB, {rate / 1e6:.1f} MB/s{left}"


def cut(line: str, width: int) -> str:
    """The beginning of a line that is too long."""
    return line if len(line) <= width else f"{line[: max(width, 4) - 3]}..."
