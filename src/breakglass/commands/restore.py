"""restore: undo exactly what pin and import changed, in the cluster and on the nodes."""

from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands import restore_cluster
from breakglass.commands.answering import take_back
from breakglass.commands.directory_steps import enter
from breakglass.commands.environment import Environment, Identity
from breakglass.commands.import_names import untag
from breakglass.commands.job import Job
from breakglass.commands.node_record import end
from breakglass.commands.restore_facts import Facts, Own, Site, observe, observe_again
from breakglass.commands.restore_leftovers import left_alone, left_on_node
from breakglass.commands.rights import may_not_patch
from breakglass.config import Nodes
from breakglass.observe.containerd import Ctr
from breakglass.plan import PatchNode, Plan, Run, Step, title


@dataclass(frozen=True)
class RestoreResult:
    uncordoned: tuple[str, ...]
    cleaned: tuple[str, ...]
    unreached: tuple[str, ...]
    left_cordoned: tuple[str, ...] = ()
    """They carried our annotation; somebody else has cordoned or drained them since."""


def job(
    environment: Environment, *, names: tuple[str, ...] = (), own: Own | None = None
) -> Job[Facts]:
    """`names`: only these nodes; `own`: only what one run has changed."""
    nodes, identity = environment.config.nodes, environment.identity
    return Job(
        observe=partial(observe, environment, names=names, own=own),
        decide=partial(plan, names=names, nodes=nodes, identity=identity),
        observe_again=partial(observe_again, environment),
        state=state,
        question="Give this back?",
    )


def plan(facts: Facts, *, names: tuple[str, ...], nodes: Nodes, identity: Identity) -> Plan:
    """Every node that carries our annotation, or those of them that were named, by name or
    InternalIP, and every node on which an import has set up anything.

    The cluster comes first, and no host waits for another. A node that somebody uncordoned
    meanwhile only loses the annotation.
    """
    marked = facts.marked(names)
    undoing = tuple(step for site in facts.sites for step in _undo(site, nodes, identity))
    left = [sentence for site in facts.sites for sentence in left_on_node(site, nodes)]
    held = facts.held(names)
    may_not = bool(marked or held) and facts.may_patch is False
    if may_not and not (undoing or facts.unread or left):
        raise may_not_patch()
    patches = restore_cluster.patches(facts, names)
    changes = bool(patches.first or patches.last or undoing)
    uncordons = facts.api is None and not may_not
    return Plan(
        _goal(facts, names, uncordons=uncordons, is_left=bool(left) or may_not),
        undoing if may_not else (*patches.first, *undoing, *patches.last),
        notes=tuple(_notes(facts)),
        warnings=(
            *left,
            *restore_cluster.left_cordoned(facts, names),
            *_warnings(facts, changes=changes, may_not=may_not),
        ),
        independent=True,
    )


def _notes(facts: Facts) -> list[str]:
    notes = [f"not reached, nothing of ours is known there: {unseen}" for unseen in facts.unseen]
    if facts.unlooked:
        notes.append(
            f"{facts.unlooked} more nodes, of which nothing of ours is known, were not looked at"
        )
    return notes


def _warnings(facts: Facts, *, changes: bool, may_not: bool) -> list[str]:
    warnings = []
    if changes and facts.unserved:
        warnings.append(
            f"{facts.unserved}: unless that changes, pipelines fail again on nodes that do "
            f"not hold it, and on nodes that no longer serve the image locally"
        )
    if may_not:
        warnings.append(may_not_patch().message)
    if facts.api is not None:
        warnings.append(
            f"no node is uncordoned, for the API is not there: {facts.api.message}; when it "
            f"is back: breakglass restore"
        )
    warnings += left_alone(facts)
    unreached = [unread for unread in facts.unread if unread not in facts.wrong_hosts]
    return [*warnings, *(f"not reached: {unread}" for unread in unreached)]


def result(facts: Facts, done: Plan) -> RestoreResult:
    patches = (step for step in done.steps if isinstance(step, PatchNode))
    api = ("api",) if facts.api else ()
    return RestoreResult(
        uncordoned=tuple(
            step.node
            for step in patches
            if step.before.unschedulable and not step.after.unschedulable
        ),
        cleaned=tuple(
            dict.fromkeys(step.host.name for step in done.steps if isinstance(step, Run))
        ),
        unreached=(*api, *(unread.name for unread in (*facts.unread, *facts.unseen))),
        left_cordoned=tuple(
            step.node
            for step in done.steps
            if isinstance(step, PatchNode)
            and step.before.annotation is not None
            and step.after.unschedulable
            and step.after.annotation is None
        ),
    )


def state(facts: Facts) -> str:
    return f"{_state_of_cluster(facts)} {_state_of_nodes(facts)}"


def _state_of_cluster(facts: Facts) -> str:
    marked = [node.name for node in (*facts.marked(), *facts.held())]
    marked = list(dict.fromkeys(marked))
    ours = "our annotation" if facts.own is None else "the annotation of this run"
    if marked:
        return f"Still carrying {ours}: {', '.join(marked)}."
    return f"No node carries {ours}." if facts.api is None else "The API was not reached."


def _state_of_nodes(facts: Facts) -> str:
    dirty = [site.host.name for site in facts.sites if not site.is_clean]
    if dirty:
        nodes = f"Still serving the image locally or keeping an image for us: {', '.join(dirty)}."
    else:
        nodes = "No node that was looked at serves the image locally or keeps an image for us."
    unread = (*facts.unread, *facts.unseen)
    if not unread:
        return nodes
    return f"{nodes} Not known of {', '.join(each.name for each in unread)}."


def _goal(facts: Facts, names: tuple[str, ...], *, uncordons: bool, is_left: bool) -> str:
    """What is true in the end: of what was reached, and no more."""
    but = ", but for what the warnings name" if is_left else ""
    if names:
        unread = {unread.name for unread in facts.unread}
        reached = [name for name in names if name not in unread] or ["nothing that was reached"]
        cluster = "not cordoned by us, without our annotation; " if uncordons else ""
        return f"{', '.join(reached)}: {cluster}no image is served locally or kept for us{but}"
    if facts.own is not None:
        cluster = "no node is cordoned by this run; " if uncordons else ""
        return f"{cluster}{facts.own.host} serves and keeps no image for us{but}"
    whose = "no node that was reached" if not facts.is_whole else "no node"
    cluster = f"{whose} is cordoned by us or carries an annotation of ours; " if uncordons else ""
    return f"{cluster}{whose} serves the image locally or keeps an image for us{but}"


def _undo(site: Site, nodes: Nodes, identity: Identity) -> tuple[Step, ...]:
    """hosts.toml first: containerd asks no responder that is gone. The record goes last, and stays
    where a file was left.
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
    undoing = (*take_back(site.host, nodes.directory, site.taken).steps, *names, *last)
    if not undoing:
        return ()
    steps = (*enter(site.host, nodes.directory, identity, present=True), *undoing)
    # The same is done on several nodes.
    return tuple(replace(step, title=title(f"{site.host}:", step.title)) for step in steps)
