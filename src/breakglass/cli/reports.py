"""Writes how far a plan is to the screen and into the outcome."""

from breakglass.cli.outcome import Outcome
from breakglass.cli.screen import Screen
from breakglass.plan import Step


class ScreenReports:
    """Implements apply.Reports."""

    def __init__(
        self, screen: Screen, outcome: Outcome, *, first: int, shown_first: int, count: int
    ) -> None:
        """Before the plan's first step there are `first` in the outcome and `shown_first` on the
        screen, which counts up to `count`.
        """
        self._screen, self._outcome = screen, outcome
        self._first, self._shown_first, self._count = first, shown_first, count

    def started(self, index: int, step: Step) -> None:
        self._outcome.steps[self._first + index].begun = True
        self._screen.step_started(self._shown_first + index + 1, self._count, step)

    def progress(self, done_bytes: int) -> None:
        self._screen.step_progress(done_bytes)

    def ended(self, index: int, step: Step, *, ok: bool, seconds: float) -> None:
        outcome = self._outcome.steps[self._first + index]
        outcome.status, outcome.seconds = "done" if ok else "failed", seconds
        if ok and step.is_change:
            self._outcome.changed = True
        self._screen.step_ended(
            self._shown_first + index + 1, self._count, step, ok=ok, seconds=seconds
        )

    def undoing(self, step: Step) -> None:
        self._screen.say(f"undoing: {step}")

    def give_up(self, *, signalled: bool = False) -> None:
        """The plan ended early: a step that had begun counts as failed, and may have been done."""
        self._screen.close()
        for outcome in self._outcome.steps[self._first :]:
            if outcome.status == "planned":
                outcome.status = "failed" if outcome.begun else "not run"
                self._outcome.changed |= outcome.begun and outcome.step.is_change
            elif outcome.status == "failed" and signalled:
                self._outcome.changed |= outcome.step.is_change
