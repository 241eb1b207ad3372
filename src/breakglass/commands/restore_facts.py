"""What restore reads: the cluster, and what breakglass has set up on the nodes."""

from dataclasses import dataclass, replace
from functools import partial

from breakglass.cluster_name import ClusterName
from breakglass.commands import check, check_verdict
from breakglass.commands.environment import Environment, Remembered, Unread
from breakglass.commands.import_names import OURS
from breakglass.commands.pin_pods import nodes_without_pods
from breakglass.commands.restore_hosts import Looks, hosts_to_look_at
from breakglass.commands.right_host import WrongHost
from breakglass.commands.right_host import check as check_right_host
from breakglass.commands.whole_cluster import another_context, doubt
from breakglass.deadline import together
from breakglass.errors import BreakglassError, Refused, Unreachable, bug_at, look_first
from breakglass.observe.answering import Taken, read_taken
from breakglass.observe.cluster import Node, parse_pin, read_pods
from breakglass.observe.containerd import Ctr, read_targets
from breakglass.observe.pins import run_of
from breakglass.plan import Host


@dataclass(frozen=True)
class Own:
    """What one run has changed: this node, and the cluster by its pin."""

    host: Host
    run: str
    cordoned: tuple[str, ...] = ()
    """The nodes that it has cordoned, whatever their annotations say by now."""
    busy: tuple[str, ...] = ()
    """Those of them that had pods of a Deployment or StatefulSet then."""


@dataclass(frozen=True)
class Site:
    """What is on one node."""

    host: Host
    taken: Taken
    names: tuple[str, ...] = ()
    """Names of ours in its containerd."""

    @property
    def is_clean(self) -> bool:
        return not (self.taken.is_begun or self.taken.has_responder)


@dataclass(frozen=True)
class Facts:
    nodes: tuple[Node, ...]
    may_patch: bool | None
    unserved: str = ""
    """That not every registry serves the image yet, or that it is not known; empty: all do, or
    none was asked.
    """
    sites: tuple[Site, ...] = ()
    unread: tuple[Unread, ...] = ()
    api: Unreachable | None = None
    """Why the API was not reached."""
    own: Own | None = None
    """Only this is to be undone."""
    drained: frozenset[str] = frozenset()
    """Nodes that had pods of a Deployment or StatefulSet at `pin`, or perhaps had, and have none
    now.
    """
    unseen: tuple[Unread, ...] = ()
    """Nodes that were not reached, and of which nothing says that we have left anything there."""
    unlooked: int = 0
    """How many more nodes there are that nothing of ours is known of: they were not asked."""
    remembered: frozenset[str] = frozenset()
    """Nodes that runs on this machine have cordoned, as far as its journal goes."""

    @property
    def is_whole(self) -> bool:
        """Whether the API and every node was looked at."""
        return not (self.unread or self.unseen or self.unlooked or self.api)

    @property
    def wrong_hosts(self) -> tuple[Unread, ...]:
        """Nodes at whose address another machine answers: it is left alone."""
        return tuple(unread for unread in self.unread if isinstance(unread.error, WrongHost))

    def marked(self, names: tuple[str, ...] = ()) -> list[Node]:
        """Nodes with `breakglass/pinned` that is to be removed."""
        return [node for node in self._named(names) if self._is_meant(node.mark.annotation)]

    def held(self, names: tuple[str, ...] = ()) -> list[Node]:
        """Nodes with `breakglass/holds` that is to be removed."""
        return [node for node in self._named(names) if self._is_meant(node.mark.holds)]

    def unmarked(self, names: tuple[str, ...] = ()) -> list[Node]:
        """Nodes that we have cordoned, as our own memory says, and that do not carry our annotation
        any more.
        """
        memory = self.remembered if self.own is None else frozenset(self.own.cordoned)
        return [
            node
            for node in self._named(names)
            if node.mark.unschedulable and node.mark.annotation is None and node.name in memory
        ]

    def _named(self, names: tuple[str, ...]) -> list[Node]:
        return [
            node
            for node in self.nodes
            if not names or node.name in names or set(node.addresses) & set(names)
        ]

    def _is_meant(self, annotation: str | None) -> bool:
        return annotation is not None and (self.own is None or run_of(annotation) == self.own.run)


