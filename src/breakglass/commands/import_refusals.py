"""Why an import is refused, and what to type then."""

from breakglass.commands import room
from breakglass.commands.import_facts import Facts
from breakglass.commands.signed import distrust
from breakglass.errors import BreakglassError, Integrity, Refused, then
from breakglass.observe.containerd import Ctr
from breakglass.observe.machine import Machine
from breakglass.observe.record import Record
from breakglass.observe.shelf import Tarball


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


def no_tarball(facts: Facts, tag: str | None) -> BreakglassError:
    node, shelf = facts.node, facts.shelf
    others = ", ".join(tarball.tag for tarball in shelf.verified)
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
        message = (
            f"{node}:{shelf.path(facts.tarball)} has no complete sidecar, so it is not known what "
            f"it is"
        )
    elif tag is None:
        message = (
            f"{node} has no tarball: {shelf.path_of_latest} {shelf.latest_fault or 'is missing'}"
        )
    else:
        message = f"{node} has no {shelf.name}-{tag}" + (f" (it has {others})" if others else "")
    return Refused(
        message, next_step=then(f"breakglass fetch {node}" + (f" --tag {tag}" if tag else ""))
    )
