"""What a person sees. The only module with rich. Text from elsewhere is data: no markup, no
highlighting, no control characters.
"""

import os
import sys
import threading
import time
from typing import Any, TextIO

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

from breakglass.errors import BreakglassError
from breakglass.plan import Copy, PatchNode, Plan, Run, Step

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
COLUMNS = 80
"""The length of a step's line where there is no terminal that has a width."""
SIZE_COLUMNS = 34
"""What the columns of size and speed take at the most."""


class Screen:
    """Answers on stdout, questions and errors on stderr; with `--json` everything but the object on
    stderr.
    """

    def __init__(self, *, json: bool, verbose: bool) -> None:
        self.json, self.verbose = json, verbose
        plain = bool(os.environ.get("NO_COLOR"))

        def console(stream: TextIO) -> Console:
            # A terminal is one, whatever FORCE_COLOR and its like say: a log has no use for bars.
            return Console(
                file=stream,
                force_terminal=stream.isatty(),
                highlight=False,
                markup=False,
                emoji=False,
                no_color=plain or None,
                soft_wrap=True,
                theme=BAR,
            )

        self._err = console(sys.stderr)
        self._out = self._err if json else console(sys.stdout)
        self._asides: set[str] = set()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._over = threading.Event()
        self._total: int | None = None
        self._done = self._resumed = 0

    def say(self, line: str, *, style: str = "") -> None:
        """A line that may hold something to be copied."""
        self._out.print(Text(_printable(line), style=style))

    def show(self, line: str) -> None:
        """Prose."""
        self._wrap(self._out, Text(_printable(line)))

    def aside(self, line: str) -> None:
        """What is being looked at, said once: on stderr, so that an answer stays an answer."""
        if line not in self._asides:
            self._asides.add(line)
            self._err.print(Text(_printable(line)))

    def detail(self, line: str) -> None:
        if self.verbose:
            self._err.print(Text(_printable(line)))

    def plan(self, plan: Plan, *, dry_run: bool, first: int = 1) -> None:
        """Everything that will be done, before any of it is; numbered from `first` on."""
        for warning in plan.warnings:
            self.warn(warning)
        for note in plan.notes:
            self.show(f"  {note}")
        if not plan.steps:
            self.show(f"Nothing to do: {plan.goal}.")
            return
        prefix = "Dry run, nothing is changed. " if dry_run else ""
        self.show(f"{prefix}Goal: {plan.goal}.")
        lines = [
            f"{number:>3}. {_printable(str(step))}" for number, step in enumerate(plan.steps, first)
        ]
        self._out.print(Text("\n".join(lines)))
        if plan.undo:
            last = first - 1 + (plan.settled or len(plan.steps))
            self.say(f"If one of steps {first} to {last} fails, what it began is undone:")
            for _, step in plan.undo:
                self.say(f"     {step}")

    def warn(self, line: str) -> None:
        self._wrap(self._err, Text.assemble(("warning:", "bold"), f" {_printable(line)}"))

    def _wrap(self, console: Console, text: Text) -> None:
        """Between words on a terminal. What is to be copied, a command say, is left to the
        terminal, which puts no line end into it.
        """
        console.print(text, soft_wrap=not console.is_terminal)

    def step_started(self, number: int, of: int, step: Step) -> None:
        """From here on the screen shows that the step is alive, and how far it is: a bar on a
        terminal, else a line now and then.
        """
        if isinstance(step, PatchNode):
            return  # they go out together, and none takes long
        self._total = getattr(step, "total_bytes", None)
        self._done = self._resumed = getattr(step, "resumed_bytes", 0)
        if self._err.is_terminal and not self._err.is_dumb_terminal:
            self._bar = Progress(
                *self._columns(f"{number:>3}/{of}", step), console=self._err, transient=True
            )
            self._task = self._bar.add_task("", total=self._total, completed=self._resumed)
            self._bar.start()
        else:
            self._print_now_and_then(f"{number:>3}/{of}")

    def _columns(self, position: str, step: Step) -> list[ProgressColumn]:
        """Of the line of a running step: its bar where the total is known, else its command."""
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
        width = self._err.width - len(f"{position} | 0:00:00 ")
        if moves_data:
            width -= SIZE_COLUMNS
        return [*columns, *size, TextColumn(_cut(step, width), markup=False)]

    def _print_now_and_then(self, position: str) -> None:
        """Until the step ends: a thread prints how far it is."""
        self._over = over = threading.Event()
        began = time.monotonic()

        def report() -> None:
            while not over.wait(PLAIN_EVERY_SECONDS):
                seconds = time.monotonic() - began
                line = f"{position} running, {seconds:.0f} s{self._moved(seconds)}"
                self._err.print(Text(line))

        threading.Thread(target=report, daemon=True).start()

    def step_progress(self, done_bytes: int) -> None:
        self._done = done_bytes
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done_bytes)

    def _moved(self, seconds: float) -> str:
        """How much by now, how fast, and how long it will take from here."""
        if self._done <= self._resumed:
            return ""
        rate = (self._done - self._resumed) / seconds
        of_total = f" of {self._total / 1e6:.0f}" if self._total else ""
        left = f", {max(0, self._total - self._done) / rate:.0f} s left" if self._total else ""
        return f", {self._done / 1e6:.0f}{of_total} MB, {rate / 1e6:.1f} MB/s{left}"

    def step_ended(self, number: int, of: int, step: Step, *, ok: bool, seconds: float) -> None:
        """In one line, with the beginning of what the plan said: that has gone from the screen by
        now.
        """
        self.close()
        outcome = f"{number:>3}/{of} {'done' if ok else 'FAILED'} {seconds:.1f} s  "
        width = self._out.width if self._out.is_terminal else COLUMNS
        self.say(outcome + _cut(step, width - len(outcome)))

    def close(self) -> None:
        """Take a bar that is still there from the screen."""
        self._over.set()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def error(self, error: BreakglassError) -> None:
        """One block: what is wrong; what state things are in; what to type next."""
        self.close()
        first, *more = error.message.splitlines() or [""]
        self._wrap(
            self._err,
            Text.assemble(
                (f"breakglass: {error.kind}:", "bold red"), (f" {_printable(first)}", "bold")
            ),
        )
        for line in more:
            self._err.print(Text(f"  {_printable(line)}"))
        if error.state:
            self._wrap(self._err, Text(f"  State: {_printable(error.state)}"))
        if error.next_step:
            self._print_next(self._err, error.next_step, indent="  ")

    def next_step(self, text: str) -> None:
        """What to type next. Each command stands on a line of its own, which is never broken."""
        self._print_next(self._out, text, indent="")

    def _print_next(self, console: Console, text: str, *, indent: str) -> None:
        first, *more = text.splitlines()
        console.print(Text(f"{indent}Next:  {_printable(first)}"))
        for line in more:
            console.print(Text(f"{indent}       {_printable(line)}"))

    def bug(self, error: BaseException) -> None:
        self.close()
        self._err.print(
            Text("breakglass: this is a bug in breakglass; please report it with the lines below.")
        )
        self.trace(error)

    def trace(self, error: BaseException) -> None:
        """Texts of libraries may hold what another host has said: printed inert, line by line."""
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            self._err.print(Text(_printable(line)))

    def object(self, outcome: dict[str, Any]) -> None:
        import json

        print(json.dumps(outcome), flush=True)  # noqa: T201


def _cut(step: Step, width: int) -> str:
    line = _printable(str(step))
    return line if len(line) <= width else f"{line[: max(width, 4) - 3]}..."


def _printable(line: str) -> str:
    """Rich prints control characters as they are."""
    return "".join(character if character.isprintable() else "?" for character in line)