def observe(environment: Environment, *, names: tuple[str, ...], own: Own | None = None) -> Facts:
    """Reads the cluster and the record of every node; with `names` or `own` only of theirs."""
    nodes, api = environment.nodes_or_error()
    remembered = environment.remembered()
    if not names and not own:
        api = api or check_cluster(nodes, remembered, environment.cluster_name())
        nodes = nodes if api is None else ()
    looks = Looks([own.host]) if own else hosts_to_look_at(environment, nodes, names, remembered)
    hosts = looks.hosts
    more = f" and {len(hosts) - 6} more" if len(hosts) > 6 else ""
    environment.note(f"looking at {', '.join(str(host) for host in hosts[:6])}{more}")
    # What this run has changed it found on the right machine.
    sites, unread = _sites(environment, hosts, compared_with=() if own else nodes)
    ours = {unread.name for unread in unread if own or names or unread.name in looks.ours}
    marked = any(node.mark.annotation is not None for node in nodes)
    is_set_up = marked or any(not site.is_clean for site in sites)
    unserved = ""
    if is_set_up and not names and not own and environment.config.registries:
        unserved = check_verdict.unserved(check_verdict.judge(check.ask(environment, "latest")))
    return Facts(
        nodes,
        _may_patch(environment, nodes),
        unserved,
        sites,
        (*looks.lost, *(each for each in unread if each.name in ours)),
        api,
        own,
        _drained(environment, nodes, own, remembered),
        tuple(each for each in unread if each.name not in ours),
        looks.left_out,
        remembered.cordoned,
    )


def observe_again(environment: Environment, facts: Facts) -> Facts:
    """The cluster, and the nodes on which breakglass has set up anything."""
    nodes, api = environment.nodes_or_error() if facts.api is None else ((), facts.api)
    clean = tuple(site for site in facts.sites if site.is_clean)
    sites, unread = _sites(environment, [site.host for site in facts.sites if not site.is_clean])
    return replace(
        facts, nodes=nodes, sites=(*sites, *clean), unread=(*facts.unread, *unread), api=api
    )


def _may_patch(environment: Environment, nodes: tuple[Node, ...]) -> bool | None:
    """None: the API would not say, or there is nothing of ours."""
    if all(node.mark.annotation is None and node.mark.holds is None for node in nodes):
        return None
    try:
        return environment.may_patch()
    except Unreachable:  # the patches themselves are refused, then; the hosts do not wait for that
        return None


def _drained(
    environment: Environment, nodes: tuple[Node, ...], own: Own | None, remembered: Remembered
) -> frozenset[str]:
    """Nodes that somebody has drained since we cordoned them. Of a node whose annotation is gone,
    only the run itself knows what was there: else it may have been drained.
    """
    unmarked = frozenset(own.busy) if own else remembered.cordoned
    busy = [
        node.name
        for node in nodes
        if _had_pods(node) or (node.mark.annotation is None and node.name in unmarked)
    ]
    try:
        return nodes_without_pods(busy, read_pods(environment.cluster)) if busy else frozenset()
    except Unreachable:
        return frozenset()


def _had_pods(node: Node) -> bool:
    try:
        return node.mark.unschedulable and parse_pin(node.mark.annotation or "").had_pods
    except Refused:
        return False


def check_cluster(
    nodes: tuple[Node, ...], remembered: Remembered, cluster: ClusterName | None
) -> Unreachable | None:
    """Why this cannot be the cluster in which pods run, and this machine has changed nodes."""
    if not nodes:
        return Unreachable(doubt((), (), cluster), next_step=another_context(cluster))
    names = {node.name for node in nodes}
    if not remembered.cordoned or remembered.cordoned & names:
        return None
    return Unreachable(
        f"the API server lists none of the nodes that this machine has cordoned: "
        f"{', '.join(sorted(remembered.cordoned))}; it has {len(names)} others",
        next_step=look_first(
            "kubectl config current-context",
            advice="see whether this is the right cluster, then try again",
        ),
    )


def _sites(
    environment: Environment, hosts: list[Host], *, compared_with: tuple[Node, ...] = ()
) -> tuple[tuple[Site, ...], tuple[Unread, ...]]:
    readings = together([partial(_site, environment, host, compared_with) for host in hosts])
    sites = tuple(reading for reading in readings if isinstance(reading, Site))
    return sites, tuple(reading for reading in readings if isinstance(reading, Unread))


def _site(environment: Environment, host: Host, compared_with: tuple[Node, ...]) -> Site | Unread:
    nodes = environment.config.nodes
    try:
        check_right_host(environment, host, compared_with)
        site = Site(
            host, read_taken(environment.hosts, host, nodes.directory, certs=nodes.registry_config)
        )
        try:
            targets = read_targets(
                environment.hosts, host, Ctr(nodes.ctr, site.taken.namespace or nodes.namespace)
            )
        except BreakglassError:
            # Without a record there is no reason to think that anything is there.
            if not site.is_clean:
                raise
            return site
        return replace(site, names=tuple(name for name in sorted(targets) if name.startswith(OURS)))
    except BreakglassError as error:
        return Unread(host.name, error)
    except Exception as bug:  # of one host: the others and the cluster are restored all the same
        return Unread(host.name, bug_at(host.name, bug))
