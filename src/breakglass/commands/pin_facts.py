"""What pin reads: the cluster, and whether the target has the image."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from breakglass.cluster_name import ClusterName
from breakglass.commands.environment import Environment
from breakglass.commands.fitness import NONE, Needs, needs_of, unfit
from breakglass.commands.image_names import missing_names, repository_of
from breakglass.commands.node_machine import read_node
from breakglass.commands.right_host import check as check_right_host
from breakglass.commands.target import Target
from breakglass.errors import Unreachable
from breakglass.observe.cluster import Node, Pod, read_pods
from breakglass.observe.machine import Machine
from breakglass.observe.volumes import Volume, read_volumes
from breakglass.plan import Host
from breakglass.ports import ReadsCluster

T = TypeVar("T")


@dataclass(frozen=True)
class Facts:
    target: str
    how: str
    nodes: tuple[Node, ...]
    missing: tuple[str, ...]
    """Names that pods use and that do not resolve on the target."""
    may_patch: bool | None
    """None: the API would not say."""
    pods: tuple[Pod, ...] | None
    """None: they could not be read."""
    repositories: frozenset[str]
    """What the pods call the image, without tags."""
    volumes: tuple[Volume, ...] | None = ()
    """Those that only some nodes can serve. None: they could not be read."""
    machine: Machine | None = None
    """The target's host; None: not looked at."""
    needs: Needs = NONE
    anyway: bool = False
    """A target that does not fit is a warning."""
    newcomers: tuple[str, ...] = ()
    """Nodes that joined while the pin was at work: no part of what it promised."""
    cluster: ClusterName | None = None
    was_free: bool = False
    """Whether no other pin was in force when this was read before."""


def observe(
    environment: Environment,
    target: Target,
    *,
    nodes: tuple[Node, ...] | None = None,
    machine: Machine | None = None,
) -> Facts:
    """`nodes`: the cluster, where it was read already. `machine`: the target's, where it was read
    already and will have the image by then. Raises Unreachable.
    """
    nodes = environment.nodes() if nodes is None else nodes
    host = target.host
    node = next((node for node in nodes if node.name == host.name), None)
    may_patch = environment.may_patch()
    needs = needs_of(environment.config.nodes)
    missing: tuple[str, ...] = ()
    may_fit = node is not None and (environment.anyway or not unfit(needs, node=node))
    if may_patch is False or not may_fit:
        machine = None
    elif machine is None:
        machine, missing = _look_at(environment, host, nodes, needs)
    return Facts(
        host.name,
        target.how,
        nodes,
        missing,
        may_patch,
        _or_none(read_pods, environment.cluster),
        frozenset(repository_of(name) for name in environment.config.image.names("any")),
        _or_none(read_volumes, environment.cluster),
        machine,
        needs,
        environment.anyway,
        cluster=environment.cluster_name(),
    )


def _look_at(
    environment: Environment, host: Host, nodes: tuple[Node, ...], needs: Needs
) -> tuple[Machine, tuple[str, ...]]:
    """The target's machine, and the names that do not resolve there."""
    environment.note(f"looking at {host} ({host.ssh})")
    check_right_host(environment, host, nodes)
    machine = read_node(environment, host)
    if unfit(needs, machine=machine) and not environment.anyway:
        return machine, ()
    shelf = environment.shelf(host, environment.config.nodes.directory)
    return machine, missing_names(environment, machine, shelf)


def observe_again(environment: Environment, facts: Facts) -> Facts:
    """The nodes read anew."""
    return replace(facts, nodes=environment.nodes(), was_free=True)


def without_newcomers(now: Facts, before: Facts) -> Facts:
    """What was read after the patches, of the nodes that there were before them."""
    known = {node.name for node in before.nodes}
    return replace(
        now,
        nodes=tuple(node for node in now.nodes if node.name in known),
        newcomers=tuple(node.name for node in now.nodes if node.name not in known),
    )


def _or_none(
    read: Callable[[ReadsCluster], tuple[T, ...]], cluster: ReadsCluster
) -> tuple[T, ...] | None:
    try:
        return read(cluster)
    except Unreachable:
        return None
