"""fetch: the tarball from the registry VM, else from each fallback in order, to the node; verified
there.
"""

from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands import ownership, room
from breakglass.commands.directory_steps import enter
from breakglass.commands.environment import Environment, Identity
from breakglass.commands.fetch_copy import copying
from breakglass.commands.fetch_facts import Facts, observe_again, state, with_nodes
from breakglass.commands.fetch_options import Failures, Option, choose_option
from breakglass.commands.fetch_warnings import doubts
from breakglass.commands.job import Job
from breakglass.commands.order import believed, is_older
from breakglass.commands.tarball_steps import removal, repoint, tidying
from breakglass.config import Image
from breakglass.errors import BreakglassError, Refused, look_first, then
from breakglass.observe.shelf import Shelf, Tarball
from breakglass.plan import Plan, Step


@dataclass(frozen=True)
class FetchResult:
    tag: str
    node: str
    source: str
    via: str
    sha256: str | None
    size_bytes: int


def choose_source(
    environment: Environment, facts: Facts, *, tag: str | None, via: str, failed: Failures
) -> tuple[Facts, Option, tuple[Option, ...]]:
    """As `choose_option`. Where no source has anything left, the other nodes are asked: the facts
    that are returned have them among the sources.
    """
    image = environment.config.image
    try:
        return facts, *choose_option(facts, image=image, tag=tag, via=via, failed=failed)
    except BreakglassError:
        if facts.is_named or "python3" not in facts.machine.commands:
            raise
        wider = with_nodes(environment, facts, via=via)
        return wider, *choose_option(wider, image=image, tag=tag, via=via, failed=failed)


def job(
    environment: Environment,
    facts: Facts,
    option: Option,
    *,
    tag: str | None,
    others: tuple[Option, ...],
) -> Job[Facts]:
    """One transfer. The facts are there already: the option was chosen from them."""
    return Job(
        observe=lambda: facts,
        decide=partial(
            plan,
            option=option,
            image=environment.config.image,
            identity=environment.identity,
            tag=tag,
            others=others,
        ),
        observe_again=partial(observe_again, environment),
        state=state,
    )


def plan(
    facts: Facts,
    option: Option,
    *,
    image: Image,
    identity: Identity,
    tag: str | None,
    others: tuple[Option, ...] = (),
) -> Plan:
    """One tarball from one source by one transport."""
    ownership.check(facts.machine)
    _check_foreign_files(facts, option)
    source, directory, file = option.shelf.host, facts.shelf.directory, option.tarball.file
    warnings = (
        *(str(unread) for unread in facts.unread),
        *doubts(facts, option, image, tag, identity.at),
    )
    newer = _newer(facts, option, tag)
    if newer is not None:
        goal = (
            f"{facts.node} holds {newer.file}, which is newer than what the sources offer "
            f"({file}; to have that one: --tag {option.tarball.tag})"
        )
        return Plan(goal, notes=(facts.how,), warnings=warnings)
    goal = f"{facts.node}:{directory}/{file} is the tarball of {source}, verified there"
    notes = (facts.how, f"source: {source}, {_description(option.tarball)}, via {option.via}")
    steps = _steps(facts, option, image, identity)
    if not steps:
        return Plan(goal, notes=notes, warnings=warnings)
    if not _is_there(facts, option.tarball):
        warnings = (*warnings, *_check_usable_there(facts, option.tarball))
    return Plan(
        goal,
        (*enter(facts.node, directory, identity, present=facts.shelf.present), *steps),
        notes=(*notes, *(f"if that fails: {other}" for other in others[:3])),
        warnings=warnings,
    )


def shelf_then(facts: Facts, option: Option, *, tag: str | None) -> Shelf | None:
    """What the node's directory holds after the plan; None where that is not known before: the
    tarball has no sidecars.
    """
    shelf, tarball = facts.shelf, option.tarball
    if _newer(facts, option, tag) is not None:
        return shelf
    if tarball.record is None:
        return None
    kept = tuple(
        other
        for other in shelf.tarballs
        if other.tag != tarball.tag and not _is_older(other, tarball)
    )
    return replace(
        shelf,
        present=True,
        tarballs=(tarball, *kept),
        latest=tarball.tag,
        latest_fault="",
        partials=(),
        orphans=(),
    )


