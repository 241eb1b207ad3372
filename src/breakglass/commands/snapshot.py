"""snapshot: pull, save, compress, verify, publish, re-point `latest`, rotate. All of it on the
registry VM.
"""

import json
from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands import (
    Estate,
    Identity,
    archive,
    enter,
    publish,
    removal,
    repoint,
    tidying,
)
from breakglass.commands.job import Job
from breakglass.config import Image, RegistryVm
from breakglass.errors import BreakglassError, Integrity, Refused, Unreachable
from breakglass.observe.docker import Docker, read_docker, read_local_size
from breakglass.observe.machine import Machine, read_hashes, read_machine
from breakglass.observe.shelf import Shelf, Tarball, read_shelf
from breakglass.plan import Argv, Host, Plan, Purpose, Run, Step, title
from breakglass.ports import Result as Ended
from breakglass.ports import said
from breakglass.registry import ImageId

COMMANDS = ("docker", "python3", "bash", "gzip", "pigz", "sha256sum")
SAVE_QUIET_SECONDS = 300.0
"""The classic store first writes the whole image into the data-root before it prints a byte."""
PULL_QUIET_SECONDS = 600.0
"""docker prints nothing while a layer comes in; a layer may be large and the line slow."""


@dataclass(frozen=True)
class SnapshotResult:
    tag: str
    image_id: str | None
    sha256: str | None
    size_bytes: int | None
    removed: tuple[str, ...]
    """Tags that the rotation removed."""


@dataclass(frozen=True)
class Facts:
    vm: Host
    machine: Machine
    docker: Docker | None
    shelf: Shelf
    tag: str
    published: tuple[tuple[str, ImageId], ...]
    """(reference, what the registry says of it now): the image first, then the companions."""
    local_size_bytes: int | None
    hashes: dict[tuple[str, int], str]
    """(file, size in bytes) -> sha256 of the content, of the tarballs that were hashed."""

    @property
    def bad(self) -> frozenset[str]:
        """Files that count as verified by their sidecars and whose content is something else."""
        return frozenset(
            one.file
            for one in self.shelf.verified
            if one.record
            and self.hashes.get((one.file, one.size_bytes), one.record.sha256) != one.record.sha256
        )


def job(estate: Estate, *, tag: str) -> Job[Facts]:
    config = estate.config
    return Job(
        observe=partial(observe, estate, tag=tag),
        decide=partial(
            plan, image=config.image, settings=config.registry_vm, identity=estate.identity
        ),
        observe_again=partial(observe_again, estate, saved=False),
        observe_after=partial(observe_again, estate, saved=True),
        state=state,
        explain=lambda facts, step, ended: explain(step, ended, facts=facts),
    )


def observe(estate: Estate, *, tag: str) -> Facts:
    vm, directory, image = (
        estate.registry_vm,
        estate.config.registry_vm.directory,
        estate.config.image,
    )
    estate.note(f"looking at {vm} ({vm.ssh})")
    machine = read_machine(estate.hosts, vm, directory, COMMANDS)
    docker = read_docker(estate.hosts, vm) if "docker" in machine.commands else None
    shelf = read_shelf(estate.hosts, vm, directory, image.name)
    references = (f"{image.repository}:{tag}", *image.companions)
    published = tuple(
        (reference, estate.image_id(reference, machine.platform)) for reference in references
    )
    local_size = read_local_size(estate.hosts, vm, references[0]) if docker else None
    return _hashed(estate, Facts(vm, machine, docker, shelf, tag, published, local_size, {}))


def observe_again(estate: Estate, facts: Facts, *, saved: bool) -> Facts:
    """The shelf read anew. `saved`: this run has just saved the tag; what the registry serves is
    not asked again, and the content of what is there is read back.
    """
    shelf = read_shelf(estate.hosts, facts.vm, facts.shelf.directory, facts.shelf.name)
    wanted = shelf.find(facts.tag)
    known = {
        key: value
        for key, value in facts.hashes.items()
        if not (saved and wanted and key[0] == wanted.file)
    }
    return _hashed(
        estate,
        replace(facts, shelf=shelf, hashes=known, published=() if saved else facts.published),
    )


