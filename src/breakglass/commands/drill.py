"""drill: the newest tarball of every source to a node, into a namespace of containerd that is ours
alone, and out again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

from breakglass.age import age_in_words, age_seconds
from breakglass.commands import (
    Estate,
    Identity,
    Target,
    Unread,
    create,
    discard,
    enter,
    fetch_facts,
    readiness,
    removal,
    tidying,
    verify,
)
from breakglass.commands.fetch_copy import copying
from breakglass.commands.fetch_options import Option, designated
from breakglass.commands.import_image import IMPORT_QUIET_SECONDS, check_usable
from breakglass.commands.job import Job
from breakglass.config import Image, Nodes
from breakglass.errors import BreakglassError, Integrity, Refused, Unreachable
from breakglass.observe.containerd import REFERENCE, Ctr, Namespace, read_namespace
from breakglass.observe.machine import Disk, read_disk, read_machine
from breakglass.observe.shelf import Record, Shelf, Tarball, read_shelf
from breakglass.plan import Argv, Confirm, Host, Plan, Run, Step, title
from breakglass.ports import said
from breakglass.text import inert

NAMESPACE = "breakglass-drill"
"""Neither kubelet nor its image garbage collection looks into it."""
SCRATCH = ".drill"

UNCOMPRESSED = 4
"""An image is 3.2 to 3.7 times as large as its tarball (777 MB from 243 and 209 MB, gzip -1 and
-6).
"""
IMPORTED = 2 * UNCOMPRESSED
"""containerd keeps the layers as the archive has them, uncompressed, and unpacks them beside
that.
"""
FREE_SHARE = 0.15
"""kubelet begins to delete unused images from 85 % of a disk on (imageGCHighThresholdPercent), and
then not ours but the node's.
"""

REMOVAL_QUIET_SECONDS = 300.0
"""`--sync` waits until content and snapshots are deleted, and says nothing meanwhile."""


@dataclass(frozen=True)
class Facts:
    reach: fetch_facts.Facts
    """The node, with the scratch directory as its shelf, and the sources."""
    has_directory: bool
    """Whether nodes.directory is there."""
    namespace: Namespace | None
    """What an earlier drill that was killed has left in containerd."""
    disk: Disk | None
    """Of containerd's content; None: nobody knows where it lies."""
    ctr: Ctr
    readings: readiness.Readings

    @property
    def node(self) -> Host:
        return self.reach.node


@dataclass(frozen=True)
class Candidate:
    """What a source offers."""

    source: str
    option: Option | None
    fault: BreakglassError | None = None
    """Why it is not drilled, or what is wrong with it all the same."""
    warnings: tuple[str, ...] = ()

    @property
    def record(self) -> Record | None:
        return self.option.tarball.record if self.option else None


@dataclass(frozen=True)
class SourceResult:
    name: str
    tag: str | None
    sha256: str | None
    image_id: str | None
    via: str | None
    ok: bool
    error: str | None


@dataclass(frozen=True)
class CheckResult:
    name: str
    ok: bool
    warns: bool
    detail: str


@dataclass(frozen=True)
class DrillResult:
    node: str
    sources: tuple[SourceResult, ...]
    checks: tuple[CheckResult, ...]


def observe(estate: Estate, target: Target, *, known: tuple[Shelf | Unread, ...] = ()) -> Facts:
    """`known`: sources that were read already. Raises Unreachable for the node."""
    nodes = estate.config.nodes
    if nodes.namespace == NAMESPACE:
        raise Refused(
            f"nodes.namespace is {NAMESPACE}, which drill empties",
            next_step="give it the namespace of kubelet's images: k8s.io",
        )
    host = target.host
    estate.note(f"looking at {host} ({host.ssh})")
    scratch = f"{nodes.directory}/{SCRATCH}"
    machine = read_machine(estate.hosts, host, scratch, (*readiness.programs(nodes), "ssh"))
    shelf = _read_scratch(estate, host, scratch)
    sources = fetch_facts.read_sources(estate, host, machine, source=None, via="auto", known=known)
    reach = fetch_facts.Facts(
        host, target.how, machine, shelf, sources.shelves, sources.unread, sources.logins
    )
    offered = (designated(source, None) for source in reach.sources)
    newest = next((tarball.tag for tarball in offered if tarball is not None), "latest")
    readings = readiness.observe(estate, machine, estate.config.image.names(newest))
    return _with_containerd(
        estate, Facts(reach, False, None, None, Ctr(nodes.ctr, NAMESPACE), readings)
    )


