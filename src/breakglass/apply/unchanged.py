"""Whether the plan is still the one that was shown: it is made anew, from facts that were read
anew.
"""

from collections.abc import Iterable

from breakglass.errors import RUN_AGAIN, Busy
from breakglass.plan import Compare, Confirm, Host, Lock, PatchNode, Plan, Run, Sign, Step


def check_before_patches(plan: Plan, again: Plan) -> None:
    """The nodes are as they were when the plan was made. Raises Busy."""
    _compare(_before_patches(plan), _before_patches(again))


def check_after_lock(plan: Plan, again: Plan, lock: Lock) -> None:
    """What is done under this lock is still to be done. Raises Busy."""
    _compare(_after_lock(plan, lock), _after_lock(again, lock))


def host_of(step: Step) -> Host | None:
    """The one host that a step is done on."""
    return step.host if isinstance(step, Run | Sign | Lock | Confirm | Compare) else None


def _compare(planned: list[str], again: list[str]) -> None:
    if planned != again:
        raise Busy(
            "things have changed since they were read: another run, or somebody by hand",
            state="Nothing was changed by this run.",
            next_step=RUN_AGAIN,
        )


def _before_patches(plan: Plan) -> list[str]:
    """The steps that must be planned again as before, for the patches to be sent."""
    return _lines(
        step for step in plan.steps if not plan.independent or isinstance(step, PatchNode)
    )


def _after_lock(plan: Plan, lock: Lock) -> list[str]:
    """The steps that are done under a lock: all after it; in an independent plan only those on
    its host.
    """
    at = plan.steps.index(lock) if lock in plan.steps else len(plan.steps)
    after = plan.steps[at + 1 :]
    return _lines(step for step in after if not plan.independent or host_of(step) == lock.host)


def _lines(steps: Iterable[Step]) -> list[str]:
    return [str(step) for step in steps]
