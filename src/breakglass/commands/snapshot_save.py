"""The steps of snapshot that pull, save and publish an image, and what a failed pull means."""

import json

from breakglass.commands import Identity, archive, publish
from breakglass.commands.order import next_sequence
from breakglass.commands.snapshot_facts import Facts, Missing
from breakglass.config import Image
from breakglass.errors import BreakglassError, Integrity, Refused, Unreachable
from breakglass.observe.shelf import Tarball
from breakglass.plan import Host, Purpose, Run, Step, title
from breakglass.ports import Result as Ended
from breakglass.ports import said
from breakglass.registry import State

SAVE_QUIET_SECONDS = 300.0
"""The classic store first writes the whole image into the data-root before it prints a byte."""
PULL_QUIET_SECONDS = 600.0
"""docker prints nothing while a layer comes in; a layer may be large and the line slow."""


def save(facts: Facts, image: Image, identity: Identity) -> tuple[Step, ...]:
    """Raises Refused or Integrity where the image cannot be saved."""
    _check_commands(facts)
    _check_published(facts)
    _check_room(facts)
    vm, shelf, file = facts.vm, facts.shelf, image.tarball(facts.tag)
    unavailable, copies = facts.unavailable, companion_copies(facts)
    wanted = (f"{image.repository}:{facts.tag}", *image.companions)
    pulled = tuple(reference for reference in wanted if reference not in unavailable)
    references = (*pulled, *copies)
    # About as much as the last time: nobody can say before it is compressed.
    about = next((tarball.size_bytes for tarball in shelf.verified), None)
    wants_platform = facts.docker is not None and facts.docker.save_wants_platform
    platform = ("--platform", facts.machine.platform) if wants_platform else ()
    saving = Run(
        vm,
        (
            ("docker", "save", *platform, *references),
            ("pigz",) if "pigz" in facts.machine.commands else ("gzip",),
            archive(
                "write",
                shelf.directory,
                file,
                *_write_options(facts, references, identity),
                *platform,
            ),
        ),
        quiet_seconds=SAVE_QUIET_SECONDS,
        total_bytes=about,
        title=title("save", file),
        purpose=Purpose.TRANSFERS,
        repair=(
            f"run the same command again; if it stays so, see whether docker pulls through a "
            f"mirror: {vm.by_hand('docker', 'info')}"
        ),
    )
    # First, for a copy of this very tag may be in the tarball.
    loads = (_load(vm, shelf.path(tarball)) for tarball in dict.fromkeys(copies.values()))
    pulls = (_pull(vm, reference) for reference in pulled)
    return (*loads, *pulls, saving, publish(vm, shelf.directory, file))


def companion_copies(facts: Facts) -> dict[str, Tarball]:
    """The newest good tarball that has a copy of each companion that cannot be had now. One that
    no tarball has is not among them: it is left out.
    """
    useless = {missing.name for missing in facts.missing} | facts.bad
    copies = {}
    for reference in facts.unavailable:
        for tarball in facts.shelf.verified:
            record = tarball.record
            if record and tarball.file not in useless and reference in dict(record.companions):
                copies[reference] = tarball
                break
    return copies


def missing_companion(facts: Facts, step: Step, ended: Ended) -> Missing | None:
    """What a failed step means for the companions: the image is saved without that one."""
    why = said(ended)
    for reference, _ in facts.published[1:]:
        if step == _pull(facts.vm, reference):
            return Missing(reference, why)
    for tarball in companion_copies(facts).values():
        if step == _load(facts.vm, facts.shelf.path(tarball)):
            return Missing(tarball.file, why)
    return None


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
            next_step=_make_room_for_docker(facts),
        )
    return Unreachable(f"docker pull {reference} failed: {words}", state=state, next_step=retry)