def observe_again(estate: Estate, facts: Facts) -> Facts:
    """The node read anew; of the sources nothing is asked again."""
    reach = facts.reach
    machine = read_machine(
        estate.hosts,
        reach.node,
        reach.shelf.directory,
        (*readiness.programs(estate.config.nodes), "ssh"),
    )
    shelf = _read_scratch(estate, reach.node, reach.shelf.directory)
    return _with_containerd(
        estate, replace(facts, reach=replace(reach, machine=machine, shelf=shelf))
    )


def _read_scratch(estate: Estate, host: Host, directory: str) -> Shelf:
    """What an earlier drill has left. Raises Refused where it is nothing of ours: everything in
    there is removed.
    """
    try:
        return _read_scratch_once(estate, host, directory)
    except Refused:
        # Files that come and go while it is read are those of a drill that is at work; the lock
        # will say so.
        return _read_scratch_once(estate, host, directory)


def _read_scratch_once(estate: Estate, host: Host, directory: str) -> Shelf:
    shelf = read_shelf(estate.hosts, host, directory, estate.config.image.name)
    found = estate.hosts.ask(host, ("sh", "-c", _LISTING, "scratch", directory))
    if not found.ok:
        raise Unreachable(
            f"{host}: {directory} could not be looked at: {said(found)}",
            where=host.name,
            next_step=f"look at it with: {host.by_hand('ls', '-la', directory)}",
        )
    kind, *names = found.stdout.decode("utf-8", "replace").splitlines()
    odd = (
        kind
        if kind not in ("absent", "directory")
        else next((inert(name) for name in names if not _is_of_a_drill(name, shelf)), None)
    )
    if odd is not None:
        what = (
            f"{directory} on {host} is a {odd}, no directory"
            if kind == odd
            else f"{directory} on {host} holds {odd}, which is not of a drill"
        )
        raise Refused(
            f"{what}; a drill empties that directory",
            next_step=f"see what it is, then move it away: {host.by_hand('ls', '-la', directory)}",
        )
    return shelf


_LISTING = """
if [ -h "$1" ]; then echo link
elif [ -d "$1" ]; then echo directory; ls -A "$1"
elif [ -e "$1" ]; then echo file
else echo absent; fi
"""


def _is_of_a_drill(name: str, shelf: Shelf) -> bool:
    """A tarball with its record, what is left of one, or a hidden file of a copy that was cut
    short.
    """
    ours = {
        f"{tarball.file.removesuffix('.tar.gz')}{ending}"
        for tarball in shelf.tarballs
        if tarball.record
        for ending in (".tar.gz", ".tar.gz.sha256", ".json")
    }
    return (
        name in ours
        or name in shelf.orphans
        or any(
            name.startswith(f".{partial.file.removesuffix('.tar.gz')}.")
            for partial in shelf.partials
        )
    )


def tidied(facts: Facts) -> Facts:
    """As things are after a drill: nothing of it is left."""
    shelf = facts.reach.shelf
    return replace(
        facts,
        reach=replace(
            facts.reach, shelf=Shelf(shelf.host, shelf.directory, shelf.name, present=False)
        ),
        has_directory=True,
        namespace=None,
    )


