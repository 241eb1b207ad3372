"""Which cluster is changed: in the kubectl lines of a plan, and in the question before it."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from breakglass.cluster_name import ClusterName
from breakglass.commands.job import FactsType, Job
from breakglass.plan import PatchNode, Plan, Step

Named = Callable[[], ClusterName | None]
"""Called only where the cluster is changed: other commands need no kubeconfig."""


def job_on(job: Job[FactsType], named: Named) -> Job[FactsType]:
    """The job, whose plans name the cluster that they change."""
    left_over = job.left_over
    return replace(
        job,
        decide=lambda facts: plan_on(job.decide(facts), named),
        left_over=left_over and (lambda facts: plan_on(left_over(facts), named)),
    )


def plan_on(plan: Plan, named: Named) -> Plan:
    """The plan, whose patches name the cluster that they change."""
    cluster = named() if _patches(plan.steps) else None
    if cluster is None:
        return plan
    steps = tuple(
        replace(step, kubectl=cluster.kubectl) if isinstance(step, PatchNode) else step
        for step in plan.steps
    )
    return replace(plan, steps=steps)


def question_on(question: str, steps: Iterable[Step], named: Named) -> str:
    """The question, with the cluster that a yes changes."""
    cluster = named() if _patches(steps) else None
    return question if cluster is None else f"On cluster {cluster}: {question}"


def _patches(steps: Iterable[Step]) -> bool:
    return any(isinstance(step, PatchNode) for step in steps)
