"""The hosts at which restore looks: those that are named, else all with something of ours, and some
of the others.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from breakglass.commands.environment import Environment, Remembered, Unread
from breakglass.commands.target import MOST_NODES, resolve, target_of
from breakglass.deadline import together
from breakglass.errors import BreakglassError, Refused
from breakglass.observe.cluster import Node
from breakglass.observe.pins import pins_of
from breakglass.plan import Host


@dataclass(frozen=True)
class Looks:
    """The hosts to look at."""

    hosts: list[Host]
    lost: list[Unread] = field(default_factory=list)
    """Names with something of ours that lead to no host."""
    ours: frozenset[str] = frozenset()
    """Names of hosts on which there is something of ours, as the API or the journal says."""
    left_out: int = 0


def hosts_to_look_at(
    environment: Environment,
    nodes: tuple[Node, ...],
    names: tuple[str, ...],
    remembered: Remembered,
) -> Looks:
    """Each machine once, however often it is named: all on which something of ours is known, also
    where they have left the cluster, and so many of the others.
    """
    if names:
        return Looks(_distinct([resolve(environment, name, nodes or None).host for name in names]))
    targets = together([partial(target_of, environment, node) for node in nodes])
    known = {target.host.name: target.host for target in targets if target}
    configured = environment.config.nodes.hosts
    # Of a node that has left the cluster, the journal would speak for ever.
    left = {name for name in remembered.hosts if nodes and name not in {*known, *configured}}
    ours = _with_marks(nodes) | remembered.hosts - left
    others = [*left, *(name for name in {**known, **configured} if name not in ours)]
    room = max(0, MOST_NODES - len(ours))
    hosts, lost = [], []
    for name in (*sorted(ours), *others[:room]):
        try:
            hosts.append(known.get(name) or resolve(environment, name, nodes or None).host)
        except BreakglassError as error:
            lost += [Unread(name, error)] if name in ours else []
    return Looks(_distinct(hosts), lost, frozenset(ours), len(others[room:]))


def _with_marks(nodes: tuple[Node, ...]) -> set[str]:
    """Nodes that carry an annotation of ours, and the targets that these name."""
    marked = set()
    for node in nodes:
        if node.mark.annotation is not None or node.mark.holds is not None:
            marked.add(node.name)
            with suppress(Refused):  # restore removes an annotation that it cannot read as well
                marked |= {pin.target for pin in pins_of(node.mark)}
    return marked


def _distinct(hosts: list[Host]) -> list[Host]:
    distinct: dict[str, Host] = {}
    for host in hosts:
        distinct.setdefault(host.ssh, host)
    return list(distinct.values())
