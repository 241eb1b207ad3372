"""import: the tarball on the node into its containerd; every name that the pods use resolves to the
recorded image ID.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands import Estate, Identity, Target, enter, verify
from breakglass.commands.answering import Part, set_up, take_back
from breakglass.commands.answering_facts import Answers, read_answers
from breakglass.commands.job import Job
from breakglass.commands.node_record import begin, end
from breakglass.config import Nodes
from breakglass.errors import Refused
from breakglass.observe.answering import Taken
from breakglass.observe.containerd import PINNED, Containerd, Ctr, honours_pinned, read_containerd
from breakglass.observe.machine import Machine, read_machine
from breakglass.observe.shelf import Record, Shelf, Tarball, read_shelf
from breakglass.plan import Confirm, Host, Plan, Run, Step, title

IMPORT_QUIET_SECONDS = 600.0
"""`ctr images import` says nothing until it has unpacked everything; how far it has read is shown
meanwhile.
"""

OURS = "breakglass.local/"
"""What every name in containerd that is ours begins with."""
BEFORE, KEEP = f"{OURS}before/", f"{OURS}keep/"


@dataclass(frozen=True)
class Facts:
    node: Host
    how: str
    machine: Machine
    shelf: Shelf
    tarball: Tarball | None
    names: tuple[str, ...]
    """What the image is to be called; the first is the one that the tarball holds."""
    containerd: Containerd
    answers: Answers


@dataclass(frozen=True)
class ImportResult:
    tag: str | None
    node: str
    image_id: str | None
    names: tuple[str, ...]
    answers_pulls: bool
    kept: bool
    """Whether the containerd there keeps the image from kubelet's image garbage collection."""


def job(estate: Estate, target: Target, *, tag: str | None, answer_pulls: bool) -> Job[Facts]:
    nodes, identity = estate.config.nodes, estate.identity
    return Job(
        observe=partial(observe, estate, target, tag=tag, answer_pulls=answer_pulls),
        decide=partial(plan, nodes=nodes, identity=identity, tag=tag),
        observe_again=partial(observe_again, estate, tag=tag, answer_pulls=answer_pulls),
        state=state,
    )


def observe(
    estate: Estate,
    target: Target,
    *,
    tag: str | None,
    answer_pulls: bool,
    shelf: Shelf | None = None,
) -> Facts:
    """`shelf`: what the node's directory will be by then, where it is not to be read now."""
    return _observe(
        estate,
        target.host,
        target.how,
        tag=tag,
        answer_pulls=answer_pulls,
        before=None,
        shelf=shelf,
    )


def observe_again(estate: Estate, facts: Facts, *, tag: str | None, answer_pulls: bool) -> Facts:
    """The node read anew; the registries are not asked again, so that one that comes or goes
    meanwhile changes no plan.
    """
    return _observe(
        estate, facts.node, facts.how, tag=tag, answer_pulls=answer_pulls, before=facts.answers
    )


def _observe(
    estate: Estate,
    host: Host,
    how: str,
    *,
    tag: str | None,
    answer_pulls: bool,
    before: Answers | None,
    shelf: Shelf | None = None,
) -> Facts:
    estate.note(f"looking at {host} ({host.ssh})")
    nodes, image = estate.config.nodes, estate.config.image
    machine = read_machine(
        estate.hosts, host, nodes.directory, ("python3", "bash", "gzip", nodes.ctr[0])
    )
    missing = [
        command
        for command in ("python3", "bash", "gzip", nodes.ctr[0])
        if command not in machine.commands
    ]
    if missing:
        raise Refused(
            f"{host} has no {', '.join(missing)}",
            next_step=f"install it on {host}, or choose another node",
        )
    shelf = shelf or read_shelf(estate.hosts, host, nodes.directory, image.name)
    wanted = tag if tag is not None else shelf.latest
    tarball = shelf.find(wanted) if wanted is not None else None
    names = image.names(tarball.tag) if tarball else ()
    expected = _expected(tarball, names)
    keeps = tuple(dict.fromkeys(keep_name(image_id) for image_id in expected.values()))
    containerd = read_containerd(
        estate.hosts, host, estate.ctr, names=(*expected, *keeps), architecture=machine.architecture
    )
    pulls = before.pulls if before else None
    answers = read_answers(
        estate,
        host,
        tuple(expected),
        architecture=machine.architecture,
        wanted=answer_pulls,
        pulls=pulls,
    )
    return Facts(host, how, machine, shelf, tarball, names, containerd, answers)