def candidate(facts: Facts, source: str, *, at: str, max_age_hours: float) -> Candidate:
    """What `fetch` would take from a source, and what is wrong with it. `at`: the time of this
    run.
    """
    shelf = next((each for each in facts.reach.sources if each.host.name == source), None)
    if shelf is None:
        unread = next(
            (each for each in facts.reach.unread if each.name == source),
            Unread(source, Refused(f"{source} was not asked", where=source)),
        )
        return Candidate(source, None, unread.error)
    look = shelf.host.by_hand("ls", "-la", shelf.directory)
    tarball = designated(shelf, None)
    if tarball is None:
        where = shelf.directory if shelf.present else f"{shelf.directory}, which is not there"
        return Candidate(
            source,
            None,
            Refused(
                f"no tarball in {where}",
                next_step=f"{_renewal(shelf, None)}; look at it with: {look}",
            ),
        )
    warnings = (f"{shelf.path_of_latest} {shelf.latest_fault}",) if shelf.latest_fault else ()
    via = "node" if facts.reach.node_reaches(source) else "operator"
    option = Option(shelf, tarball, via)
    record, fault = tarball.record, None
    if record is None:
        fault = Refused(
            (
                f"{tarball.file} has no complete sidecar, so nobody knows what should be in it; "
                f"fetch would still take it, after a full verification"
            ),
            next_step=_renewal(shelf, tarball),
        )
    elif record.size_bytes != tarball.size_bytes:
        return Candidate(
            source,
            option,
            Integrity(
                (
                    f"{tarball.file} has {tarball.size_bytes} bytes, its sidecar says "
                    f"{record.size_bytes}"
                ),
                next_step=_renewal(shelf, tarball),
            ),
            warnings,
        )
    else:
        age = age_seconds(record.created_at, at)
        if age is None or age > max_age_hours * 3600:
            how_old = f"was taken {inert(record.created_at)}" + (
                ", which is no moment, or yet to come: then a clock is wrong"
                if age is None
                else f", {age_in_words(age)} ago"
            )
            fault = Refused(
                f"{tarball.file} {how_old}; status.max_age_hours allows {max_age_hours:g}",
                next_step=_renewal(shelf, None),
            )
    return Candidate(source, option, fault, warnings)


def is_tried(found: Candidate) -> bool:
    """Whether there is something to try: a tarball with its record. One that is only too old is
    tried all the same.
    """
    return found.option is not None and found.option.tarball.verified


def plan(facts: Facts, option: Option, *, image: Image, nodes: Nodes, identity: Identity) -> Plan:
    """One tarball in, and everything of it out again. Raises Refused or Integrity."""
    node, scratch, record = facts.node, facts.reach.shelf, option.tarball.record
    assert record is not None
    file, ctr = option.tarball.file, facts.ctr
    check_usable(file, record, facts.reach.machine, name=f"{image.repository}:{option.tarball.tag}")
    images = {record.references[0]: record.image_id, **dict(record.companions)}
    names = tuple(dict.fromkeys((*record.references, *images)))
    if odd := next((name for name in names if not REFERENCE.fullmatch(name)), None):
        raise Integrity(
            (
                f"the sidecar of {file} on {option.shelf.host} names {odd!r}, which is no name "
                f"of an image"
            ),
            next_step=_renewal(option.shelf, option.tarball),
        )
    warnings = _check_room(facts, option.tarball)
    path = scratch.path(option.tarball)
    make = () if scratch.present else (create(node, scratch.directory),)
    # What is left over is gone by then.
    copy = copying(tidied(facts).reach, option, image, identity)
    load = Run(
        node,
        (("gzip", "-dc", path), ctr.line("images", "import", "-")),
        IMPORT_QUIET_SECONDS,
        total_bytes=option.tarball.size_bytes,
        watch=path,
        title=title("import", file, f" into {NAMESPACE}"),
    )
    confirming = tuple(
        Confirm(
            node,
            ctr.command,
            ctr.namespace,
            name,
            image_id,
            facts.reach.machine.architecture,
            title=title("confirm", name),
        )
        for name, image_id in images.items()
    )
    out = (_remove_images(node, ctr, names), _remove_namespace(node, ctr))
    files = (removal(scratch, option.tarball), _remove_directory(node, scratch.directory))
    verifying = verify(node, path, total_bytes=option.tarball.size_bytes)
    steps = (*_tidying(facts), *make, *copy, verifying, load, *confirming, *out, *files)
    # An import that failed leaves content that is deleted in a while, or is kept by a lease with a
    # name of its own. Removing a lease of ours waits for it.
    lease = Run(
        node,
        (ctr.line("leases", "create", "--id", NAMESPACE),),
        title=title("create a lease in", NAMESPACE),
    )
    leases = Run(
        node,
        (ctr.line("leases", "ls", "-q"), ("xargs", "-r", *ctr.line("leases", "rm", "--sync"))),
        REMOVAL_QUIET_SECONDS,
        title=title("remove all leases of", NAMESPACE),
    )
    discarding = discard(node, scratch.directory, file)
    first = make[0] if make else copy[0]
    undo = (
        *((load, step) for step in (out[0], lease, leases, out[1])),
        (copy[0], discarding),
        (copy[0], files[0]),
        (first, files[1]),
    )
    goal = (
        f"{file} of {option.shelf.host} is image ID {record.image_id} in containerd on {node}, "
        f"and all of it is removed again"
    )
    notes = (facts.reach.how, f"source: {option}")
    return Plan(
        goal,
        (*enter(node, nodes.directory, identity, present=facts.has_directory), *steps),
        undo=undo,
        notes=notes,
        warnings=warnings,
    )


