"""What a person sees. Rich is known here and in `progress` only. Text from elsewhere is data: no
markup, no highlighting, no control characters.
"""

import os
import sys
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from breakglass.cli.progress import BAR, RunningStep, cut
from breakglass.errors import BreakglassError, Next
from breakglass.plan import Plan, Step

COLUMNS = 80
"""The length of a step's line where there is no terminal that has a width."""


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
        self._running = RunningStep(self._err)

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
        self._running.start(f"{number:>3}/{of}", step, _printable(str(step)))

    def step_progress(self, done_bytes: int) -> None:
        self._running.moved_to(done_bytes)

    def step_ended(self, number: int, of: int, step: Step, *, ok: bool, seconds: float) -> None:
        """In one line, with the beginning of what the plan said: that has gone from the screen by
        now.
        """
        self.close()
        outcome = f"{number:>3}/{of} {'done' if ok else 'FAILED'} {seconds:.1f} s  "
        width = self._out.width if self._out.is_terminal else COLUMNS
        self.say(outcome + cut(_printable(str(step)), width - len(outcome)))

    def close(self) -> None:
        """Take a bar that is still there from the screen."""
        self._running.close()

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

    def next_step(self, step: Next) -> None:
        """What to type next. Each command stands on a line of its own, which is never broken."""
        self._print_next(self._out, step, indent="")

    def _print_next(self, console: Console, step: Next, *, indent: str) -> None:
        first, *more = step.lines
        beginning = Text(f"{indent}Next:  {_printable(first)}")
        if step.advice:
            self._wrap(console, beginning)
        else:
            console.print(beginning)
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


def _printable(line: str) -> str:
    """Rich prints control characters as they are."""
    return "".join(character if character.isprintable() else "?" for character in line)