def plan(facts: Facts, *, nodes: Nodes, identity: Identity, tag: str | None) -> Plan:
    """Raises Refused when there is no such tarball on the node, or it is for another
    architecture.
    """
    node, shelf, tarball = facts.node, facts.shelf, facts.tarball
    if tarball is None or tarball.record is None or not tarball.verified:
        raise _no_tarball(facts, tag)
    record = tarball.record
    check_usable(tarball.file, record, facts.machine, name=facts.names[0])
    ctr, there = Ctr(nodes.ctr, nodes.namespace), facts.containerd
    expected = _expected(tarball, facts.names)
    good = [
        name
        for name in expected
        if there.image_ids.get(name) == expected[name] and name in there.unpacked
    ]
    wanting = [name for name in expected if name not in good]
    goal = (
        f"{', '.join(expected)} on {node} are image ID {record.image_id}"
        + (" and the companions theirs" if record.companions else "")
        + (", kept there" if honours_pinned(there.version) else "")
        + (", and the node answers pulls of them" if facts.answers.answering else "")
    )
    source = next((name for name in facts.names if name in good), facts.names[0])
    loads = source not in good or any(name in wanting for name, _ in record.companions)
    path = shelf.path(tarball)
    load = Run(
        node,
        (("gzip", "-dc", path), ctr.line("images", "import", "-")),
        IMPORT_QUIET_SECONDS,
        total_bytes=tarball.size_bytes,
        watch=path,
        title=title("import", tarball.file, " into containerd"),
    )
    held = {name for name, _ in record.companions} | set(record.references)
    keeping: list[Step] = []
    naming: list[Step] = []
    undo: list[tuple[Step, Run]] = []
    for name in wanting:
        moving = load if loads and name in held else _tag(node, ctr, source, name)
        if moving is not load:
            naming.append(moving)
        undo += _putting_back(facts, name, moving, ctr, keeping)
    confirming = [
        _confirm(facts, nodes, name, expected[name])
        for name in (source, *dict(record.companions))
        if name in wanting
    ]
    repair = f"run: breakglass fetch {node}; it replaces the copy that is there"
    verifying = verify(node, path, total_bytes=tarball.size_bytes, repair=repair)
    before = (verifying,) if loads else ()
    recording = () if facts.answers.taken.is_recorded else (begin(node, nodes.directory, ctr),)
    steps = (*before, *recording, *keeping, *((load,) if loads else ()), *confirming, *naming)
    cleaning = tuple(untag(node, ctr, name) for name in _kept(facts, wanting))
    keeps = _keep(facts, expected, source, ctr, nodes)
    # Nothing that the responder still answers with goes before it answers with something else.
    stale = tuple(
        untag(node, ctr, name)
        for name in sorted(there.targets)
        if name.startswith(KEEP) and name not in map(keep_name, expected.values())
    )
    answering = _answering(facts, expected, ctr, nodes)
    afterwards = (*cleaning, *keeps, *answering.steps, *stale)
    notes = (facts.how, f"tarball: {tarball.file}, taken {record.created_at}", *answering.notes)
    if not (steps or afterwards):
        return Plan(goal, notes=(facts.how, *answering.notes), warnings=answering.warnings)
    first = enter(node, shelf.directory, identity, present=True)
    undo += [(step, end(node, nodes.directory)) for step in recording]
    return Plan(
        goal,
        (*first, *steps, *afterwards),
        undo=tuple(undo),
        settled=len(first) + len(steps),
        notes=notes,
        warnings=answering.warnings,
    )


