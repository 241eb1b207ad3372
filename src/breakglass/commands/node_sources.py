"""Nodes as sources of a tarball, after the registry VM and the fallbacks: a node keeps the tarball
that was fetched to it.
"""

from dataclasses import replace

from breakglass.commands.environment import Environment
from breakglass.commands.right_host import check
from breakglass.commands.target import MOST_NODES, resolve
from breakglass.errors import Refused, then
from breakglass.observe.cluster import Node
from breakglass.plan import Host

Place = tuple[Host, str]
"""A source: the host, and its directory of tarballs."""


def other_nodes(
    environment: Environment, node: Host | None
) -> tuple[tuple[Place, ...], tuple[Node, ...]]:
    """Every node, but for this one, that nodes.hosts or the API names; and the cluster, with which
    each is compared (`check_other`) before anything is run there as root.
    """
    cluster, _ = environment.nodes_or_error()
    names = dict.fromkeys((*environment.config.nodes.hosts, *(each.name for each in cluster)))
    directory = environment.config.nodes.directory
    places = tuple(
        (resolve(environment, name, cluster).host, directory)
        for name in list(names)[:MOST_NODES]
        if node is None or name != node.name
    )
    return places, cluster


def check_other(environment: Environment, host: Host, cluster: tuple[Node, ...]) -> None:
    """Raises WrongHost, also with --anyway, which is about the target only; Unreachable."""
    check(replace(environment, anyway=False), host, cluster)


def named_source(environment: Environment, name: str, node: Host) -> Place:
    """The source or the other node of this name. Raises Refused where there is none, or where the
    host is not that node.
    """
    places = {place[0].name: place for place in environment.sources}
    if name not in places:
        # Only now is the cluster asked.
        others, cluster = other_nodes(environment, node)
        if other := next((place for place in others if place[0].name == name), None):
            check_other(environment, other[0], cluster)
        places |= {place[0].name: place for place in others}
    if name not in places:
        raise Refused(
            f"there is no source {name}",
            next_step=then(
                f"breakglass fetch {node} --from {next(iter(places))}",
                advice=f"name one of {', '.join(places)}",
            ),
        )
    return places[name]
