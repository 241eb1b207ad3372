"""import: the tarball on the node into its containerd; every name that the pods use resolves to the recorded image ID."""

import hashlib
from dataclasses import dataclass

from breakglass.commands import Estate, Identity, Result, archive, enter
from breakglass.config import Nodes
from breakglass.errors import Refused
from breakglass.observe.containerd import Containerd, Ctr, read_containerd
from breakglass.observe.machine import Machine, read_machine
from breakglass.observe.shelf import Shelf, Tarball, read_shelf
from breakglass.plan import Confirm, Host, Plan, Run, Step

IMPORT_QUIET_SECONDS = 600.0
"""`ctr images import` says nothing until it has unpacked everything; how far it has read is shown meanwhile."""


KEPT = "breakglass.local/before/"


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


def observe(estate: Estate, *, node: str, tag: str | None) -> Facts:
    host, how = estate.node(node)
    estate.note(f"looking at {host} ({host.ssh})")
    nodes, image = estate.config.nodes, estate.config.image
    machine = read_machine(estate.hosts, host, nodes.directory, ("python3", "bash", "gzip", nodes.ctr[0]))
    missing = [command for command in ("python3", "bash", "gzip", nodes.ctr[0]) if command not in machine.commands]
    if missing:
        raise Refused(f"{host} has no {', '.join(missing)}", next_step=f"install it on {host}, or choose another node")
    shelf = read_shelf(estate.hosts, host, nodes.directory, image.name)
    wanted = tag if tag is not None else shelf.latest
    tarball = shelf.find(wanted) if wanted is not None else None
    names = image.names(tarball.tag) if tarball else ()
    companions = tuple(name for name, _ in tarball.record.companions) if tarball and tarball.record else ()
    containerd = read_containerd(estate.hosts, host, estate.ctr, names=(*names, *companions), architecture=machine.architecture)
    return Facts(host, how, machine, shelf, tarball, names, containerd)


def plan(facts: Facts, *, nodes: Nodes, identity: Identity, tag: str | None) -> Plan:
    """Raises Refused when there is no such tarball on the node, or it is for another architecture."""
    node, shelf, tarball = facts.node, facts.shelf, facts.tarball
    if tarball is None or tarball.record is None or not tarball.verified:
        raise _no_tarball(facts, tag)
    record = tarball.record
    if record.platform != facts.machine.platform:
        raise Refused(
            f"{tarball.file} is for {record.platform}, {node} is {facts.machine.platform}: no pod would start",
            state="Nothing was changed: the names in containerd are as they were.",
            next_step=f"choose a node of {record.platform}",
        )
    if facts.names[0] not in record.references:
        raise Refused(
            f"{tarball.file} holds {', '.join(record.references)}, not {facts.names[0]}",
            next_step=f"image.repository in the configuration is not what the tarball was made with; with it set to {record.references[0].rpartition(':')[0]} the import works",
        )
    ctr, there = Ctr(nodes.ctr, nodes.namespace), facts.containerd
    expected = {**dict.fromkeys(facts.names, record.image_id), **dict(record.companions)}
    good = [name for name in expected if there.image_ids.get(name) == expected[name] and name in there.unpacked]
    wanting = [name for name in expected if name not in good]
    goal = f"{', '.join(expected)} on {node} are image ID {record.image_id}" + (" and the companions theirs" if record.companions else "")
    source = next((name for name in facts.names if name in good), facts.names[0])
    loads = source not in good or any(name in wanting for name, _ in record.companions)
    path = shelf.path(tarball)
    load = Run(node, (("gzip", "-dc", path), ctr.line("images", "import", "-")), IMPORT_QUIET_SECONDS, total_bytes=tarball.size_bytes, watch=path)
    held = {name for name, _ in record.companions} | set(record.references)
    keeping: list[Step] = []
    naming: list[Step] = []
    undo: list[tuple[Step, Run]] = []
    for name in wanting:
        moving = load if loads and name in held else Run(node, (ctr.line("images", "tag", "--force", source, name),))
        if moving is not load:
            naming.append(moving)
        undo += _putting_back(facts, name, moving, ctr, keeping)
    confirming = [Confirm(node, nodes.ctr, nodes.namespace, name, expected[name], facts.machine.architecture) for name in (source, *dict(record.companions)) if name in wanting]
    before = [Run(node, (archive("verify", path),), total_bytes=tarball.size_bytes)] if loads else []
    steps = (*before, *keeping, *((load,) if loads else ()), *confirming, *naming)
    cleaning = tuple(Run(node, (ctr.line("images", "rm", name),)) for name in _kept(facts, wanting))
    if not steps and not cleaning:
        return Plan(goal, notes=(facts.how,))
    first = enter(node, shelf.directory, identity, present=True)
    notes = (facts.how, f"tarball: {tarball.file}, taken {record.created_at}")
    return Plan(goal, (*first, *steps, *cleaning), undo=tuple(undo), settled=len(first) + len(steps), notes=notes)


