"""restore: give back exactly what was taken, from the cluster and from the nodes."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from breakglass.commands import Estate, Identity, Result, Unread, enter
from breakglass.commands.answering import edited, end, take_back
from breakglass.commands.import_image import OURS
from breakglass.config import Nodes
from breakglass.errors import BreakglassError, Failed, Refused, Unreachable, worst
from breakglass.observe.answering import Taken, read_taken
from breakglass.observe.cluster import Node, parse_pin
from breakglass.observe.containerd import Ctr, read_targets
from breakglass.plan import Host, Mark, PatchNode, Plan, Run, Step

AT_ONCE = 32
"""So many hosts are asked at the same time."""


@dataclass(frozen=True)
class Site:
    """A node from which something was taken."""

    host: Host
    taken: Taken
    names: tuple[str, ...]
    """Names of ours in its containerd."""

    @property
    def is_clean(self) -> bool:
        return not (self.taken.is_recorded or self.taken.has_responder)


@dataclass(frozen=True)
class Facts:
    nodes: tuple[Node, ...]
    may_patch: bool | None
    served_by: tuple[str, ...] | None
    """Registries that serve the image again; None: not asked."""
    sites: tuple[Site, ...] = ()
    unread: tuple[Unread, ...] = ()
    api: Unreachable | None = None
    """Why the API was not reached."""


def observe(estate: Estate, *, names: tuple[str, ...]) -> Facts:
    """Of the cluster every node, and every node's record; with names, theirs."""
    nodes, api = _nodes(estate)
    hosts, lost = _hosts(estate, nodes, names)
    estate.note(f"looking at {', '.join(str(host) for host in hosts[:6])}{f' and {len(hosts) - 6} more' if len(hosts) > 6 else ''}")
    sites, unread = _sites(estate, hosts)
    marked = any(node.mark.annotation is not None for node in nodes)
    something = marked or any(not site.is_clean for site in sites)
    served_by = tuple(found.name for found in estate.look("latest") if found.state == "serves") if something and not names and estate.config.registries else None
    return Facts(nodes, estate.may_patch() if marked else None, served_by, sites, (*lost, *unread), api)


def observe_again(estate: Estate, facts: Facts) -> Facts:
    """The cluster, and the nodes from which something was taken."""
    nodes = estate.nodes() if facts.api is None else ()
    sites, unread = _sites(estate, [site.host for site in facts.sites if not site.is_clean])
    if unread:
        raise worst([each.error for each in unread])
    return replace(facts, nodes=nodes, sites=sites)


def plan(facts: Facts, *, names: tuple[str, ...], nodes: Nodes, identity: Identity) -> Plan:
    """Every node that carries our annotation, or those of them that were named, by name or InternalIP, and every node from which an import took something.

    A node that somebody uncordoned meanwhile only loses the annotation.
    """
    taken = [node for node in facts.nodes if node.mark.annotation is not None and (not names or node.name in names or node.address in names)]
    if taken and facts.may_patch is False:
        raise Unreachable("the API lets us list nodes but not patch them: the right patch on nodes is missing", next_step="bind the ClusterRole that README.md prints to this identity")
    patches = tuple(PatchNode(node.name, node.mark, Mark(False, None), node.resource_version) for node in taken)
    ctr = Ctr(nodes.ctr, nodes.namespace)
    locks: list[Step] = []
    givings: list[Step] = []
    warnings: list[str] = []
    for site in facts.sites:
        giving = _give_back(site, nodes.directory, ctr)
        warnings += edited(site.host, site.taken)
        if giving:
            locks += enter(site.host, nodes.directory, identity, present=True)
            givings += giving
    if (taken or givings) and facts.served_by == ():
        warnings.append("no registry serves the image yet: pipelines will fail again on nodes that do not hold it, and on nodes that no longer answer pulls")
    if facts.api is not None:
        warnings.append(f"the API was not reached, so nobody was uncordoned: {facts.api.message}")
    warnings += [str(unread) for unread in facts.unread]
    goal = "every node that we cordoned is schedulable again, and carries no annotation of ours; no node answers pulls or keeps an image for us"
    if names:
        goal = f"{', '.join(names)}: " + ("not cordoned by us any more, " if facts.api is None else "") + "answers no pulls and keeps no image for us"
    return Plan(goal, (*locks, *patches, *givings), warnings=tuple(warnings))


