"""fetch: the tarball from the registry VM, else from each fallback in order, to the node; verified
there.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands import (
    FIRST_BYTE_SECONDS,
    Estate,
    Identity,
    Target,
    Unread,
    archive,
    enter,
    publish,
    removal,
    repoint,
    tidying,
)
from breakglass.commands.job import Job
from breakglass.config import Image
from breakglass.deadline import together
from breakglass.errors import BreakglassError, Failed, Integrity, Refused, Unreachable, worst
from breakglass.observe.machine import Machine, read_hashes, read_machine
from breakglass.observe.shelf import Shelf, Tarball, read_shelf
from breakglass.plan import Argv, Copy, Host, Plan, Purpose, Run, Step, title
from breakglass.text import inert

COMMANDS = ("python3", "ssh", "bash", "sha256sum")

SSH_OPTIONS = (
    "-o",
    "BatchMode=yes",
    "-o",
    "StrictHostKeyChecking=yes",
    "-o",
    "UpdateHostKeys=no",
    "-o",
    "ConnectTimeout=5",
    "-o",
    "ServerAliveInterval=10",
    "-o",
    "ServerAliveCountMax=2",
)


@dataclass(frozen=True)
class Way:
    """How the node itself would reach a source, and whether it does."""

    argv: Argv
    why_not: str
    """Empty: it does."""


@dataclass(frozen=True)
class Facts:
    node: Host
    how: str
    machine: Machine
    shelf: Shelf
    """On the node."""
    sources: tuple[Shelf, ...]
    unread: tuple[Unread, ...]
    """Sources that could not be read."""
    ways: dict[str, Way]
    """By the source's name; only where the node was asked."""
    bad: frozenset[str] = frozenset()
    """Files on the node that count as verified by their sidecars and whose content is something
    else.
    """
    others_unasked: bool = False
    """A source was named, and there are others."""


@dataclass(frozen=True)
class Option:
    """A tarball of a source, and the way it comes: node or operator."""

    shelf: Shelf
    tarball: Tarball
    way: str

    def __str__(self) -> str:
        return f"{self.shelf.host}, {self.tarball.file}, via {self.way}"

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.shelf.host.name, self.tarball.file, self.way)


@dataclass(frozen=True)
class FetchResult:
    tag: str
    node: str
    source: str
    via: str
    sha256: str | None
    size_bytes: int


Failures = dict[tuple[str, str, str], BreakglassError]
"""`Option.key` of what was tried in this run already, and how it ended."""


def observe(
    estate: Estate,
    *,
    target: Target,
    source: str | None,
    via: str,
    known: tuple[Shelf | Unread, ...] = (),
) -> Facts:
    """`known`: sources that were read already. Raises Refused for a source that there is none of,
    Unreachable for the node.
    """
    names = [host.name for host, _ in estate.sources]
    if source is not None and source not in names:
        raise Refused(f"there is no source {source}", next_step=f"one of: {', '.join(names)}")
    host = target.host
    estate.note(f"looking at {host} ({host.ssh})")
    directory, name = estate.config.nodes.directory, estate.config.image.name
    machine = read_machine(estate.hosts, host, directory, COMMANDS)
    shelf = read_shelf(estate.hosts, host, directory, name)
    return _hashed(
        estate,
        Facts(
            host,
            target.how,
            machine,
            shelf,
            *read_sources(estate, host, machine, source=source, via=via, known=known),
            others_unasked=source is not None and len(names) > 1,
        ),
    )


