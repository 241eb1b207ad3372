"""What a command does, as one value: what it reads, decides, reads again and says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from breakglass.errors import BreakglassError
from breakglass.plan import Plan, Step
from breakglass.ports import Result

FactsType = TypeVar("FactsType")


@dataclass(frozen=True)
class Job(Generic[FactsType]):
    """One plan, from the facts that it is made of to the facts that it leads to."""

    observe: Callable[[], FactsType]
    decide: Callable[[FactsType], Plan]
    observe_again: Callable[[FactsType], FactsType]
    """The facts of before -> the facts now: read just before anything is changed, and once more
    when all is done.
    """
    state: Callable[[FactsType], str]
    """The sentence in the error block."""
    observe_after: Callable[[FactsType], FactsType] | None = None
    """Where it differs from `observe_again`: what is read when all is done."""
    left_over: Callable[[FactsType], Plan] | None = None
    """Where it differs from `decide`: what is still to do, planned from what was read then."""
    explain: Callable[[FactsType, Step, Result], BreakglassError | None] | None = None
    """What a failed step means, where its output says more than its status."""
    question: str = ""
    """Asked before anything is changed; empty: nothing is asked."""


@dataclass(frozen=True)
class Done(Generic[FactsType]):
    """How a job ended."""

    before: FactsType
    facts: FactsType
    """What was read back when all was done; in a dry run, what there was before."""
    plan: Plan