def left_by(facts: Facts, nodes: Nodes) -> tuple[Taken, tuple[str, ...]]:
    """What is taken from the node, and the names of ours in its containerd, once the plan is
    done.
    """
    expected = _expected(facts.tarball, facts.names)
    keeps = {keep_name(image_id) for image_id in expected.values()}
    others = {
        name
        for name in facts.containerd.targets
        if name.startswith(OURS) and not name.startswith((BEFORE, KEEP))
    }
    taken = _answering(facts, expected, Ctr(nodes.ctr, nodes.namespace), nodes).taken
    namespace = taken.namespace or nodes.namespace
    return (
        replace(taken, is_recorded=True, is_begun=True, namespace=namespace),
        tuple(sorted(keeps | others)),
    )


def check_usable(file: str, record: Record, machine: Machine, *, name: str) -> None:
    """Raises Refused where pods could not use what is recorded: it is for another architecture, or
    under another name.
    """
    if record.platform != machine.platform:
        raise Refused(
            (
                f"{file} is for {record.platform}, {machine.host} is {machine.platform}: no pod "
                f"would start"
            ),
            state="Nothing was changed: the names in containerd are as they were.",
            next_step=f"choose a node of {record.platform}",
        )
    if name not in record.references:
        raise Refused(
            f"{file} holds {', '.join(record.references)}, not {name}",
            next_step=(
                f"image.repository in the configuration is not what the tarball was made with; "
                f"with it set to {record.references[0].rpartition(':')[0]} the import works"
            ),
        )


def keep_name(image_id: str) -> str:
    """The keep tag: the private name that keeps an image from kubelet's image garbage collection,
    and its content for the responder.
    """
    return f"{KEEP}{image_id.removeprefix('sha256:')[:16]}:kept"


def _expected(tarball: Tarball | None, names: tuple[str, ...]) -> dict[str, str]:
    """Name -> image ID, of the image and its companions; the name that the tarball holds comes
    first.
    """
    record = tarball.record if tarball else None
    return {**dict.fromkeys(names, record.image_id), **dict(record.companions)} if record else {}


def _keep(
    facts: Facts, expected: dict[str, str], source: str, ctr: Ctr, nodes: Nodes
) -> tuple[Step, ...]:
    """Each image has a name of ours that carries the label; it survives what becomes of the
    others.
    """
    there = facts.containerd
    images = {expected[source]: source}
    for name, image_id in expected.items():
        images.setdefault(image_id, name)
    steps: list[Step] = []
    for image_id, name in images.items():
        keep = keep_name(image_id)
        if there.image_ids.get(keep) != image_id or keep not in there.unpacked:
            steps += [
                _tag(facts.node, ctr, name, keep),
                _confirm(facts, nodes, keep, image_id),
            ]
        elif keep in there.pinned:
            continue
        line = ctr.line("images", "label", keep, PINNED)
        steps.append(Run(facts.node, (line,), title=title("label", keep)))
    return tuple(steps)


def _tag(node: Host, ctr: Ctr, source: str, name: str) -> Run:
    line = ctr.line("images", "tag", "--force", source, name)
    return Run(node, (line,), title=title("tag", name))


def untag(node: Host, ctr: Ctr, name: str) -> Run:
    return Run(node, (ctr.line("images", "rm", name),), title=title("untag", name))


def _confirm(facts: Facts, nodes: Nodes, name: str, image_id: str) -> Confirm:
    return Confirm(
        facts.node,
        nodes.ctr,
        nodes.namespace,
        name,
        image_id,
        facts.machine.architecture,
        title=title("confirm", name),
    )


