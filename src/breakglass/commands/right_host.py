"""Whether the host that SSH reaches is the node that the API means: before anything is run there as
root, and before anything is changed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from breakglass.cluster_name import ClusterName, kubectl_line
from breakglass.commands.environment import Environment
from breakglass.commands.target import node_of
from breakglass.commands.whole_cluster import another_context
from breakglass.errors import AGAIN, Next, Refused, joined, look_first, then
from breakglass.observe.cluster import Node
from breakglass.observe.machine_ids import MachineIds, read_machine_ids
from breakglass.plan import Host
from breakglass.text import inert


class Match(StrEnum):
    """How the IDs of a host compare with those of a Node object."""

    SAME = "same"
    NOT_KNOWN = "not known"
    """The Node object has no boot ID: no kubelet has reported one."""
    REBOOTED = "rebooted"
    """The same machine-id, another boot ID."""
    REGENERATED = "regenerated"
    """The same boot ID, another machine-id."""
    OTHER = "other"


@dataclass(frozen=True)
class Facts:
    host: Host
    node: Node
    ids: MachineIds
    """Those of the host."""
    nodes: tuple[Node, ...] = ()
    """The whole cluster: it may be another node of it."""
    cluster: ClusterName | None = None
    is_configured: bool = False
    """Whether `nodes.hosts` gave the address."""


class WrongHost(Refused):
    """SSH reaches a machine that is not the node."""


def judge(node: Node, ids: MachineIds) -> Match:
    """Both IDs decide: clones share a machine-id, and containers on one kernel a boot ID."""
    if not node.boot_id:
        return Match.NOT_KNOWN
    is_same_boot = node.boot_id == ids.boot_id
    # A machine-id that one of the two does not have makes no difference.
    if is_same_boot and (not (node.machine_id and ids.machine_id)):
        return Match.SAME
    is_same_machine = node.machine_id == ids.machine_id != ""
    if is_same_boot:
        return Match.SAME if is_same_machine else Match.REGENERATED
    return Match.REBOOTED if is_same_machine else Match.OTHER


def fault(facts: Facts) -> WrongHost | None:
    """What is wrong with a host, and what to type; None where it is the node."""
    match = judge(facts.node, facts.ids)
    if match in (Match.SAME, Match.NOT_KNOWN):
        return None
    other = _other_node(facts)
    name, address = facts.node.name, facts.host.ssh
    boot_ids = (
        f"the boot ID is {facts.ids.boot_id} there and {inert(facts.node.boot_id)} in the API"
    )
    restart = facts.host.by_hand("systemctl", "restart", "kubelet")
    if other is not None:
        message = f"{address} is not {name}: its boot ID and machine-id are those of {other.name}"
        next_step = _correct_the_address(facts)
    elif match is Match.REBOOTED:
        message = (
            f"{address} has the machine-id of {name} and another boot ID: it was rebooted and "
            f"kubelet has not reported that yet, or it is a clone of {name} ({boot_ids})"
        )
        next_step = then(restart, AGAIN, advice="wait a minute, or restart kubelet; then try again")
    elif match is Match.REGENERATED:
        message = (
            f"{address} has the boot ID of {name} and another machine-id: it was generated anew "
            f"after kubelet started, or nodes share one kernel (the machine-id is "
            f"{facts.ids.machine_id} there and {inert(facts.node.machine_id)} in the API)"
        )
        next_step = then(restart, AGAIN, advice="restart kubelet, then try again")
    else:
        message = (
            f"{address} is not the node {name} of cluster {_name(facts.cluster)}: the boot IDs "
            f"and the machine-ids differ ({boot_ids})"
        )
        next_step = joined([_correct_the_address(facts), another_context(facts.cluster)])
    return WrongHost(message, next_step=next_step)


def check(environment: Environment, host: Host, nodes: tuple[Node, ...] | None) -> None:
    """`nodes`: None where the API was not reached; then nothing can be compared.

    Raises WrongHost, unless the operator said to go on anyway; Unreachable.
    """
    node = node_of(host.name, nodes or ())
    if node is None:
        return
    if not node.boot_id:
        environment.note(f"{node.name}: its kubelet has reported no boot ID to compare")
        return
    wrong = fault(
        Facts(
            host,
            node,
            read_machine_ids(environment.hosts, host),
            nodes or (),
            environment.cluster_name(),
            node.name in environment.config.nodes.hosts,
        )
    )
    if wrong is not None and not environment.anyway:
        raise wrong
    if wrong is not None:
        environment.warn(f"{wrong.message}; going on because of --anyway")


def none_fits(names: Iterable[str], cluster: ClusterName | None) -> Refused:
    """No host that SSH reaches is the node that it should be."""
    return Refused(
        f"the hosts that SSH reaches are not the nodes of cluster {_name(cluster)}: boot IDs or "
        f"machine-ids differ on {', '.join(names)}",
        next_step=joined([another_context(cluster), then("breakglass status")]),
    )


def _other_node(facts: Facts) -> Node | None:
    return next(
        (
            node
            for node in facts.nodes
            if node.name != facts.node.name and judge(node, facts.ids) is Match.SAME
        ),
        None,
    )


def _correct_the_address(facts: Facts) -> Next:
    look = kubectl_line(facts.cluster, "get", "nodes", "-o", "wide")
    # The same words for every node: several of them are one piece of advice.
    if facts.is_configured:
        return look_first(
            look, advice="correct nodes.hosts in the configuration; the API has other addresses"
        )
    return look_first(look, advice="set nodes.hosts in the configuration; the API's are wrong")


def _name(cluster: ClusterName | None) -> str:
    return str(cluster) if cluster else "(no kubeconfig names it)"
