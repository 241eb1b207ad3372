"""What restore reads: the cluster, and what breakglass has set up on the nodes."""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands import Environment, Unread, check, check_verdict
from breakglass.commands.import_names import OURS
from breakglass.deadline import together
from breakglass.errors import BreakglassError, Refused, Unreachable
from breakglass.observe.answering import Taken, read_taken
from breakglass.observe.cluster import Node, parse_pin
from breakglass.observe.containerd import Ctr, read_targets
from breakglass.plan import Host


@dataclass(frozen=True)
class Own:
    """What one run has changed: this node, and the cluster by its pin."""

    host: Host
    run: str


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

    def marked(self, names: tuple[str, ...] = ()) -> list[Node]:
        """Nodes with an annotation that is to be removed."""
        nodes = [
            node
            for node in self.nodes
            if node.mark.annotation is not None
            and (not names or node.name in names or node.address in names)
        ]
        return [node for node in nodes if self.own is None or _run_of(node) == self.own.run]


def observe(environment: Environment, *, names: tuple[str, ...], own: Own | None = None) -> Facts:
    """Reads the cluster and the record of every node; with `names` or `own` only of theirs."""
    nodes, api = _nodes(environment)
    hosts, lost = ([own.host], []) if own else _hosts(environment, nodes, names)
    more = f" and {len(hosts) - 6} more" if len(hosts) > 6 else ""
    environment.note(f"looking at {', '.join(str(host) for host in hosts[:6])}{more}")
    sites, unread = _sites(environment, hosts)
    marked = any(node.mark.annotation is not None for node in nodes)
    is_set_up = marked or any(not site.is_clean for site in sites)
    unserved = ""
    if is_set_up and not names and not own and environment.config.registries:
        unserved = check_verdict.unserved(check_verdict.judge(check.ask(environment, "latest")))
    may_patch = environment.may_patch() if marked else None
    return Facts(nodes, may_patch, unserved, sites, (*lost, *unread), api, own)


def observe_again(environment: Environment, facts: Facts) -> Facts:
    """The cluster, and the nodes on which breakglass has set up anything."""
    nodes, api = _nodes(environment) if facts.api is None else ((), facts.api)
    clean = tuple(site for site in facts.sites if site.is_clean)
    sites, unread = _sites(environment, [site.host for site in facts.sites if not site.is_clean])
    return replace(
        facts, nodes=nodes, sites=(*sites, *clean), unread=(*facts.unread, *unread), api=api
    )


def _run_of(node: Node) -> str | None:
    try:
        return parse_pin(node.mark.annotation or "").run
    except Refused:
        return None


def _nodes(environment: Environment) -> tuple[tuple[Node, ...], Unreachable | None]:
    try:
        return environment.nodes(), None
    except Unreachable as error:
        return (), error


def _hosts(
    environment: Environment, nodes: tuple[Node, ...], names: tuple[str, ...]
) -> tuple[list[Host], list[Unread]]:
    """Each machine once, however often it is named. Targets of a pin that have left the cluster are
    among them.
    """
    if names:
        return _distinct([environment.resolve(name, nodes or None).host for name in names]), []
    known = {node.name: environment.target_of(node).host for node in nodes}
    hosts, lost = list(known.values()), []
    for name in (*environment.config.nodes.hosts, *sorted(_pin_targets(nodes))):
        if name not in known:
            try:
                hosts.append(environment.resolve(name, nodes or None).host)
            except BreakglassError as error:
                lost.append(Unread(name, error))
    return _distinct(hosts), lost


def _pin_targets(nodes: tuple[Node, ...]) -> set[str]:
    targets = set()
    for node in nodes:
        if node.mark.annotation is not None:
            with suppress(Refused):  # restore removes an annotation that it cannot read as well
                targets.add(parse_pin(node.mark.annotation).target)
    return targets


def _distinct(hosts: list[Host]) -> list[Host]:
    distinct: dict[str, Host] = {}
    for host in hosts:
        distinct.setdefault(host.ssh, host)
    return list(distinct.values())


def _sites(
    environment: Environment, hosts: list[Host]
) -> tuple[tuple[Site, ...], tuple[Unread, ...]]:
    readings = together([partial(_site, environment, host) for host in hosts])
    sites = tuple(reading for reading in readings if isinstance(reading, Site))
    return sites, tuple(reading for reading in readings if isinstance(reading, Unread))


def _site(environment: Environment, host: Host) -> Site | Unread:
    nodes = environment.config.nodes
    try:
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