def read_sources(
    estate: Estate,
    node: Host,
    machine: Machine,
    *,
    source: str | None,
    via: str,
    known: tuple[Shelf | Unread, ...] = (),
) -> tuple[tuple[Shelf, ...], tuple[Unread, ...], dict[str, Way]]:
    """The shelves of the sources, those that could not be read, and by the source's name how the
    node itself would reach it.
    """
    wanted = [
        (host, directory) for host, directory in estate.sources if source in (None, host.name)
    ]
    if known:
        names = {host.name for host, _ in wanted}
        answers: list[Shelf | Unread | None] = [
            each
            for each in known
            if (each.host.name if isinstance(each, Shelf) else each.name) in names
        ]
    else:
        for host, _ in wanted:
            estate.note(f"looking at {host} ({host.ssh})")
        answers = together([partial(estate.source, *each) for each in wanted])
    shelves = tuple(answer for answer in answers if isinstance(answer, Shelf))
    ways = {
        found.host.name: _way(estate, node, machine, found.host)
        for found in shelves
        if via != "operator" and found.present
    }
    return shelves, tuple(answer for answer in answers if isinstance(answer, Unread)), ways


def observe_again(estate: Estate, facts: Facts) -> Facts:
    """The node read anew; of the sources nothing is asked again, so that one that goes down
    meanwhile changes no plan.
    """
    machine = read_machine(estate.hosts, facts.node, facts.shelf.directory, COMMANDS)
    shelf = read_shelf(estate.hosts, facts.node, facts.shelf.directory, facts.shelf.name)
    return _hashed(estate, replace(facts, machine=machine, shelf=shelf))


def job(
    estate: Estate,
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
            image=estate.config.image,
            identity=estate.identity,
            tag=tag,
            others=others,
        ),
        observe_again=partial(observe_again, estate),
        state=state,
    )


def choose_way(
    facts: Facts, *, tag: str | None, via: str, failed: Failures
) -> tuple[Option, tuple[Option, ...]]:
    """What is tried now, and what would be tried after it; raises what says why there is nothing
    (left).
    """
    if "python3" not in facts.machine.commands:
        raise Refused(
            f"{facts.node} has no python3, which checks the tarball there",
            next_step=(
                f"install it: {facts.node.by_hand('apt-get', 'install', 'python3-minimal')}; or "
                f"choose another node"
            ),
        )
    options = tuple(_options(facts, tag, via, failed))
    if not options:
        raise _nothing(facts, tag, via, failed)
    return options[0], options[1:]


def plan(
    facts: Facts,
    option: Option,
    *,
    image: Image,
    identity: Identity,
    tag: str | None,
    others: tuple[Option, ...] = (),
) -> Plan:
    """One tarball from one source by one way."""
    shelf, tarball, way = option.shelf, option.tarball, option.way
    directory, file = facts.shelf.directory, tarball.file
    for name in (file, facts.shelf.latest_file):
        if name not in facts.shelf.foreign:
            continue
        look = facts.node.by_hand("ls", "-la", directory)
        raise Refused(
            f"{directory}/{name} on {facts.node} is not what belongs there",
            next_step=f"see what it is, then move it away: {look}",
        )
    held = facts.shelf.find(tarball.tag)
    is_there = (
        held is not None
        and held.verified
        and held.file not in facts.bad
        and (
            tarball.record is None
            or (held.record is not None and held.record.sha256 == tarball.record.sha256)
        )
    )
    newer = _newer(facts, option, tag)
    notes = (
        facts.how,
        f"source: {shelf.host}, {_why(tarball)}, via {way}",
        *(f"if that fails: {other}" for other in others[:3]),
    )
    warnings = (*(str(unread) for unread in facts.unread), *_doubts(facts, option))
    if newer is not None:
        return Plan(
            (
                f"{facts.node} holds {newer.file}, which is newer than what the sources offer "
                f"({file}; to have that one: --tag {tarball.tag})"
            ),
            notes=notes[:1],
            warnings=warnings,
        )
    bringing: tuple[Step, ...] = () if is_there else copying(facts, option, image, identity)
    pointing = (
        ()
        if facts.shelf.latest == tarball.tag
        else repoint(facts.node, directory, image.name, file)
    )
    older = tuple(
        removal(facts.shelf, other)
        for other in facts.shelf.tarballs
        if other.tag != tarball.tag and _is_older(other, tarball)
    )
    steps = (*tidying(facts.shelf, but=file if bringing else None), *bringing, *pointing, *older)
    goal = f"{facts.node}:{directory}/{file} is the tarball of {shelf.host}, verified there"
    if not steps:
        return Plan(goal, notes=notes[:2], warnings=warnings)
    return Plan(
        goal,
        (*enter(facts.node, directory, identity, present=facts.shelf.present), *steps),
        notes=notes,
        warnings=warnings,
    )