def plan(facts: Facts, *, image: Image, settings: RegistryVm, identity: Identity) -> Plan:
    """Raises Refused, Unreachable or Integrity where it cannot be done."""
    shelf, file = facts.shelf, image.tarball(facts.tag)
    if shelf.latest_file in shelf.foreign:
        raise Refused(
            f"{shelf.path_of_latest} on {facts.vm} is not a link",
            next_step=(
                f"see what it is, then move it away: "
                f"{facts.vm.by_hand('ls', '-la', shelf.path_of_latest)}"
            ),
        )
    if file in shelf.foreign:
        raise Refused(
            f"{shelf.directory}/{file} on {facts.vm} is not a regular file",
            next_step=(
                f"see what it is, then move it away: "
                f"{facts.vm.by_hand('ls', '-la', shelf.directory + '/' + file)}"
            ),
        )
    present = shelf.find(facts.tag)
    is_done = _is_published(facts, present)
    saving = () if is_done else _saving(facts, image, identity)
    finishing = _finishing(facts, present) if is_done else ()
    newest = (
        facts.tag
        if not is_done
        else next(
            (tarball.tag for tarball in shelf.verified if tarball.file not in facts.bad), None
        )
    )
    pointing = (
        ()
        if newest is None or shelf.latest == newest
        else repoint(facts.vm, shelf.directory, shelf.name, image.tarball(newest))
    )
    discarding = tidying(shelf, but=None if is_done else file)
    # By then `latest` means the newest: what it meant before may go, in a run that was cut short
    # between the two as well.
    pointed = facts if newest is None else replace(facts, shelf=replace(shelf, latest=newest))
    rotating = tuple(
        removal(facts.shelf, tarball)
        for tarball in rotation(pointed, keep=settings.keep, adding=not is_done)
    )
    steps = (*discarding, *saving, *finishing, *pointing, *rotating)
    goal = (
        f"{facts.vm}:{shelf.directory}/{file} is verified and published; latest is {newest}; the "
        f"newest {settings.keep} stay"
    )
    if not steps:
        return Plan(goal)
    return Plan(
        goal,
        (*enter(facts.vm, shelf.directory, identity, present=shelf.present), *steps),
        warnings=_warnings(facts),
    )


def rotation(facts: Facts, *, keep: int, adding: bool) -> tuple[Tarball, ...]:
    """The tarballs that go: verified ones beyond the newest `keep` whose content is good, oldest
    first; never what `latest` means or what was asked for.
    """
    others = [
        tarball for tarball in facts.shelf.verified if not (adding and tarball.tag == facts.tag)
    ]
    good = int(adding)
    gone = []
    for tarball in others:
        if tarball.file in facts.bad:
            continue
        if (
            good >= keep
            and tarball.tag != facts.tag
            and (adding or tarball.tag != facts.shelf.latest)
        ):
            gone.append(tarball)
        good += 1
    return tuple(reversed(gone))


def result(facts: Facts, done: Plan, *, before: Facts) -> SnapshotResult:
    """`before`: what the plan was made for."""
    tarball = facts.shelf.find(facts.tag)
    record = tarball.record if tarball else None
    removals = {removal(before.shelf, each): each.tag for each in before.shelf.tarballs}
    return SnapshotResult(
        tag=facts.tag,
        image_id=record.image_id if record else None,
        sha256=record.sha256 if record else None,
        size_bytes=record.size_bytes if record else None,
        removed=tuple(removals[step] for step in done.steps if step in removals),
    )


