"""How one run ended: the object that `--json` prints, and the exit code."""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from breakglass.cluster_name import ClusterName
from breakglass.errors import BreakglassError, Busy, Failed, Refused, Unreachable, Usage
from breakglass.plan import Step


@dataclass
class StepOutcome:
    """One step of the plan, and how it ended. `status`: planned, done, failed, not run."""

    step: Step
    status: str = "planned"
    seconds: float | None = None
    begun: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "line": str(self.step),
            "status": self.status,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
        }


@dataclass
class Outcome:
    command: str
    dry_run: bool = False
    changed: bool = False
    steps: list[StepOutcome] = field(default_factory=list)
    result: object = None
    """The command's frozen result; None where it did not come so far."""
    error: BreakglassError | None = None
    exit_code: int = 0
    cluster: ClusterName | None = None
    """The one that the kubeconfig means; None where there is no kubeconfig."""

    def to_json(self) -> dict[str, Any]:
        """The object of contract `--json`: fields are added, never renamed."""
        error = None
        if self.error is not None:
            error = {
                "kind": self.error.kind,
                "message": self.error.message,
                "state": self.error.state,
                "next": str(self.error.next_step),
                "next_commands": list(self.error.next_step.typed_commands),
            }
        return {
            "command": self.command,
            "ok": self.exit_code == 0 or (self.exit_code in (10, 11) and self.command == "check"),
            "exit_code": self.exit_code,
            "dry_run": self.dry_run,
            "changed": self.changed and not self.dry_run,
            "cluster": self.cluster
            and {"context": self.cluster.context, "server": self.cluster.server},
            "steps": [step.to_json() for step in self.steps],
            "result": {} if self.result is None else to_json(self.result),
            "error": error,
        }


def to_json(value: object) -> Any:
    """A frozen result as JSON has it: its fields in their order; of `import_` without the `_`,
    which only Python needs.
    """
    if is_dataclass(value):
        names = [each.name for each in fields(value)]
        return {name.rstrip("_"): to_json(getattr(value, name)) for name in names}
    if isinstance(value, tuple | list):
        return [to_json(each) for each in value]
    return value


def with_true_state(outcome: Outcome, error: BreakglassError) -> BreakglassError:
    """An error that promises that nothing was changed is another one where something was."""
    if not outcome.changed or not isinstance(error, Usage | Refused | Unreachable | Busy):
        return error
    state = error.state
    for promise in (type(error).state_by_default, "Nothing was changed by this run."):
        state = state.removeprefix(promise).strip()
    failed = Failed(
        error.message,
        state=state or progress_of(outcome),
        next_step=error.next_step,
        where=error.where,
    )
    failed.__cause__ = error.__cause__
    return failed


def progress_of(outcome: Outcome) -> str:
    """How far the plan went, as one sentence or two."""
    done = [step for step in outcome.steps if step.status == "done"]
    broken = [
        f"step {number} ({_begins(str(step.step))})"
        for number, step in enumerate(outcome.steps, 1)
        if step.status == "failed"
    ]
    if not done and not broken:
        return "Nothing was changed."
    more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
    running = f" It may or may not have been done: {'; '.join(broken[:5])}{more}." if broken else ""
    return f"{len(done)} of {len(outcome.steps)} steps were done.{running}"


def _begins(line: str) -> str:
    """Enough to know it again: the whole line stands in the plan, in the JSON and in the
    journal.
    """
    return line if len(line) <= 60 else f"{line[:57]}..."
