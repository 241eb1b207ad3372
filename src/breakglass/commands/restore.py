"""restore: give back exactly what was taken, from the cluster and from the nodes."""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands import Estate, Identity, Unread, check, enter
from breakglass.commands.answering import take_back
from breakglass.commands.import_names import OURS, untag
from breakglass.commands.job import Job
from breakglass.commands.node_record import edited, end
from breakglass.config import Nodes
from breakglass.deadline import together
from breakglass.errors import BreakglassError, Failed, Refused, Unreachable
from breakglass.observe.answering import MARK, Taken, read_taken
from breakglass.observe.cluster import Node, parse_pin
from breakglass.observe.containerd import Ctr, read_targets
from breakglass.plan import Host, Mark, PatchNode, Plan, Run, Step, title


@dataclass(frozen=True)
class Own:
    """What one run has taken: from this node, and by its pin. What others have taken is theirs."""

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
    """That no registry serves the image yet, or nobody knows; empty: one does, or it was not
    asked.
    """
    sites: tuple[Site, ...] = ()
    unread: tuple[Unread, ...] = ()
    api: Unreachable | None = None
    """Why the API was not reached."""
    own: Own | None = None
    """Only this is to be given back."""

    def marked(self, names: tuple[str, ...] = ()) -> list[Node]:
        """Nodes with an annotation that is to be given back."""
        nodes = [
            node
            for node in self.nodes
            if node.mark.annotation is not None
            and (not names or node.name in names or node.address in names)
        ]
        return [node for node in nodes if self.own is None or _run_of(node) == self.own.run]


@dataclass(frozen=True)
class RestoreResult:
    uncordoned: tuple[str, ...]
    cleaned: tuple[str, ...]
    unreached: tuple[str, ...]


def job(estate: Estate, *, names: tuple[str, ...] = (), own: Own | None = None) -> Job[Facts]:
    """`names`: only these nodes; `own`: only what one run has taken."""
    nodes, identity = estate.config.nodes, estate.identity
    return Job(
        observe=partial(observe, estate, names=names, own=own),
        decide=partial(plan, names=names, nodes=nodes, identity=identity),
        observe_again=partial(observe_again, estate),
        state=state,
        question="Give this back?",
    )


def observe(estate: Estate, *, names: tuple[str, ...], own: Own | None = None) -> Facts:
    """Of the cluster every node, and every node's record, or its own one's; with names, theirs."""
    nodes, api = _nodes(estate)
    hosts, lost = ([own.host], []) if own else _hosts(estate, nodes, names)
    more = f" and {len(hosts) - 6} more" if len(hosts) > 6 else ""
    estate.note(f"looking at {', '.join(str(host) for host in hosts[:6])}{more}")
    sites, unread = _sites(estate, hosts)
    marked = any(node.mark.annotation is not None for node in nodes)
    something = marked or any(not site.is_clean for site in sites)
    unserved = (
        check.unserved(estate.look("latest"))
        if something and not names and not own and estate.config.registries
        else ""
    )
    return Facts(
        nodes, estate.may_patch() if marked else None, unserved, sites, (*lost, *unread), api, own
    )


def observe_again(estate: Estate, facts: Facts) -> Facts:
    """The cluster, and the nodes from which something was taken."""
    nodes, api = _nodes(estate) if facts.api is None else ((), facts.api)
    dirty, clean = (
        [site.host for site in facts.sites if not site.is_clean],
        tuple(site for site in facts.sites if site.is_clean),
    )
    sites, unread = _sites(estate, dirty)
    return replace(
        facts, nodes=nodes, sites=(*sites, *clean), unread=(*facts.unread, *unread), api=api
    )


def plan(facts: Facts, *, names: tuple[str, ...], nodes: Nodes, identity: Identity) -> Plan:
    """Every node that carries our annotation, or those of them that were named, by name or
    InternalIP, and every node from which an import took something.

    The cluster comes first, and no host waits for another. A node that somebody uncordoned
    meanwhile only loses the annotation.
    """
    taken = facts.marked(names)
    givings = tuple(step for site in facts.sites for step in _give_back(site, nodes, identity))
    may_not = bool(taken) and facts.may_patch is False
    if (
        may_not
        and not givings
        and not facts.unread
        and not any(_left(site, nodes) for site in facts.sites)
    ):
        raise _may_not_patch()
    patches = (
        ()
        if may_not
        else tuple(
            PatchNode(
                node.name,
                node.mark,
                Mark(False, None),
                node.resource_version,
                title=title("uncordon", node.name)
                if node.mark.unschedulable
                else title("remove our annotation from", node.name),
            )
            for node in taken
        )
    )
    warnings = [sentence for site in facts.sites for sentence in _left(site, nodes)]
    is_left = bool(warnings) or may_not
    if (taken or givings) and facts.unserved:
        warnings.append(
            f"{facts.unserved}: unless that changes, pipelines fail again on nodes that do "
            f"not hold it, and on nodes that no longer answer pulls"
        )
    if may_not:
        warnings.append(_may_not_patch().message)
    if facts.api is not None:
        warnings.append(
            f"the API was not reached, so nobody is uncordoned: {facts.api.message}; when it "
            f"is back: breakglass restore"
        )
    warnings += [f"not reached: {unread}" for unread in facts.unread]
    return Plan(
        _goal(facts, names, uncordons=facts.api is None and not may_not, is_left=is_left),
        (*patches, *givings),
        warnings=tuple(warnings),
        independent=True,
    )