def result(facts: Facts, option: Option, *, tag: str | None) -> FetchResult:
    """What is on the node, or in a dry run what would be."""
    tarball = _newer(facts, option, tag) or facts.shelf.find(option.tarball.tag) or option.tarball
    return FetchResult(
        tag=tarball.tag,
        node=facts.node.name,
        source=option.shelf.host.name,
        via=option.via,
        sha256=tarball.record.sha256 if tarball.record else None,
        size_bytes=tarball.size_bytes,
    )


def _check_foreign_files(facts: Facts, option: Option) -> None:
    """Raises Refused where something else has the name of the tarball or of `latest`."""
    directory = facts.shelf.directory
    for name in (option.tarball.file, facts.shelf.latest_file):
        if name in facts.shelf.foreign:
            look = facts.node.by_hand("ls", "-la", directory)
            raise Refused(
                f"{directory}/{name} on {facts.node} is not what belongs there",
                next_step=look_first(look, advice="see what it is, move it away, then try again"),
            )


def _check_usable_there(facts: Facts, tarball: Tarball) -> tuple[str, ...]:
    """A warning where the operator goes on. Raises Refused where the tarball would be of no use on
    the node: it is for another architecture, or the import would find no room.
    """
    node, record = facts.node, tarball.record
    if record is not None and record.platform != facts.machine.platform:
        raise Refused(
            f"{tarball.file} is for {record.platform}, {node} is {facts.machine.platform}: no pod "
            f"would start",
            next_step=then(
                "breakglass fetch", advice=f"let breakglass choose a node of {record.platform}"
            ),
        )
    return room.check(
        node,
        facts.disk,
        tarball.size_bytes,
        with_tarball=True,
        command="fetch",
        anyway=facts.anyway,
    )


def _steps(facts: Facts, option: Option, image: Image, identity: Identity) -> tuple[Step, ...]:
    """Copy, point `latest` at it, remove what is older; only what is still to do."""
    shelf, tarball = facts.shelf, option.tarball
    is_there = _is_there(facts, tarball)
    copy = () if is_there else copying(facts, option, image, identity)
    pointing = (
        ()
        if shelf.latest == tarball.tag
        else repoint(facts.node, shelf.directory, image.name, tarball.file)
    )
    removals = tuple(
        removal(shelf, other)
        for other in shelf.tarballs
        if other.tag != tarball.tag
        and _is_older(other, tarball)
        # A time that is yet to come is wrong: then it is not known which one is older.
        and (tarball.record is None or believed(tarball, identity.at))
    )
    return (*tidying(shelf, but=None if is_there else tarball.file), *copy, *pointing, *removals)


def _is_there(facts: Facts, tarball: Tarball) -> bool:
    """Whether the node has this very tarball, whole. Without sidecars at the source, a verified
    tarball of the same tag counts.
    """
    held = facts.shelf.find(tarball.tag)
    if held is None or not held.verified or held.file in facts.bad:
        return False
    if tarball.record is None:
        return True
    return held.record is not None and held.record.sha256 == tarball.record.sha256


def _is_older(other: Tarball, tarball: Tarball) -> bool:
    """Whether a tarball of ours is removed once the newer tarball is there."""
    return other.record is not None and is_older(other, tarball)


def _newer(facts: Facts, option: Option, tag: str | None) -> Tarball | None:
    """What the node holds as its latest, where it is newer than what the source offers and no tag
    was asked for.
    """
    if tag is not None:
        return None
    newer = next(
        (
            tarball
            for tarball in facts.shelf.verified
            if is_older(option.tarball, tarball) and tarball.file not in facts.bad
        ),
        None,
    )
    return newer if newer is not None and facts.shelf.latest == newer.tag else None


def _description(tarball: Tarball) -> str:
    origin = f"taken {tarball.record.created_at}" if tarball.record else "without sidecars"
    return f"{tarball.file}, {tarball.size_bytes / 1e6:.0f} MB, {origin}"
