"""The steps that copy a tarball to the node, via the node itself or via the operator."""

import base64

from breakglass.commands.environment import Identity
from breakglass.commands.fetch_facts import SSH_OPTIONS, Facts
from breakglass.commands.fetch_options import Option
from breakglass.commands.room import no_room_for_tarball
from breakglass.commands.sources import FIRST_BYTE_SECONDS
from breakglass.commands.tarball_steps import archive, publish
from breakglass.config import Image
from breakglass.errors import Refused, then
from breakglass.observe.leftovers import Partial
from breakglass.observe.shelf import Tarball
from breakglass.plan import Argv, Copy, Purpose, Run, Step, command_line, title


def copying(facts: Facts, option: Option, image: Image, identity: Identity) -> tuple[Step, ...]:
    """The steps that bring the tarball into the directory of `facts.shelf`, checked and under its
    name. Raises Refused where it does not fit there.
    """
    tarball, directory = option.tarball, facts.shelf.directory
    partials = (partial for partial in facts.shelf.partials if partial.file == tarball.file)
    partial = next(partials, None)
    _check_room(facts, tarball, partial)
    offset = partial.size_bytes if partial and _continues(partial, tarball) else 0
    receive = archive(
        "receive",
        directory,
        tarball.file,
        "--size",
        str(tarball.size_bytes),
        "--offset",
        str(offset),
        *_proof(tarball, image, identity),
    )
    if option.via == "node":
        transfer: Step = _via_node(facts, option, receive, offset)
    else:
        transfer = _via_operator(facts, option, receive, offset)
    return (transfer, publish(facts.node, directory, tarball.file))


def is_transfer(step: Step) -> bool:
    """Whether a failure of this step is a failure of the source or of the transport: then the next
    option is tried.
    """
    return step.purpose is Purpose.TRANSFERS


def resumes(step: Step) -> bool:
    """Whether it continues a partial. If that fails, the partial may be what was bad, and the same
    option is tried once more from the start.
    """
    return isinstance(step, Run | Copy) and step.resumed_bytes > 0


def _continues(partial: Partial, tarball: Tarball) -> bool:
    """Whether the partial is the beginning of this very tarball."""
    record = tarball.record
    return (
        record is not None
        and partial.sha256 == record.sha256
        and 0 < partial.size_bytes < record.size_bytes
    )


def _check_room(facts: Facts, tarball: Tarball, partial: Partial | None) -> None:
    directory = facts.shelf.directory
    free_bytes = facts.machine.free_bytes
    # The partial is part of the tarball, or is replaced by it.
    usable_bytes = free_bytes + (partial.size_bytes if partial else 0)
    if not no_room_for_tarball(usable_bytes, tarball.size_bytes):
        return
    look = facts.node.by_hand("df", "-h", directory)
    raise Refused(
        f"no room in {directory} on {facts.node}: {free_bytes / 1e6:.0f} MB free, "
        f"{tarball.file} has {tarball.size_bytes / 1e6:.0f} MB",
        next_step=then(
            look, "breakglass fetch", advice="make room there, or let breakglass choose a node"
        ),
    )


def _proof(tarball: Tarball, image: Image, identity: Identity) -> Argv:
    """What the tarball is checked against when it arrives. Without a record, its content is read
    and the record is made from it.
    """
    if tarball.record is not None:
        return ("--record", tarball.record.text, *_signature(tarball))
    seed = f'{{"tag":"{tarball.tag}","sequence":0,"version":"{identity.version}"}}'
    return ("--record", seed, "--reference", f"{image.repository}:{tarball.tag}")


def _signature(tarball: Tarball) -> Argv:
    """The signature goes with the record. One that does not fit it stays behind."""
    data = tarball.signature.data
    return ("--signature", base64.b64encode(data).decode()) if data else ()


def _reading(option: Option, offset: int) -> Argv:
    path = option.shelf.path(option.tarball)
    return ("tail", "-c", f"+{offset + 1}", path) if offset else ("cat", path)


def _title(option: Option) -> str:
    return title("fetch", option.tarball.file, f" from {option.shelf.host}")


def _via_node(facts: Facts, option: Option, receive: Argv, offset: int) -> Run:
    source = option.shelf.host
    reading = _reading(option, offset)
    remote = command_line((reading,), sudo=source.sudo)
    login = facts.logins.get(source.name)
    ssh: Argv = login.argv if login else ("ssh", *SSH_OPTIONS, *source.login)
    return Run(
        facts.node,
        ((*ssh, remote), receive),
        first_seconds=FIRST_BYTE_SECONDS,
        total_bytes=option.tarball.size_bytes,
        resumed_bytes=offset,
        title=_title(option),
        purpose=Purpose.TRANSFERS,
    )


def _via_operator(facts: Facts, option: Option, receive: Argv, offset: int) -> Copy:
    reading = (_reading(option, offset),)
    return Copy(
        Run(option.shelf.host, reading, first_seconds=FIRST_BYTE_SECONDS),
        Run(facts.node, (receive,)),
        total_bytes=option.tarball.size_bytes,
        resumed_bytes=offset,
        title=_title(option),
    )