def result(facts: Facts, done: Plan) -> RestoreResult:
    patches = (step for step in done.steps if isinstance(step, PatchNode))
    api = ("api",) if facts.api else ()
    return RestoreResult(
        uncordoned=tuple(step.node for step in patches if step.before.unschedulable),
        cleaned=tuple(
            dict.fromkeys(step.host.name for step in done.steps if isinstance(step, Run))
        ),
        unreached=(*api, *(unread.name for unread in facts.unread)),
    )


def left_over(
    facts: Facts, done: Plan, *, names: tuple[str, ...], nodes: Nodes
) -> BreakglassError | None:
    """What could not be given back, though all that was planned was done. With names, a cluster
    that was not reached is none of it.
    """
    sentences = [sentence for site in facts.sites for sentence in _left(site, nodes)]
    unreached = [str(unread) for unread in facts.unread] + (
        [f"the API: {facts.api.message}"] if facts.api and not names else []
    )
    if facts.may_patch is False and facts.marked(names):
        sentences.append(_may_not_patch().message)
    if not unreached and not sentences:
        return None
    message = "; ".join(sentences + ([f"not reached: {'; '.join(unreached)}"] if unreached else []))
    again = "breakglass restore" + "".join(f" {name}" for name in names)
    next_step = "; ".join(
        [line for site in facts.sites for line in _to_type(site, nodes)]
        + (
            [f"when that is up: {again}; one node by itself: breakglass restore NODE"]
            if unreached
            else [f"then: {again}"]
        )
    )
    if (
        unreached
        and not done.steps
        and not sentences
        and (facts.api is not None or not facts.sites)
    ):
        return Unreachable(message, next_step=next_step)
    return Failed(
        message,
        state="All else was given back."
        if done.steps
        else "Nothing else was there to be given back.",
        next_step=next_step,
    )


def state(facts: Facts) -> str:
    marked = [node.name for node in facts.marked()]
    dirty = [site.host.name for site in facts.sites if not site.is_clean]
    ours = "our annotation" if facts.own is None else "the annotation of this run"
    cluster = (
        f"Still carrying {ours}: {', '.join(marked)}."
        if marked
        else f"No node carries {ours}."
        if facts.api is None
        else "The API was not reached."
    )
    nodes = (
        f"Still answering pulls or keeping an image for us: {', '.join(dirty)}."
        if dirty
        else "No node that was looked at answers pulls or keeps an image for us."
    )
    unread = (
        f" Not known of {', '.join(unread.name for unread in facts.unread)}."
        if facts.unread
        else ""
    )
    return f"{cluster} {nodes}{unread}"


def _goal(facts: Facts, names: tuple[str, ...], *, uncordons: bool, is_left: bool) -> str:
    """What is true in the end: of what was reached, and no more."""
    but = ", but for what the warnings name" if is_left else ""
    if names:
        names = tuple(
            name for name in names if name not in {unread.name for unread in facts.unread}
        ) or ("nothing that was reached",)
        return (
            f"{', '.join(names)}: "
            f"{'not cordoned by us, without our annotation; ' if uncordons else ''}no pulls are "
            f"answered, no image is kept for us{but}"
        )
    if facts.own is not None:
        return (
            f"{'no node is cordoned by this run; ' if uncordons else ''}{facts.own.host} answers "
            f"no pulls and keeps no image for us{but}"
        )
    whose = "no node that was reached" if facts.unread or facts.api else "no node"
    cluster = f"{whose} is cordoned by us or carries an annotation of ours; " if uncordons else ""
    return f"{cluster}{whose} answers pulls or keeps an image for us{but}"


def _run_of(node: Node) -> str | None:
    try:
        return parse_pin(node.mark.annotation or "").run
    except Refused:
        return None


