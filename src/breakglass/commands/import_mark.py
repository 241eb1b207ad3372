"""import's mark in the cluster: a node on which it left something to undo is found by `restore`
from any machine.
"""

from dataclasses import dataclass, replace

from breakglass.commands.environment import Environment, Identity
from breakglass.commands.job import Job
from breakglass.marks import HOLDS
from breakglass.observe.cluster import Node
from breakglass.observe.pins import Hold
from breakglass.plan import PatchNode, Plan, title


@dataclass(frozen=True)
class Facts:
    node: Node | None
    """None: there is no such node in the cluster."""


def job(environment: Environment, name: str) -> Job[Facts] | None:
    """None: there is nothing to do. Raises Unreachable."""

    def observe() -> Facts:
        return Facts(next((node for node in environment.nodes() if node.name == name), None))

    def decide(facts: Facts) -> Plan:
        return plan(facts, identity=environment.identity)

    first = observe()
    if not decide(first).steps:
        return None
    return Job(
        observe=lambda: first,
        decide=decide,
        observe_again=lambda _: observe(),
        state=lambda _: "",
    )


def plan(facts: Facts, *, identity: Identity) -> Plan:
    node = facts.node
    if node is None or node.mark.holds is not None:
        return Plan("the cluster knows of the import")
    after = replace(node.mark, holds=Hold(identity.run, identity.by, identity.at).text())
    step = PatchNode(
        node.name, node.mark, after, node.resource_version, title=title("mark", node.name)
    )
    return Plan(f"{node.name} carries the annotation {HOLDS}, so that restore finds it", (step,))