def kept_name(name: str) -> str:
    """The private name under which an import keeps what `name` meant before."""
    return f"{KEPT}{hashlib.sha256(name.encode()).hexdigest()[:16]}:kept"


def _putting_back(facts: Facts, name: str, moving: Run, ctr: Ctr, keeping: list[Step]) -> list[tuple[Step, Run]]:
    """What undoes the step that moves a name: it means again what it meant before, which is kept under a name of ours until the import has succeeded."""
    targets, before = facts.containerd.targets, kept_name(name)
    if name not in targets and before not in targets:
        return [(moving, Run(facts.node, (ctr.line("images", "rm", name),)))]
    # What an import that was cut short has kept is kept over by what the name means now, unless that is not whole.
    keeps = moving
    if name in targets and targets.get(before) != targets[name] and (before not in targets or facts.containerd.image_ids.get(name)):
        keeps = Run(facts.node, (ctr.line("images", "tag", "--force", name, before),))
        keeping.append(keeps)
    return [(moving, Run(facts.node, (ctr.line("images", "tag", "--force", before, name),))), (keeps, Run(facts.node, (ctr.line("images", "rm", before),)))]


def _kept(facts: Facts, wanting: list[str]) -> list[str]:
    """The private names that are there, or will be, in the end."""
    targets = facts.containerd.targets
    return sorted({name for name in targets if name.startswith(KEPT)} | {kept_name(name) for name in wanting if name in targets})


def result(facts: Facts) -> Result:
    record = facts.tarball.record if facts.tarball else None
    return {
        "tag": facts.tarball.tag if facts.tarball else None,
        "node": facts.node.name,
        "image_id": record.image_id if record else None,
        "names": [*facts.names, *(dict(record.companions) if record else ())],
        "answers_pulls": False,
        "kept": False,
    }


def verdict(facts: Facts) -> tuple[str, ...]:
    """Which pods start now."""
    return (
        f"on {facts.node} a pod with imagePullPolicy IfNotPresent starts under: {', '.join(facts.names)}",
        "a pod with Always (the default of :latest) does not start while its registry is gone: answering pulls is not in this version",
        "a pod that names the image by digest does not start: docker save changes the manifest's digest",
    )


def state(facts: Facts) -> str:
    """What each name means now."""
    recorded = facts.tarball.record.image_id if facts.tarball and facts.tarball.record else None
    told = []
    for name in facts.names:
        image_id = facts.containerd.image_ids.get(name)
        meaning = "the recorded image" if image_id == recorded else f"another image ({image_id or 'its content is not whole'})"
        told.append(f"{name} is {meaning if name in facts.containerd.targets else 'absent'}")
    return f"On {facts.node}: {'; '.join(told) or 'no name was touched'}."


def _no_tarball(facts: Facts, tag: str | None) -> Refused:
    node, shelf = facts.node, facts.shelf
    others = ", ".join(tarball.tag for tarball in shelf.verified)
    if facts.tarball is not None:
        message = f"{node}:{shelf.path(facts.tarball)} has no complete sidecar, so nobody knows what it is"
    elif tag is None:
        message = f"{node} has no tarball: {shelf.path_of_latest} {shelf.latest_fault or 'is missing'}"
    else:
        message = f"{node} has no {shelf.name}-{tag}" + (f" (it has {others})" if others else "")
    return Refused(message, next_step=f"run: breakglass fetch {node}" + (f" --tag {tag}" if tag else ""))