def shelf_then(facts: Facts, option: Option, *, tag: str | None) -> Shelf | None:
    """What the node's directory holds once the plan is done; None where that is known only then:
    the tarball has no sidecars.
    """
    shelf, tarball = facts.shelf, option.tarball
    if _newer(facts, option, tag) is not None:
        return shelf
    if tarball.record is None:
        return None
    others = tuple(
        other
        for other in shelf.tarballs
        if other.tag != tarball.tag and not _is_older(other, tarball)
    )
    return replace(
        shelf,
        present=True,
        tarballs=(tarball, *others),
        latest=tarball.tag,
        latest_fault="",
        partials=(),
        orphans=(),
    )


def designated(shelf: Shelf, tag: str | None) -> tuple[Tarball, ...]:
    """The one that is taken from a source: that of the tag; without a tag what `latest` means, else
    the newest verified one.
    """
    wanted = tag if tag is not None else shelf.latest
    found = shelf.find(wanted) if wanted is not None else None
    if found is None and tag is None and shelf.verified:
        found = shelf.verified[0]
    return (found,) if found else ()


def copying(facts: Facts, option: Option, image: Image, identity: Identity) -> tuple[Step, ...]:
    """The steps that bring the tarball into the directory of `facts.shelf`, checked and under its
    name. Raises Refused where it does not fit there.
    """
    shelf, tarball, way = option.shelf, option.tarball, option.way
    directory, file, record = facts.shelf.directory, tarball.file, tarball.record
    partial = next((partial for partial in facts.shelf.partials if partial.file == file), None)
    fits = (
        partial is not None
        and record is not None
        and partial.sha256 == record.sha256
        and 0 < partial.size_bytes < record.size_bytes
    )
    offset = partial.size_bytes if partial and fits else 0
    size_bytes = tarball.size_bytes
    free = facts.machine.free_bytes + (partial.size_bytes if partial else 0)
    if free < size_bytes:
        raise Refused(
            (
                f"no room in {directory} on {facts.node}: {facts.machine.free_bytes / 1e6:.0f} "
                f"MB free, {file} has {size_bytes / 1e6:.0f} MB"
            ),
            next_step=(
                f"make room: {facts.node.by_hand('df', '-h', directory)}; or choose another node"
            ),
        )
    if record is not None:
        proof: Argv = ("--record", record.text)
    else:
        seed = f'{{"tag":"{tarball.tag}","sequence":0,"version":"{identity.version}"}}'
        proof = ("--record", seed, "--reference", f"{image.repository}:{tarball.tag}")
    receive = archive(
        "receive", directory, file, "--size", str(size_bytes), "--offset", str(offset), *proof
    )
    path = shelf.path(tarball)
    read: Argv = ("tail", "-c", f"+{offset + 1}", path) if offset else ("cat", path)
    publishing = publish(facts.node, directory, file)
    what = title("fetch", file, f" from {shelf.host}")
    if way == "node":
        remote = shlex.join(("sudo", "-n", *read) if shelf.host.sudo else read)
        known = facts.ways.get(shelf.host.name)
        line: Argv = known.argv if known else ("ssh", *SSH_OPTIONS, *shelf.host.login)
        return (
            Run(
                facts.node,
                ((*line, remote), receive),
                first_seconds=FIRST_BYTE_SECONDS,
                total_bytes=size_bytes,
                resumed_bytes=offset,
                title=what,
                purpose=Purpose.TRANSFERS,
                is_script=True,
            ),
            publishing,
        )
    source, sink = (
        Run(shelf.host, (read,), first_seconds=FIRST_BYTE_SECONDS),
        Run(facts.node, (receive,), is_script=True),
    )
    copy = Copy(source, sink, total_bytes=size_bytes, resumed_bytes=offset, title=what)
    return (copy, publishing)