def _answering(facts: Facts, expected: dict[str, str], ctr: Ctr, nodes: Nodes) -> Part:
    if facts.answers.answering is None:
        return take_back(facts.node, nodes.directory, facts.answers.taken)
    kept = {name: keep_name(image_id) for name, image_id in expected.items()}
    return set_up(
        facts.node,
        nodes.directory,
        nodes.registry_config,
        ctr,
        facts.answers,
        kept=kept,
        targets=facts.containerd.targets,
    )


def kept_name(name: str) -> str:
    """The private name under which an import keeps what `name` meant before."""
    return f"{BEFORE}{hashlib.sha256(name.encode()).hexdigest()[:16]}:kept"


def _putting_back(
    facts: Facts, name: str, moving: Run, ctr: Ctr, keeping: list[Step]
) -> list[tuple[Step, Run]]:
    """What undoes the step that moves a name: it means again what it meant before, which is kept
    under a name of ours until the import has succeeded.
    """
    targets, before = facts.containerd.targets, kept_name(name)
    if name not in targets and before not in targets:
        return [(moving, untag(facts.node, ctr, name))]
    # What an import that was cut short has kept is kept over by what the name means now, unless
    # that is not whole.
    keeps = moving
    if (
        name in targets
        and targets.get(before) != targets[name]
        and (before not in targets or facts.containerd.image_ids.get(name))
    ):
        keeps = _tag(facts.node, ctr, name, before)
        keeping.append(keeps)
    return [
        (moving, _tag(facts.node, ctr, before, name)),
        (keeps, untag(facts.node, ctr, before)),
    ]


def _kept(facts: Facts, wanting: list[str]) -> list[str]:
    """The private names that are there, or will be, in the end."""
    targets = facts.containerd.targets
    return sorted(
        {name for name in targets if name.startswith(BEFORE)}
        | {kept_name(name) for name in wanting if name in targets}
    )


def result(facts: Facts) -> ImportResult:
    record = facts.tarball.record if facts.tarball else None
    return ImportResult(
        tag=facts.tarball.tag if facts.tarball else None,
        node=facts.node.name,
        image_id=record.image_id if record else None,
        names=(*facts.names, *(dict(record.companions) if record else ())),
        answers_pulls=facts.answers.answering is not None,
        kept=honours_pinned(facts.containerd.version),
    )


def state(facts: Facts) -> str:
    """What each name means now."""
    recorded = facts.tarball.record.image_id if facts.tarball and facts.tarball.record else None
    told = []
    for name in facts.names:
        image_id = facts.containerd.image_ids.get(name)
        meaning = (
            "the recorded image"
            if image_id == recorded
            else f"another image ({image_id or 'its content is not whole'})"
        )
        told.append(f"{name} is {meaning if name in facts.containerd.targets else 'absent'}")
    answering = facts.answers.answering
    pulls = (
        ""
        if answering is None
        else f" Pulls are answered on 127.0.0.1:{answering.responder.port}."
        if answering.responder.port
        else " Pulls are not answered: pods with Always do not start."
    )
    return f"On {facts.node}: {'; '.join(told) or 'no name was touched'}.{pulls}"


def _no_tarball(facts: Facts, tag: str | None) -> Refused:
    node, shelf = facts.node, facts.shelf
    others = ", ".join(tarball.tag for tarball in shelf.verified)
    if facts.tarball is not None:
        message = (
            f"{node}:{shelf.path(facts.tarball)} has no complete sidecar, so nobody knows what "
            f"it is"
        )
    elif tag is None:
        message = (
            f"{node} has no tarball: {shelf.path_of_latest} {shelf.latest_fault or 'is missing'}"
        )
    else:
        message = f"{node} has no {shelf.name}-{tag}" + (f" (it has {others})" if others else "")
    return Refused(
        message, next_step=f"run: breakglass fetch {node}" + (f" --tag {tag}" if tag else "")
    )