def _check_commands(facts: Facts) -> None:
    needed = ("docker", "python3", "bash", "gzip")
    missing = [command for command in needed if command not in facts.machine.commands]
    if missing or facts.docker is None:
        packages = ("docker.io" if name == "docker" else name for name in missing)
        raise Refused(
            f"{facts.vm} has no {', '.join(missing)}",
            next_step=f"install it: {facts.vm.by_hand('apt-get', 'install', *packages)}",
        )


def _check_published(facts: Facts) -> None:
    """Raises Integrity where the registry's image is broken, Refused where it lacks the tag. A
    companion that cannot be had does not cost the image.
    """
    for reference, served in facts.published[:1]:
        if served.state is State.BROKEN:
            raise Integrity(
                f"{reference}: the registry answers but the image is broken, missing "
                f"{', '.join(served.missing)}: {served.detail}",
                next_step="push the image again, then snapshot",
            )
        if served.state is State.LACKS:
            raise Refused(
                f"the registry does not have {reference}",
                next_step=f"breakglass check --tag {facts.tag}",
            )


def _check_room(facts: Facts) -> None:
    """Refuses what cannot succeed: the tarball is about as large as the newest one, and the classic
    store's save first writes the whole image into the data-root; the containerd store lies in
    containerd's directory.
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
    docker = facts.docker
    if docker is None or docker.free_bytes is None:
        return
    if docker.containerd_root:
        # Saving writes nothing there; pulling at least what is in a tarball.
        needed = newest if facts.local_size_bytes is None else 0
        what = "pulling writes at least"
    else:
        needed = facts.local_size_bytes or 0
        what = "saving first writes"
    if docker.free_bytes < needed:
        raise Refused(
            (
                f"no room for docker in {docker.directory} on {facts.vm}: "
                f"{_mb(docker.free_bytes)} free, {what} {_mb(needed)} there"
            ),
            next_step=_make_room_for_docker(facts),
        )


def _make_room_for_docker(facts: Facts) -> str:
    """`docker image prune` would free nothing of ours: every image that was pulled has a tag."""
    repository = facts.published[0][0].rpartition(":")[0]
    kept = {tarball.tag for tarball in facts.shelf.tarballs} | {facts.tag, "latest"}
    old = [
        f"{repository}:{tag}"
        for tag in facts.local.tags
        if tag not in kept and facts.local.has_unused(repository, tag)
    ]
    if old:
        line = facts.vm.by_hand("docker", "image", "rm", *old[:10])
        return f"make room: images that no tarball is kept of: {line}"
    return f"make room: see what takes it: {facts.vm.by_hand('docker', 'system', 'df')}"


def _write_options(
    facts: Facts, references: tuple[str, ...], identity: Identity
) -> tuple[str, ...]:
    """What `archive write` has to know to check the image and to write the record."""
    image_ids = {
        reference: served.image_id for reference, served in facts.published if served.image_id
    }
    for reference, tarball in companion_copies(facts).items():
        if tarball.record is not None:
            image_ids[reference] = dict(tarball.record.companions)[reference]
    known = tuple(
        word
        for reference, image_id in image_ids.items()
        if reference in references
        for word in ("--image-id", f"{reference}={image_id}")
    )
    companions = tuple(word for reference in references[1:] for word in ("--companion", reference))
    seed = {
        "tag": facts.tag,
        "sequence": next_sequence(facts.shelves),
        "version": identity.version,
    }
    record = json.dumps(seed, separators=(",", ":"))
    return ("--reference", references[0], *companions, *known, "--record", record)


def _pull(vm: Host, reference: str) -> Run:
    return Run(
        vm,
        (("docker", "pull", reference),),
        quiet_seconds=PULL_QUIET_SECONDS,
        title=title("pull", reference),
        purpose=Purpose.PREPARES,
    )


def _load(vm: Host, path: str) -> Run:
    """docker gets the images of a tarball: the companions among them are needed again."""
    return Run(
        vm,
        (("gzip", "-dc", path), ("docker", "load")),
        quiet_seconds=PULL_QUIET_SECONDS,
        title=title("load the companions of", path.rpartition("/")[2]),
        purpose=Purpose.PREPARES,
    )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