def is_transfer(step: Step) -> bool:
    """Whether a failure of this step is one of the source or the way: then the next one is
    tried.
    """
    return step.purpose is Purpose.TRANSFERS


def resumes(step: Step) -> bool:
    """Whether it goes on with a partial: if that fails, the partial may be what was bad, and the
    same way is tried once more from the start.
    """
    return isinstance(step, Run | Copy) and step.resumed_bytes > 0


def result(facts: Facts, option: Option, *, tag: str | None) -> FetchResult:
    """What is on the node, or in a dry run what would be."""
    tarball = _newer(facts, option, tag) or facts.shelf.find(option.tarball.tag) or option.tarball
    record = tarball.record
    return FetchResult(
        tag=tarball.tag,
        node=facts.node.name,
        source=option.shelf.host.name,
        via=option.way,
        sha256=record.sha256 if record else None,
        size_bytes=tarball.size_bytes,
    )


def state(facts: Facts) -> str:
    held = [tarball.tag for tarball in facts.shelf.verified]
    partial = next(iter(facts.shelf.partials), None)
    rest = (
        (
            f"; a partial of {partial.file} ({partial.size_bytes / 1e6:.0f} MB) is kept for the "
            f"next run"
        )
        if partial
        else ""
    )
    return (
        f"On {facts.node}: "
        f"{'verified: ' + ', '.join(held) if held else 'no verified tarball'}{rest}. The sources "
        f"were only read."
    )


def _is_older(other: Tarball, tarball: Tarball) -> bool:
    """Whether a tarball of ours goes once the other is there."""
    return other.record is not None and other.sequence < tarball.sequence


def _newer(facts: Facts, option: Option, tag: str | None) -> Tarball | None:
    """What the node holds as its latest, where it is newer than what the source offers and no tag
    was asked for.
    """
    newer = next(
        (
            one
            for one in facts.shelf.verified
            if one.sequence > option.tarball.sequence and one.file not in facts.bad
        ),
        None,
    )
    return newer if newer is not None and tag is None and facts.shelf.latest == newer.tag else None


def _options(facts: Facts, tag: str | None, via: str, failed: Failures) -> Iterator[Option]:
    """Each source's tarball in the order of the sources; after them, where no tag was asked for,
    their older good ones.
    """
    bad = {
        (source, file)
        for (source, file, _), error in failed.items()
        if error.exit_code == Integrity.exit_code
    }
    first = [(shelf, tarball) for shelf in facts.sources for tarball in designated(shelf, tag)]
    older = [
        (shelf, tarball)
        for shelf in facts.sources
        for tarball in shelf.verified
        if tag is None and (shelf, tarball) not in first
    ]
    for shelf, tarball in (*first, *older):
        if (shelf.host.name, tarball.file) in bad:
            continue
        for way in _ways(facts, shelf, via):
            option = Option(shelf, tarball, way)
            if option.key not in failed:
                yield option


def _ways(facts: Facts, shelf: Shelf, via: str) -> tuple[str, ...]:
    way = facts.ways.get(shelf.host.name)
    reached = ("node",) if way is not None and not way.why_not else ()
    return {"auto": (*reached, "operator"), "node": reached, "operator": ("operator",)}[via]


def _way(estate: Estate, node: Host, machine: Machine, source: Host) -> Way:
    """Asks the node whether its root may log in to the source. Changes nothing there."""
    argv = ("ssh", *SSH_OPTIONS, *source.login)
    if "ssh" not in machine.commands:
        return Way(argv, f"{node} has no ssh client")
    ended = estate.hosts.ask(node, (*argv, "cat /dev/null"), quiet_seconds=FIRST_BYTE_SECONDS)
    return Way(
        argv,
        ""
        if ended.ok
        else (
            f"{node} cannot log in to {source} ({source.ssh}): {inert(ended.stderr or ended.lost)}"
        ),
    )