def job(estate: Estate, facts: Facts, option: Option) -> Job[Facts]:
    """One source's tarball in and out again. The facts are there already: the option is of them."""
    config = estate.config
    return Job(
        observe=lambda: facts,
        decide=partial(
            plan, option=option, image=config.image, nodes=config.nodes, identity=estate.identity
        ),
        observe_again=partial(observe_again, estate),
        state=state,
        left_over=leftover,
    )


def leftover(facts: Facts) -> Plan:
    """Removes what a drill has left; nothing to do when it has ended well."""
    scratch = facts.reach.shelf
    away = (_remove_directory(facts.node, scratch.directory),) if scratch.present else ()
    return Plan(f"nothing of a drill is left on {facts.node}", (*_tidying(facts), *away))


def state(facts: Facts) -> str:
    if not leftover(facts).steps:
        return (
            f"Nothing of the drill is left on {facts.node}. The cluster, hosts.toml and the "
            f"images of the node were not touched."
        )
    parts = [
        name
        for name, is_left in (
            (facts.reach.shelf.directory, facts.reach.shelf.present),
            (f"the namespace {facts.ctr.namespace} of containerd", facts.namespace is not None),
        )
        if is_left
    ]
    return (
        f"Left on {facts.node}: {' and '.join(parts)}; the next drill removes it. The cluster, "
        f"hosts.toml and the images of the node were not touched."
    )


def bad_copy(option: Option) -> str:
    """What to type where a source has not what its sidecar says."""
    return _renewal(option.shelf, option.tarball)


def result(
    facts: Facts,
    tried: Iterable[tuple[Candidate, BreakglassError | None]],
    checks: Iterable[readiness.Check],
) -> DrillResult:
    """`tried`: what each source offers, and what is wrong with it."""
    return DrillResult(
        facts.node.name,
        tuple(_source_result(candidate, error) for candidate, error in tried),
        tuple(
            CheckResult(check.name, check.error is None, check.warns, check.detail)
            for check in checks
        ),
    )


def _source_result(candidate: Candidate, error: BreakglassError | None) -> SourceResult:
    option, record = candidate.option, candidate.record
    return SourceResult(
        name=candidate.source,
        tag=option.tarball.tag if option else None,
        sha256=record.sha256 if record else None,
        image_id=record.image_id if record else None,
        via=option.via if option else None,
        ok=error is None,
        error=error.message if error else None,
    )