def explain(step: Step, ended: Ended, *, facts: Facts) -> BreakglassError | None:
    """What a failed pull means. docker says the same words for a missing tag and for an index that
    lost its child: the registry was asked before.
    """
    pulls = {_pull(facts.vm, reference): reference for reference, _ in facts.published}
    if step not in pulls:
        return None
    reference, words = pulls[step], said(ended)
    state = (
        "Nothing was changed: no tarball was touched. A copy that docker has locally was not used."
    )
    retry = f"breakglass check --tag {facts.tag}"
    if ended.exit_status is None:
        return Unreachable(
            f"docker pull {reference} did not end: {words}", state=state, next_step=retry
        )
    lowered = words.lower()
    if any(
        sign in lowered for sign in ("manifest unknown", "repository name not known")
    ) or lowered.endswith(": not found"):
        return Refused(
            f"the registry does not have {reference}: {words}", state=state, next_step=retry
        )
    if "no space left" in lowered:
        return Refused(
            f"docker pull {reference}: no room left on {facts.vm}: {words}",
            state=state,
            next_step=f"make room: {facts.vm.by_hand('df', '-h')}",
        )
    return Unreachable(f"docker pull {reference} failed: {words}", state=state, next_step=retry)


def state(facts: Facts) -> str:
    """What the shelf holds, for the error block."""
    shelf = facts.shelf
    count = len(shelf.verified)
    return (
        f"On {facts.vm}: {count} verified tarball{'' if count == 1 else 's'}; latest "
        f"{'is ' + shelf.latest if shelf.latest else shelf.latest_fault}."
    )


def _is_published(facts: Facts, present: Tarball | None) -> bool:
    """Whether the tarball under this tag holds what the registry serves now; False where the
    registry could not be asked.
    """
    if (
        present is None
        or present.record is None
        or not present.verified
        or present.file in facts.bad
    ):
        return False
    if not facts.published:
        return True
    (_, image), *companions = facts.published
    told = dict(present.record.companions)
    return image.image_id == present.record.image_id and all(
        found.image_id is not None and told.get(reference) == found.image_id
        for reference, found in companions
    )


def _saving(facts: Facts, image: Image, identity: Identity) -> tuple[Step, ...]:
    vm, shelf, file = facts.vm, facts.shelf, image.tarball(facts.tag)
    missing = [
        command
        for command in ("docker", "python3", "bash", "gzip")
        if command not in facts.machine.commands
    ]
    if missing or facts.docker is None:
        packages = ("docker.io" if name == "docker" else name for name in missing)
        raise Refused(
            f"{vm} has no {', '.join(missing)}",
            next_step=f"install it: {vm.by_hand('apt-get', 'install', *packages)}",
        )
    for reference, found in facts.published:
        if found.state == "broken":
            raise Integrity(
                (
                    f"{reference}: the registry answers but the image is broken, missing "
                    f"{', '.join(found.missing)}: {found.detail}"
                ),
                next_step="push the image again, then snapshot",
            )
        if found.state == "lacks the tag":
            raise Refused(
                f"the registry does not have {reference}",
                next_step=f"breakglass check --tag {facts.tag}",
            )
    _check_room(facts)
    references = tuple(reference for reference, _ in facts.published) or (
        f"{image.repository}:{facts.tag}",
        *image.companions,
    )
    known = tuple(
        word
        for reference, found in facts.published
        if found.image_id
        for word in ("--image-id", f"{reference}={found.image_id}")
    )
    seed = {
        "tag": facts.tag,
        "sequence": max((0, *(tarball.sequence for tarball in shelf.tarballs))) + 1,
        "version": identity.version,
    }
    companions = tuple(word for reference in references[1:] for word in ("--companion", reference))
    write = archive(
        "write",
        shelf.directory,
        file,
        "--reference",
        references[0],
        *companions,
        *known,
        "--record",
        json.dumps(seed, separators=(",", ":")),
    )
    compress = ("pigz",) if "pigz" in facts.machine.commands else ("gzip",)
    platform = ("--platform", facts.machine.platform) if facts.docker.save_wants_platform else ()
    save: Argv = ("docker", "save", *platform, *references)
    pulls = tuple(_pull(vm, reference) for reference in references)
    # About as much as the last time: nobody can say before it is compressed.
    about = next((tarball.size_bytes for tarball in shelf.verified), None)
    return (
        *pulls,
        Run(
            vm,
            (save, compress, write),
            quiet_seconds=SAVE_QUIET_SECONDS,
            total_bytes=about,
            title=title("save", file),
            purpose=Purpose.TRANSFERS,
            is_script=True,
        ),
        publish(vm, shelf.directory, file),
    )


