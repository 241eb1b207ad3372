"""Why an import is refused, and what to type then; what is said of the image that it brings."""

from breakglass.commands import room
from breakglass.commands.adoption import Adoption
from breakglass.commands.import_facts import Facts
from breakglass.commands.signed import distrust
from breakglass.errors import BreakglassError, Integrity, Refused, then, with_tag
from breakglass.observe.containerd import Ctr
from breakglass.observe.content import Content
from breakglass.observe.machine import Machine
from breakglass.observe.record import Record
from breakglass.observe.shelf import Tarball


def check_image(facts: Facts, tag: str | None) -> None:
    """Raises Refused or Integrity where there is neither a tarball nor an image of containerd that
    could be taken.
    """
    tarball = facts.tarball
    if facts.adopted is not None:
        _check_adopted(facts, facts.adopted, tag)
    elif tarball is None or tarball.record is None or not tarball.verified:
        raise _no_tarball(facts, tag)
    else:
        check_usable(tarball.file, tarball.record, facts.machine, name=facts.names[0])


def source_notes(facts: Facts) -> tuple[str, ...]:
    """Where the image comes from."""
    record, image = facts.tarball.record if facts.tarball else None, facts.adopted
    if facts.tarball and record:
        return (f"tarball: {facts.tarball.file}, taken {record.created_at}",)
    if image is None:
        return ()
    return (
        f"no host that answered has a tarball: {image.name} is taken as containerd on {facts.node} "
        f"has it ({image.blobs} blobs, {image.size_bytes / 1e6:.0f} MB)",
    )


def warnings_of_adoption(facts: Facts) -> tuple[str, ...]:
    """A warning where another host has a tarball, and for each name that means another image than
    the one that is taken.
    """
    if facts.adopted is None:
        return ()
    elsewhere = facts.adoption.elsewhere if facts.adoption else ""
    ignored = (
        f"{elsewhere} has a tarball: the image that containerd on {facts.node} has is taken "
        f"because of --anyway",
    )
    known = facts.containerd.image_ids
    others = {name: known[name] for name in facts.names if name in known}
    moved = (
        f"on {facts.node}, {name} points to {f'image ID {old}' if old else 'a damaged image'}; "
        f"import points it to {facts.image_id}, the image of {facts.adopted.name}"
        for name, old in others.items()
        if old != facts.image_id
    )
    return (*(ignored if elsewhere else ()), *moved)


def _check_adopted(facts: Facts, image: Content, tag: str | None) -> None:
    why = _why_not_adopted(facts, image)
    if why:
        raise Refused(
            f"{_lacks_tarball(facts, tag)}, and {why}", next_step=then(_fetch(facts, tag))
        )


def _why_not_adopted(facts: Facts, image: Content) -> str:
    elsewhere = facts.adoption.elsewhere if facts.adoption else ""
    if elsewhere and not facts.anyway:
        return (
            f"{elsewhere} has one: the image that containerd on {facts.node} has is taken only "
            f"where there is no tarball"
        )
    if image.name not in facts.containerd.unpacked:
        return f"containerd has not unpacked {image.name}"
    if image.name in facts.containerd.incomplete:
        return f"containerd does not list all layers of {image.name}"
    return ""


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
            next_step=then(
                "breakglass fetch", advice=f"let breakglass choose a node of {record.platform}"
            ),
        )
    if name not in record.references:
        raise Refused(
            f"{file} holds {', '.join(record.references)}, not {name}",
            next_step=(
                f"image.repository in the configuration is not what the tarball was made with; "
                f"with it set to {record.references[0].rpartition(':')[0]} the import works"
            ),
        )


def check_room(facts: Facts, tarball: Tarball, ctr: Ctr) -> tuple[str, ...]:
    """Warnings. Raises Refused where the import would leave so little room that kubelet begins to
    delete images.
    """
    if facts.disk is None:
        return (room.not_known(facts.node, ctr.command),)
    return room.check(
        facts.node,
        facts.disk,
        tarball.size_bytes,
        with_tarball=False,
        command="import",
        anyway=facts.anyway,
    )


def _no_tarball(facts: Facts, tag: str | None) -> BreakglassError:
    node, shelf = facts.node, facts.shelf
    record = facts.tarball.record if facts.tarball else None
    if facts.tarball is not None:
        again = f"breakglass fetch {node} --tag {facts.tarball.tag}"
        error = distrust(facts.tarball, node, next_step=then(again))
        if error is not None:
            return error
    if facts.tarball is not None and record is not None:
        return Integrity(
            f"{node}:{shelf.path(facts.tarball)} has {facts.tarball.size_bytes} bytes, its "
            f"sidecar says {record.size_bytes}",
            next_step=then(f"breakglass fetch {node} --tag {facts.tarball.tag}"),
        )
    if facts.tarball is not None:
        return Refused(
            f"{node}:{shelf.path(facts.tarball)} has no complete sidecar, so it is not known what "
            f"it is",
            next_step=then(_fetch(facts, tag)),
        )
    if tag is None and shelf.verified:
        newest = shelf.verified[0]
        return Refused(
            f"{node} has {newest.file}, but {shelf.path_of_latest} {shelf.latest_fault}",
            next_step=then(with_tag(f"breakglass import {node}", newest.tag)),
        )
    parts = (_lacks_tarball(facts, tag), *_not_whole(facts.adoption))
    next_step = then(_fetch(facts, tag))
    if others := _other_tags(facts):
        next_step = then(
            _fetch(facts, tag),
            with_tag(f"breakglass import {facts.node}", others[0]),
            advice=(
                f"containerd on {facts.node} has the image under other tags: "
                f"{', '.join(others[:5])}. Fetch a tarball; if there is none, take one of these"
            ),
        )
    return Refused("; ".join(parts), next_step=next_step)


def _lacks_tarball(facts: Facts, tag: str | None) -> str:
    node, shelf = facts.node, facts.shelf
    if tag is None:
        return f"{node} has no tarball: {shelf.path_of_latest} {shelf.latest_fault or 'is missing'}"
    others = ", ".join(tarball.tag for tarball in shelf.verified)
    return f"{node} has no {shelf.name}-{tag}" + (f" (it has {others})" if others else "")


def _not_whole(adoption: Adoption | None) -> list[str]:
    """Why what containerd has cannot be taken. Pods may start from it all the same: what is
    unpacked needs no layers.
    """
    return [
        f"containerd has {content.name}, but not whole, so it cannot be served: "
        f"{content.why_not}"
        + (" (discard_unpacked_layers removes them)" if content.missing else "")
        for content in (adoption.contents if adoption else ())
    ]


def _other_tags(facts: Facts) -> list[str]:
    repository = facts.adoption.repository if facts.adoption else ""
    if not repository or (facts.adoption and facts.adoption.contents):
        return []
    names = sorted(facts.containerd.targets)
    return [name[len(repository) + 1 :] for name in names if name.startswith(f"{repository}:")]


def _fetch(facts: Facts, tag: str | None) -> str:
    return with_tag(f"breakglass fetch {facts.node}", tag)