def _with_containerd(estate: Estate, facts: Facts) -> Facts:
    """Asked only where everything is there to ask with."""
    directory = read_shelf(
        estate.hosts, facts.node, estate.config.nodes.directory, facts.reach.shelf.name
    )
    if readiness.missing(facts.reach.machine, estate.config.nodes):
        return replace(facts, has_directory=directory.present)
    content = facts.readings.content
    disk = read_disk(estate.hosts, facts.node, content) if content else None
    return replace(
        facts,
        has_directory=directory.present,
        namespace=read_namespace(estate.hosts, facts.node, facts.ctr),
        disk=disk,
    )


def _check_room(facts: Facts, tarball: Tarball) -> tuple[str, ...]:
    """Warnings. Raises Refused where the import would leave so little that kubelet begins to delete
    images. `copying` looks after the tarball's own room.
    """
    disk, node, ctr = facts.disk, facts.node, facts.ctr
    if disk is None:
        return (
            (
                f"{node} does not tell where containerd keeps its content "
                f"({' '.join(ctr.command)} plugins ls), so nobody knows whether there is room "
                f"for the import"
            ),
        )
    needed = tarball.size_bytes * (1 + IMPORTED)  # the tarball itself may lie on the same disk
    if disk.free_bytes - needed < FREE_SHARE * disk.size_bytes:
        raise Refused(
            f"no room on containerd's disk on {node}: {disk.free_bytes / 1e6:.0f} MB of "
            f"{disk.size_bytes / 1e6:.0f} free, the import takes about {needed / 1e6:.0f}, "
            f"and with less than {FREE_SHARE:.0%} free kubelet deletes images",
            next_step=(
                f"make room: {node.by_hand('df', '-h', facts.readings.content or '/')}; or "
                f"choose another node: breakglass drill NODE"
            ),
        )
    return ()


def _tidying(facts: Facts) -> tuple[Step, ...]:
    """Removes what a drill that was killed has left, but for the scratch directory itself."""
    node, shelf, found, ctr = facts.node, facts.reach.shelf, facts.namespace, facts.ctr
    steps: list[Step] = []
    if found is not None:
        steps += [_remove_images(node, ctr, found.images)] if found.images else []
        steps += [_remove_leases(node, ctr, found.leases)] if found.leases else []
        steps.append(_remove_namespace(node, ctr))
    steps += tidying(shelf, but=None)
    steps += (removal(shelf, tarball) for tarball in shelf.tarballs)
    # This drill removes the same again when it ends.
    return tuple(replace(step, title=title("leftover:", step.title)) for step in steps)


def _remove_images(node: Host, ctr: Ctr, names: tuple[str, ...]) -> Run:
    """With what only they refer to: `--sync` waits for that. Names that are not there are no fault
    to ctr.
    """
    return Run(
        node,
        (ctr.line("images", "rm", "--sync", *names),),
        REMOVAL_QUIET_SECONDS,
        title=title("remove the images of", ctr.namespace),
    )


def _remove_leases(node: Host, ctr: Ctr, leases: tuple[str, ...]) -> Run:
    return Run(
        node,
        (ctr.line("leases", "rm", "--sync", *leases),),
        REMOVAL_QUIET_SECONDS,
        title=title("remove the leases of", ctr.namespace),
    )


def _remove_namespace(node: Host, ctr: Ctr) -> Run:
    """containerd removes only one that is empty."""
    line: Argv = (*ctr.command, "namespaces", "rm", ctr.namespace)
    return Run(node, (line,), title=title("remove the namespace", ctr.namespace))


def _remove_directory(node: Host, directory: str) -> Run:
    """Only if it is empty; none at all is no fault."""
    return Run(node, (("rm", "-df", "--", directory),), title=title("remove", directory))


def _renewal(shelf: Shelf, tarball: Tarball | None) -> str:
    """What brings a good, new tarball to a source; `tarball`: the one that is to be replaced."""
    if shelf.host.name == "registry-vm":
        return f"breakglass snapshot --tag {tarball.tag if tarball else 'TAG'}"
    bad = (
        f", after the bad copy was removed there: {shelf.host.by_hand('rm', shelf.path(tarball))}"
        if tarball
        else ""
    )
    return f"let the job that mirrors the VM to {shelf.host} run{bad}"