def _pull(vm: Host, reference: str) -> Run:
    return Run(
        vm,
        (("docker", "pull", reference),),
        quiet_seconds=PULL_QUIET_SECONDS,
        title=title("pull", reference),
        purpose=Purpose.PREPARES,
    )


def _finishing(facts: Facts, present: Tarball | None) -> tuple[Step, ...]:
    """A replacement that was cut short after the rename: its sidecars still tell the tarball
    that is gone.
    """
    if present is None or not present.being_replaced:
        return ()
    return (publish(facts.vm, facts.shelf.directory, present.file),)


def _check_room(facts: Facts) -> None:
    """Refuses what cannot succeed: the tarball is about as large as the newest one, and the classic
    store's save first writes the whole image into the data-root.
    """
    newest = facts.shelf.verified[0].size_bytes if facts.shelf.verified else 0
    if facts.machine.free_bytes < newest:
        raise Refused(
            (
                f"no room in {facts.shelf.directory} on {facts.vm}: "
                f"{_mb(facts.machine.free_bytes)} free, the newest tarball has {_mb(newest)}"
            ),
            next_step=f"make room: {facts.vm.by_hand('df', '-h', facts.shelf.directory)}",
        )
    if (
        facts.docker
        and facts.docker.free_bytes is not None
        and facts.local_size_bytes is not None
        and facts.docker.free_bytes < facts.local_size_bytes
    ):
        raise Refused(
            (
                f"no room in docker's data-root {facts.docker.data_root} on {facts.vm}: "
                f"{_mb(facts.docker.free_bytes)} free, saving writes "
                f"{_mb(facts.local_size_bytes)} there first"
            ),
            next_step=f"make room: {facts.vm.by_hand('docker', 'image', 'prune')}",
        )


def _warnings(facts: Facts) -> tuple[str, ...]:
    unasked = [
        (
            f"{reference}: the registry could not be asked from here what the tag is now "
            f"({found.detail})"
        )
        for reference, found in facts.published
        if found.image_id is None
    ]
    bad = [
        (
            f"{facts.shelf.directory}/{file}: its content is not what its sidecar says; it does "
            f"not count and is left alone"
        )
        for file in sorted(facts.bad)
    ]
    return (*unasked, *bad)


def _hashed(estate: Estate, facts: Facts) -> Facts:
    """Hashes the wanted tarball, what `latest` means, and the newest until one is good, for that is
    what `latest` is to mean; before one goes, all: a bad one does not count and is left alone.
    """
    shelf, keep = facts.shelf, estate.config.registry_vm.keep
    adding = not _is_published(facts, shelf.find(facts.tag))
    rotates = len(shelf.verified) + adding > keep
    batch = [one for one in shelf.verified if rotates or one.tag in (facts.tag, shelf.latest)]
    while batch:
        batch = [one for one in batch if (one.file, one.size_bytes) not in facts.hashes]
        if batch:
            estate.note(
                f"reading back {len(batch)} tarball{'' if len(batch) == 1 else 's'} on {shelf.host}"
            )
            found = read_hashes(estate.hosts, shelf.host, tuple(shelf.path(one) for one in batch))
            facts = replace(
                facts,
                hashes=facts.hashes
                | {
                    (one.file, one.size_bytes): found.get(shelf.path(one), "unreadable")
                    for one in batch
                },
            )
        batch = [one for one in shelf.verified if one.file not in facts.bad][:1] if batch else []
    return facts


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
