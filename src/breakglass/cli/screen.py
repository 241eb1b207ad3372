"""What a person sees. The only module with rich. Text from elsewhere is data: no markup, no highlighting, no control characters."""

import os
import sys
import threading
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.text import Text
from rich.theme import Theme

from breakglass.errors import BreakglassError
from breakglass.plan import Copy, PatchNode, Plan, Run, Step

BAR = Theme(
    {"bar.complete": "bold", "bar.finished": "bold", "bar.pulse": "bold", "bar.back": "dim", **{f"progress.{part}": "none" for part in ("elapsed", "remaining", "download", "data.speed", "spinner")}}
)
"""A speed is no error: rich would print it in red. Of colours there are two, each for one word that says it as well, so that any background will do."""
PLAIN_EVERY_SECONDS = 10.0
"""Without a terminal a long step says this often how far it is."""


class Screen:
    """Answers on stdout, questions and errors on stderr; with `--json` everything but the object on stderr."""

    def __init__(self, *, json: bool, verbose: bool) -> None:
        self.json, self.verbose = json, verbose
        plain = bool(os.environ.get("NO_COLOR"))
        self._err = Console(file=sys.stderr, highlight=False, markup=False, emoji=False, no_color=plain or None, soft_wrap=True, theme=BAR)
        self._out = self._err if json else Console(file=sys.stdout, highlight=False, markup=False, emoji=False, no_color=plain or None, soft_wrap=True)
        self._asides: set[str] = set()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._over = threading.Event()
        self._total: int | None = None
        self._done = 0

    def say(self, line: str, *, style: str = "") -> None:
        self._out.print(Text(_printable(line), style=style))

    def aside(self, line: str) -> None:
        """What is being looked at, said once: on stderr, so that an answer stays an answer."""
        if line not in self._asides:
            self._asides.add(line)
            self._err.print(Text(_printable(line), style="dim"))

    def detail(self, line: str) -> None:
        if self.verbose:
            self._err.print(Text(_printable(line), style="dim"))

    def plan(self, plan: Plan, *, dry_run: bool, first: int = 1) -> None:
        """Everything that will be done, before any of it is; numbered from `first` on."""
        for warning in plan.warnings:
            self.warn(warning)
        for note in plan.notes:
            self.say(f"  {note}")
        if not plan.steps:
            self.say(f"Nothing to do: {plan.goal}.")
            return
        self.say(f"{'Dry run, nothing is changed. ' if dry_run else ''}Goal: {plan.goal}.")
        self._out.print(Text("\n".join(f"{number:>3}. {_printable(str(step))}" for number, step in enumerate(plan.steps, first))))
        if plan.undo:
            self.say(f"If one of steps {first} to {first - 1 + (plan.settled or len(plan.steps))} fails, what it began is undone:")
            for _, step in plan.undo:
                self.say(f"     {step}")

    def warn(self, line: str) -> None:
        self._prose(Text.assemble(("warning:", "bold yellow"), f" {_printable(line)}"))

    def _prose(self, text: Text) -> None:
        """Wrapped between words on a terminal. What is to be copied, a command say, is left to the terminal, which puts no line end into it."""
        self._err.print(text, soft_wrap=not self._err.is_terminal)

    def step_started(self, number: int, of: int, step: Step) -> None:
        """From here on the screen shows that the step is alive, and how far it is: a bar on a terminal, else a line now and then."""
        if isinstance(step, PatchNode):
            return  # they go out together, and none takes long
        self._total, self._done, began = getattr(step, "total_bytes", None), 0, time.monotonic()
        if self._err.is_terminal and not self._err.is_dumb_terminal:
            moves = isinstance(step, Copy) or (isinstance(step, Run) and (step.total_bytes is not None or len(step.pipeline) > 1))
            bytes_columns = (BarColumn(bar_width=20), DownloadColumn(), TransferSpeedColumn()) if moves else ()
            left = (TimeRemainingColumn(), TextColumn("left")) if moves and self._total else ()
            self._bar = Progress(TextColumn(f"{number:>3}/{of}", markup=False), SpinnerColumn("line"), TimeElapsedColumn(), *bytes_columns, *left, console=self._err, transient=True)
            self._task = self._bar.add_task("", total=self._total)
            self._bar.start()
            return
        self._over = over = threading.Event()

        def tell() -> None:
            while not over.wait(PLAIN_EVERY_SECONDS):
                seconds = time.monotonic() - began
                of_total = f" of {self._total / 1e6:.0f}" if self._total else ""
                moved = f", {self._done / 1e6:.0f}{of_total} MB, {self._done / 1e6 / seconds:.0f} MB/s" if self._done else ""
                self._err.print(Text(f"{number:>3}/{of} running, {seconds:.0f} s{moved}"))

        threading.Thread(target=tell, daemon=True).start()

    def step_progress(self, done_bytes: int) -> None:
        self._done = done_bytes
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done_bytes)

    def step_ended(self, number: int, of: int, *, ok: bool, seconds: float) -> None:
        self.close()
        self.say(f"{number:>3}/{of} {'done' if ok else 'FAILED'} {seconds:.1f} s")

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
        self._prose(Text.assemble((f"breakglass: {error.kind}:", "bold red"), (f" {_printable(first)}", "bold")))
        for line in more:
            self._err.print(Text(f"  {_printable(line)}"))
        if error.state:
            self._prose(Text(f"  State: {_printable(error.state)}"))
        if error.next_step:
            self._err.print(Text(f"  Next:  {_printable(error.next_step)}"))

    def bug(self, error: BaseException) -> None:
        self.close()
        self._err.print(Text("breakglass: this is a bug in breakglass; please report it with the lines below."))
        self.trace(error)

    def trace(self, error: BaseException) -> None:
        """Texts of libraries may hold what another host has said: printed inert, line by line."""
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            self._err.print(Text(_printable(line)))

    def object(self, told: dict[str, Any]) -> None:
        import json

        print(json.dumps(told), flush=True)  # noqa: T201


def _printable(line: str) -> str:
    """Rich prints control characters as they are."""
    return "".join(character if character.isprintable() else "?" for character in line)