def _give_back(site: Site, nodes: Nodes, identity: Identity) -> tuple[Step, ...]:
    """hosts.toml first: containerd asks nobody who is gone. The record goes last, and stays where a
    file was left.
    """
    if site.is_clean:
        return ()
    ctr = Ctr(nodes.ctr, site.taken.namespace or nodes.namespace)
    names = tuple(untag(site.host, ctr, name) for name in site.names)
    last = (
        (end(site.host, nodes.directory),)
        if site.taken.is_begun and not any(file.is_edited for file in site.taken.files)
        else ()
    )
    giving = (*take_back(site.host, nodes.directory, site.taken).steps, *names, *last)
    if not giving:
        return ()
    steps = (*enter(site.host, nodes.directory, identity, present=True), *giving)
    # The same is done on several nodes.
    return tuple(replace(step, title=title(f"{site.host}:", step.title)) for step in steps)


def _left(site: Site, nodes: Nodes) -> list[str]:
    """What is on a node and is not given back by itself."""
    left = edited(site.host, site.taken) + [
        f"{site.host}:{file} holds lines of breakglass that no record in {nodes.directory} knows"
        for file in site.taken.strays
    ]
    if site.is_clean and site.names:
        left.append(
            f"containerd on {site.host} has names of breakglass that no record in "
            f"{nodes.directory} knows: {', '.join(site.names)}"
        )
    return left


def _to_type(site: Site, nodes: Nodes) -> list[str]:
    """What to type for it."""
    lines = []
    if any(file.is_edited for file in site.taken.files):
        record = f"{nodes.directory}/.breakglass.json"
        lines.append(
            f"put it right by hand (what was there before stands in {record}), then let go "
            f"of it: {site.host.by_hand('rm', record)}"
        )
    lines += [
        f"take the lines out that follow `{MARK}`: {site.host.by_hand('editor', file)}"
        for file in site.taken.strays
    ]
    if site.is_clean and site.names:
        lines.append(
            site.host.by_hand(*Ctr(nodes.ctr, nodes.namespace).line("images", "rm", *site.names))
        )
    return lines


def _may_not_patch() -> Unreachable:
    return Unreachable(
        "the API lets us list nodes but not patch them: the right patch on nodes is missing",
        next_step="bind the ClusterRole in docs/security.md to this identity",
    )


def _nodes(estate: Estate) -> tuple[tuple[Node, ...], Unreachable | None]:
    try:
        return estate.nodes(), None
    except Unreachable as error:
        return (), error


def _hosts(
    estate: Estate, nodes: tuple[Node, ...], names: tuple[str, ...]
) -> tuple[list[Host], list[Unread]]:
    """Each machine once, however often it is named; and names that are none any more: targets of a
    pin that have left the cluster.
    """
    if names:
        return _once([estate.resolve(name, nodes or None).host for name in names]), []
    known = {node.name: estate.target_of(node).host for node in nodes}
    targets = set()
    for node in nodes:
        if node.mark.annotation is not None:
            with suppress(Refused):  # what is not ours to read is taken off all the same
                targets.add(parse_pin(node.mark.annotation).target)
    hosts, lost = list(known.values()), []
    for name in (*estate.config.nodes.hosts, *sorted(targets)):
        if name not in known:
            try:
                hosts.append(estate.resolve(name, nodes or None).host)
            except BreakglassError as error:
                lost.append(Unread(name, error))
    return _once(hosts), lost


def _once(hosts: list[Host]) -> list[Host]:
    found: dict[str, Host] = {}
    for host in hosts:
        found.setdefault(host.ssh, host)
    return list(found.values())


def _sites(estate: Estate, hosts: list[Host]) -> tuple[tuple[Site, ...], tuple[Unread, ...]]:
    found = together([partial(_site, estate, host) for host in hosts])
    return tuple(each for each in found if isinstance(each, Site)), tuple(
        each for each in found if isinstance(each, Unread)
    )


def _site(estate: Estate, host: Host) -> Site | Unread:
    nodes = estate.config.nodes
    try:
        site = Site(
            host, read_taken(estate.hosts, host, nodes.directory, certs=nodes.registry_config)
        )
        try:
            targets = read_targets(
                estate.hosts, host, Ctr(nodes.ctr, site.taken.namespace or nodes.namespace)
            )
        except BreakglassError:
            # Without a record there is no reason to think that anything is there.
            if not site.is_clean:
                raise
            return site
        return replace(site, names=tuple(name for name in sorted(targets) if name.startswith(OURS)))
    except BreakglassError as error:
        return Unread(host.name, error)