def result(facts: Facts, done: Plan) -> Result:
    return {
        "uncordoned": [step.node for step in done.steps if isinstance(step, PatchNode) and step.before.unschedulable],
        "cleaned": list(dict.fromkeys(step.host.name for step in done.steps if isinstance(step, Run))),
        "unreached": _unreached(facts),
    }


def left_over(facts: Facts, done: Plan, *, names: tuple[str, ...]) -> BreakglassError | None:
    """What could not be given back, though all that was planned was done."""
    unreached = _unreached(facts) if not names else [unread.name for unread in facts.unread]
    files = [sentence for site in facts.sites for sentence in edited(site.host, site.taken)]
    if not unreached and not files:
        return None
    why = [str(unread) for unread in facts.unread] + ([f"the API: {facts.api.message}"] if facts.api and not names else [])
    message = "; ".join(files + ([f"not reached: {'; '.join(why)}"] if unreached else []))
    again = "breakglass restore" + "".join(f" {name}" for name in names)
    next_step = f"when that is mended: {again}" if facts.api is None or names else f"when the API is back: {again}; one node by itself: breakglass restore NODE"
    if not done.steps and not files and (facts.api is not None or len(facts.sites) == 0):
        return Unreachable(message, next_step=next_step)
    return Failed(message, state="All else was given back.", next_step=next_step)


def state(facts: Facts) -> str:
    marked = [node.name for node in facts.nodes if node.mark.annotation is not None]
    dirty = [site.host.name for site in facts.sites if not site.is_clean]
    cluster = f"Still carrying our annotation: {', '.join(marked) or 'no node'}." if facts.api is None else "The API was not reached."
    return f"{cluster} Still answering pulls or keeping an image for us: {', '.join(dirty) or 'no node'}."


def _give_back(site: Site, directory: str, ctr: Ctr) -> tuple[Step, ...]:
    """hosts.toml first: containerd asks nobody who is gone. The record goes last, and stays where a file was left."""
    if site.is_clean:
        return ()
    names = tuple(Run(site.host, (ctr.line("images", "rm", name),)) for name in site.names)
    is_left = any(file.is_edited for file in site.taken.files)
    last = (end(site.host, directory),) if site.taken.is_recorded and not is_left else ()
    return (*take_back(site.host, directory, site.taken).steps, *names, *last)


def _unreached(facts: Facts) -> list[str]:
    return [*(["api"] if facts.api else []), *(unread.name for unread in facts.unread)]


def _nodes(estate: Estate) -> tuple[tuple[Node, ...], Unreachable | None]:
    try:
        return estate.nodes(), None
    except Unreachable as error:
        return (), error


def _hosts(estate: Estate, nodes: tuple[Node, ...], names: tuple[str, ...]) -> tuple[list[Host], list[Unread]]:
    """Each host once, however it is called; and targets of a pin that are no node any more."""
    if names:
        return list(dict.fromkeys(estate.node(name)[0] for name in names)), []
    known = {node.name: estate.host_of(node)[0] for node in nodes}
    targets = set()
    for node in nodes:
        if node.mark.annotation is not None:
            with suppress(Refused):  # what is not ours to read is taken off all the same
                targets.add(parse_pin(node.mark.annotation).target)
    hosts, lost = list(known.values()), []
    for name in (*estate.config.nodes.hosts, *sorted(targets)):
        if name not in known:
            try:
                hosts.append(estate.node(name)[0])
            except BreakglassError as error:
                lost.append(Unread(name, error))
    return list(dict.fromkeys(hosts)), lost


def _sites(estate: Estate, hosts: list[Host]) -> tuple[tuple[Site, ...], tuple[Unread, ...]]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda host: _site(estate, host), hosts))
    return tuple(each for each in found if isinstance(each, Site)), tuple(each for each in found if isinstance(each, Unread))


def _site(estate: Estate, host: Host) -> Site | Unread:
    try:
        taken = read_taken(estate.hosts, host, estate.config.nodes.directory)
        clean = Site(host, taken, ())
        return clean if clean.is_clean else replace(clean, names=tuple(name for name in sorted(read_targets(estate.hosts, host, estate.ctr)) if name.startswith(OURS)))
    except BreakglassError as error:
        return Unread(host.name, error)
