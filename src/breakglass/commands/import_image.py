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
    containerd = read_containerd(estate.hosts, host, estate.ctr, names=names, architecture=machine.architecture)
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
    ctr = Ctr(nodes.ctr, nodes.namespace)
    good = [name for name in facts.names if facts.containerd.image_ids.get(name) == record.image_id and name in facts.containerd.unpacked]
    wanting = [name for name in facts.names if name not in good]
    kept = [kept_name(name) for name in facts.names if kept_name(name) in facts.containerd.targets]
    goal = f"{', '.join(facts.names)} on {node} are image ID {record.image_id}"
    steps: list[Step] = []
    undo: list[Step] = []
    if wanting:
        # What a name meant before is kept under a name of ours until the import has succeeded: a failed one puts it back.
        for name in wanting:
            before = kept_name(name)
            if name in facts.containerd.targets and before not in facts.containerd.targets:
                steps.append(Run(node, (ctr.line("images", "tag", name, before),)))
            if name in facts.containerd.targets or before in facts.containerd.targets:
                undo.append(Run(node, (ctr.line("images", "tag", "--force", before, name),)))
                undo.append(Run(node, (ctr.line("images", "rm", before),)))
                kept.append(before)
            else:
                undo.append(Run(node, (ctr.line("images", "rm", name),)))
        source = good[0] if good else facts.names[0]
        if not good:
            path = shelf.path(tarball)
            verify = Run(node, (archive("verify", path),), total_bytes=tarball.size_bytes)
            load = Run(node, (("gzip", "-dc", path), ctr.line("images", "import", "-")), IMPORT_QUIET_SECONDS, total_bytes=tarball.size_bytes, watch=path)
            steps = [verify, *steps, load]
        steps.append(Confirm(node, nodes.ctr, nodes.namespace, source, record.image_id, facts.machine.architecture))
        steps += [Run(node, (ctr.line("images", "tag", "--force", source, name),)) for name in wanting if name != source]
    steps += [Run(node, (ctr.line("images", "rm", before),)) for before in dict.fromkeys(kept)]
    if not steps:
        return Plan(goal, notes=(facts.how,))
    return Plan(goal, (*enter(node, shelf.directory, identity, present=True), *steps), undo=tuple(undo), notes=(facts.how, f"tarball: {tarball.file}, taken {record.created_at}"))


def kept_name(name: str) -> str:
    """The private name under which an import keeps what `name` meant before."""
    return f"breakglass.local/before/{hashlib.sha256(name.encode()).hexdigest()[:16]}:kept"


def result(facts: Facts) -> Result:
    record = facts.tarball.record if facts.tarball else None
    return {
        "tag": facts.tarball.tag if facts.tarball else None,
        "node": facts.node.name,
        "image_id": record.image_id if record else None,
        "names": list(facts.names),
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
