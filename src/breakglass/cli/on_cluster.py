"""Which cluster is changed: in the kubectl lines of a plan, and in the question before it."""

from collections.abc import Iterable
from dataclasses import replace

from breakglass.cluster_name import ClusterName
from breakglass.commands.job import FactsType, Job
from breakglass.plan import PatchNode, Plan, Step


def job_on(job: Job[FactsType], cluster: ClusterName | None) -> Job[FactsType]:
    """The job, whose plans name the cluster that they change."""
    left_over = job.left_over
    return replace(
        job,
        decide=lambda facts: plan_on(job.decide(facts), cluster),
        left_over=left_over and (lambda facts: plan_on(left_over(facts), cluster)),
    )


def plan_on(plan: Plan, cluster: ClusterName | None) -> Plan:
    """The plan, whose patches name the cluster that they change."""
    if cluster is None or not _patches(plan.steps):
        return plan
    return plan.with_kubectl(cluster.kubectl)


def question_on(question: str, steps: Iterable[Step], cluster: ClusterName | None) -> str:
    """The question, with the cluster that a yes changes."""
    if cluster is None or not _patches(steps):
        return question
    return f"On cluster {cluster}: {question}"


def _patches(steps: Iterable[Step]) -> bool:
    return any(isinstance(step, PatchNode) for step in steps)
