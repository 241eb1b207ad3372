"""Nodes as sources of a tarball, after the registry VM and the fallbacks: a node keeps the tarball
that was fetched to it.
"""

from breakglass.commands.environment import Environment
from breakglass.commands.target import MOST_NODES, resolve
from breakglass.errors import Refused, then
from breakglass.plan import Host

Place = tuple[Host, str]
"""A source: the host, and its directory of tarballs."""


def other_nodes(environment: Environment, node: Host | None) -> tuple[Place, ...]:
    """Every node, but for this one, that nodes.hosts or the API names."""
    cluster, _ = environment.nodes_or_error()
    names = dict.fromkeys((*environment.config.nodes.hosts, *(each.name for each in cluster)))
    directory = environment.config.nodes.directory
    return tuple(
        (resolve(environment, name, cluster).host, directory)
        for name in list(names)[:MOST_NODES]
        if node is None or name != node.name
    )


def named_source(environment: Environment, name: str, node: Host) -> Place:
    """The source or the other node of this name. Raises Refused where there is none."""
    places = {place[0].name: place for place in environment.sources}
    if name not in places:
        # Only now is the cluster asked.
        places |= {place[0].name: place for place in other_nodes(environment, node)}
    if name not in places:
        raise Refused(
            f"there is no source {name}",
            next_step=then(
                f"breakglass fetch {node} --from {next(iter(places))}",
                advice=f"name one of {', '.join(places)}",
            ),
        )
    return places[name]
