"""restore: give back exactly what was taken."""

from dataclasses import dataclass

from breakglass.commands import Estate, Result
from breakglass.errors import Refused, Unreachable
from breakglass.observe.cluster import Node
from breakglass.plan import Mark, PatchNode, Plan


@dataclass(frozen=True)
class Facts:
    nodes: tuple[Node, ...]
    may_patch: bool | None
    served_by: tuple[str, ...] | None
    """Registries that serve the image again; None: not asked."""


def observe(estate: Estate, *, ask_registries: bool) -> Facts:
    nodes = estate.nodes()
    marked = any(node.mark.annotation is not None for node in nodes)
    served_by = tuple(found.name for found in estate.look("latest") if found.state == "serves") if marked and ask_registries and estate.config.registries else None
    return Facts(nodes, estate.may_patch() if marked else None, served_by)


def plan(facts: Facts, *, names: tuple[str, ...]) -> Plan:
    """Every node that carries our annotation, or those of them that were named, by name or InternalIP. A node that somebody uncordoned meanwhile only loses the annotation."""
    unknown = [name for name in names if not any(name in (node.name, node.address) for node in facts.nodes)]
    if unknown:
        raise Refused(f"there is no node {', '.join(unknown)} in the cluster", next_step="one of: " + ", ".join(node.name for node in facts.nodes))
    taken = [node for node in facts.nodes if node.mark.annotation is not None and (not names or node.name in names or node.address in names)]
    if taken and facts.may_patch is False:
        raise Unreachable("the API lets us list nodes but not patch them: the right patch on nodes is missing", next_step="bind the ClusterRole that README.md prints to this identity")
    steps = tuple(PatchNode(node.name, node.mark, Mark(False, None), node.resource_version) for node in taken)
    warnings = ("no registry serves the image yet: pipelines will fail again on nodes that do not hold it",) if taken and facts.served_by == () else ()
    return Plan("every node that we cordoned is schedulable again, and carries no annotation of ours", steps, warnings=warnings)


def result(done: Plan) -> Result:
    return {"uncordoned": [step.node for step in done.steps if isinstance(step, PatchNode) and step.before.unschedulable], "cleaned": [], "unreached": []}


def state(facts: Facts) -> str:
    marked = [node.name for node in facts.nodes if node.mark.annotation is not None]
    return f"Still carrying our annotation: {', '.join(marked) or 'no node'}."