def _why(tarball: Tarball) -> str:
    return f"{tarball.file}, {tarball.size_bytes / 1e6:.0f} MB, " + (
        f"taken {tarball.record.created_at}" if tarball.record else "without sidecars"
    )


def _doubts(facts: Facts, option: Option) -> Iterator[str]:
    shelf, tarball, way = option.shelf, option.tarball, option.way
    if tarball.record is None:
        yield (
            f"{tarball.file} on {shelf.host} has no sidecars (made by the old pipeline): it is "
            f"accepted after a full verification only, and holds no companions"
        )
    elif not tarball.verified:
        yield (
            f"{tarball.file} on {shelf.host} has {tarball.size_bytes} bytes, its sidecar says "
            f"{tarball.record.size_bytes}"
        )
    if shelf.latest_fault and shelf.present:
        yield f"{shelf.path_of_latest} on {shelf.host} {shelf.latest_fault}"
    reached = facts.ways.get(shelf.host.name)
    if way == "operator" and reached is not None and reached.why_not:
        yield f"{reached.why_not}; the tarball goes through this machine"


def _nothing(facts: Facts, tag: str | None, via: str, failed: Failures) -> BreakglassError:
    """Why there is no candidate (left): each source with its reason."""
    wanted = f"tarball with tag {tag}" if tag else "tarball"
    reasons = [
        f"{shelf.host}: "
        + (
            f"no {wanted} in {shelf.directory}"
            if shelf.present
            else f"no directory {shelf.directory}"
        )
        for shelf in facts.sources
        if not list(designated(shelf, tag))
    ]
    unused = [way.why_not for way in facts.ways.values() if way.why_not] if via == "node" else []
    causes: list[BreakglassError] = [
        *failed.values(),
        *(unread.error for unread in facts.unread),
        *(Unreachable(why) for why in unused),
    ]
    # Of a bad file the way does not matter; a way that failed is named.
    reasons += dict.fromkeys(
        f"{source}: {file}{'' if isinstance(error, Integrity) else f', via {way}'}: {error.message}"
        for (source, file, way), error in failed.items()
    )
    reasons += [str(unread) for unread in facts.unread] + unused
    held = facts.shelf.verified
    there = (
        (
            f"{facts.node} itself holds {', '.join(tarball.tag for tarball in held)}: breakglass "
            f"import {facts.node} --tag {held[0].tag}"
        )
        if held
        else ""
    )
    listing = next(
        (shelf.host.by_hand("ls", "-la", shelf.directory) for shelf in facts.sources), ""
    )
    # A copy that broke off goes on where it stopped.
    again = next(
        (error.next_step for error in failed.values() if error.exit_code == Failed.exit_code), ""
    )
    when = (
        "the other sources were not asked"
        if facts.others_unasked
        else f"once {'one of them' if len(facts.unread) > 1 else 'it'} is back"
    )
    back = f"{when}: breakglass fetch {facts.node}{f' --tag {tag}' if tag else ''}"
    reach = "; ".join(
        dict.fromkeys(
            [
                *(
                    unread.error.next_step.rstrip(".")
                    for unread in facts.unread
                    if unread.error.next_step
                ),
                back,
            ]
        )
    )
    return worst(
        causes or [Refused("")],
        message="\n".join((f"no source has a usable {wanted}:", *reasons))
        if len(reasons) > 1
        else f"no source has a usable {wanted}: {''.join(reasons)}",
        state=state(facts),
        next_step=again or there or (reach if facts.unread else listing),
    )


def _hashed(estate: Estate, facts: Facts) -> Facts:
    """What is on the node is read back, not believed."""
    shelf = facts.shelf
    found = read_hashes(estate.hosts, facts.node, tuple(shelf.path(one) for one in shelf.verified))
    return replace(
        facts,
        bad=frozenset(
            one.file
            for one in shelf.verified
            if one.record and found.get(shelf.path(one)) != one.record.sha256
        ),
    )
