"""NODE, resolved to the host behind it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from breakglass.commands.environment import Environment
from breakglass.errors import Refused, Unreachable, then
from breakglass.observe.cluster import Node
from breakglass.plan import Host

MOST_NODES = 50
"""So many are asked, if nothing names them."""


@dataclass(frozen=True)
class Target:
    """NODE, resolved."""

    host: Host
    how: str
    """The line that says how it was found."""
    nodes: tuple[Node, ...] | None = None
    """The cluster, where it was read on the way."""


def resolve(environment: Environment, name: str, nodes: tuple[Node, ...] | None = None) -> Target:
    """The host behind NODE. `nodes.hosts` wins over the API; a name in neither is the SSH host
    itself. `nodes`: the cluster, where it was read already.

    Raises Refused for a name that no node has and no host answers to.
    """
    hosts = environment.config.nodes.hosts
    if name in hosts:
        how = f"{name} is {hosts[name]} (nodes.hosts)"
        return Target(_node_host(environment, name, hosts[name]), how, nodes)
    if nodes is None:
        nodes, error = environment.nodes_or_error()
        if error is not None:
            return Target(
                _node_host(environment, name, name),
                f"{name} is used as the SSH host: it is not in nodes.hosts, and the API was "
                f"not reached ({error.message})",
            )
    node = node_of(name, nodes)
    if node is not None:
        return replace(target_of(environment, node), nodes=nodes)
    return _ssh_host(environment, name, nodes)


def node_of(name: str, nodes: Iterable[Node]) -> Node | None:
    """The node with this name; for an address, the only node that has it."""
    known = tuple(nodes)
    named = [node for node in known if node.name == name]
    addressed = [node for node in known if name in node.addresses]
    return named[0] if named else addressed[0] if len(addressed) == 1 else None


def target_of(environment: Environment, node: Node) -> Target:
    """A node that the API knows. Of several addresses the first by which it is reached: there
    may be no route for IPv6 from here, or none for IPv4.
    """
    hosts = environment.config.nodes.hosts
    address = hosts.get(node.name) or _address_of(environment, node)
    where = "nodes.hosts" if node.name in hosts else "InternalIP" if node.addresses else "its name"
    if node.no_addresses:
        given = ", ".join(map(repr, node.no_addresses))
        environment.warn(
            f"{node.name}: the API gives it as InternalIP {given}, which is no IP address and is "
            f"not used"
        )
    host = _node_host(environment, node.name, address)
    return Target(host, f"{node.name} is {address} ({where})")


def _ssh_host(environment: Environment, name: str, nodes: tuple[Node, ...]) -> Target:
    """A name that is no node of the cluster, and is reached by SSH. Raises Refused."""
    host = _node_host(environment, name, name)
    try:
        environment.hosts.ask(replace(host, sudo=False), ("true",))
    except Unreachable as error:
        known = ", ".join(node.name for node in nodes) or "(the cluster has no nodes)"
        raise Refused(
            f"there is no node {name} in the cluster, and none in nodes.hosts; as an SSH "
            f"host it was not reached either: {error.message}",
            next_step=then("kubectl get nodes", advice=f"name one of {known}"),
        ) from error
    how = f"{name} is used as the SSH host: it is neither in nodes.hosts nor a node of the cluster"
    return Target(host, how, nodes)


def _address_of(environment: Environment, node: Node) -> str:
    first = next(iter(node.addresses), node.name)
    if len(node.addresses) < 2:
        return first
    reached = environment.reached
    if node.name not in reached:
        answering = (each for each in node.addresses if _answers(environment, node.name, each))
        reached[node.name] = next(answering, first)
    return reached[node.name]


def _answers(environment: Environment, name: str, address: str) -> bool:
    try:
        host = replace(_node_host(environment, name, address), sudo=False)
        environment.hosts.ask(host, ("true",))
    except Unreachable:
        return False
    return True


def _node_host(environment: Environment, name: str, address: str) -> Host:
    nodes = environment.config.nodes
    user = nodes.ssh_user
    ssh = address if user is None or "@" in address else f"{user}@{address}"
    return Host(name, ssh, sudo=nodes.sudo)
