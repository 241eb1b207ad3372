"""The steps of snapshot that pull, save and publish an image; the refusals before them."""

import json

from breakglass.commands.environment import Identity
from breakglass.commands.image_names import repository_of
from breakglass.commands.order import next_sequence
from breakglass.commands.record_names import foreign_names
from breakglass.commands.snapshot_facts import Facts, Missing
from breakglass.commands.snapshot_pull import how_to_make_room, load_companions, pulls
from breakglass.commands.snapshot_sign import signing
from breakglass.commands.tarball_steps import archive, publish
from breakglass.config import Image
from breakglass.errors import AGAIN, Integrity, Refused, look_first, then
from breakglass.observe.shelf import Tarball
from breakglass.plan import Purpose, Run, Step, title
from breakglass.ports import Result as Ended
from breakglass.ports import said
from breakglass.registry import State

SAVE_QUIET_SECONDS = 300.0
"""The classic store first writes the whole image into the data-root before it prints a byte."""


def save(facts: Facts, image: Image, identity: Identity) -> tuple[Step, ...]:
    """Raises Refused or Integrity where the image cannot be saved."""
    _check_commands(facts)
    _check_published(facts)
    _check_room(facts)
    vm, shelf, copies = facts.vm, facts.shelf, companion_copies(facts)
    wanted = (f"{image.repository}:{facts.tag}", *image.companions)
    pulled = tuple(reference for reference in wanted if reference not in facts.unavailable)
    # First, for a copy of this very tag may be in the tarball.
    loads = (load_companions(shelf, tarball) for tarball in dict.fromkeys(copies.values()))
    pulling = (step for reference in pulled for step in pulls(facts, reference))
    file = image.tarball(facts.tag)
    references, image_ids = (*pulled, *copies), _image_ids(facts)
    saving = _save(facts, file, references, identity)
    images = tuple((reference, image_ids.get(reference)) for reference in references)
    sequence = next_sequence(facts.shelves)
    signed = signing(facts, image, identity, sequence=sequence, images=images)
    return (*loads, *pulling, saving, *signed, publish(vm, shelf.directory, file))


def companion_copies(facts: Facts) -> dict[str, Tarball]:
    """The newest good tarball that has a copy of each companion that cannot be had now. One that
    no tarball has is not among them: it is left out. docker gets no name that is not ours.
    """
    useless = {missing.name for missing in facts.missing} | facts.bad
    configured = [reference for reference, _ in facts.published]
    copies = {}
    for reference in facts.unavailable:
        for tarball in facts.shelf.verified:
            record = tarball.record
            if record is None or tarball.file in useless:
                continue
            ours = (f"{repository_of(configured[0])}:{record.tag}",)
            is_ours = not foreign_names(record, ours, configured)
            if is_ours and reference in dict(record.companions):
                copies[reference] = tarball
                break
    return copies


def missing_companion(facts: Facts, step: Step, ended: Ended) -> Missing | None:
    """What a failed step means for the companions: the image is saved without that one."""
    why = said(ended)
    for reference, _ in facts.published[1:]:
        if step == pulls(facts, reference)[0]:
            return Missing(reference, why)
    for tarball in companion_copies(facts).values():
        if step == load_companions(facts.shelf, tarball):
            return Missing(tarball.file, why)
    return None


def _save(facts: Facts, file: str, references: tuple[str, ...], identity: Identity) -> Run:
    # About as much as the last time: nobody can say before it is compressed.
    about = next((tarball.size_bytes for tarball in facts.shelf.verified), None)
    wants_platform = facts.docker is not None and facts.docker.save_wants_platform
    platform = ("--platform", facts.machine.platform) if wants_platform else ()
    options = (*_write_options(facts, references, identity), *platform)
    look = facts.vm.by_hand("docker", "info")
    return Run(
        facts.vm,
        (
            ("docker", "save", *platform, *references),
            ("pigz",) if "pigz" in facts.machine.commands else ("gzip",),
            archive("write", facts.shelf.directory, file, *options),
        ),
        quiet_seconds=SAVE_QUIET_SECONDS,
        total_bytes=about,
        title=title("save", file),
        purpose=Purpose.TRANSFERS,
        repair=then(
            look,
            AGAIN,
            advice="try again; if it stays so, see whether docker pulls through a mirror",
        ),
    )


def _check_commands(facts: Facts) -> None:
    needed = ("docker", "python3", "bash", "gzip")
    missing = [command for command in needed if command not in facts.machine.commands]
    if missing or facts.docker is None:
        packages = ("docker.io" if name == "docker" else name for name in missing)
        raise Refused(
            f"{facts.vm} has no {', '.join(missing)}",
            next_step=then(facts.vm.by_hand("apt-get", "install", *packages), AGAIN),
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
                next_step="push the image again",
            )
        if served.state is State.LACKS:
            raise Refused(
                f"the registry does not have {reference}",
                next_step=then(f"breakglass check --tag {facts.tag}"),
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
            next_step=look_first(
                facts.vm.by_hand("df", "-h", facts.shelf.directory),
                advice="make room there, then try again",
            ),
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
            next_step=how_to_make_room(facts),
        )


def _write_options(
    facts: Facts, references: tuple[str, ...], identity: Identity
) -> tuple[str, ...]:
    """What `archive write` has to know to check the image and to write the record."""
    known = tuple(
        word
        for reference, image_id in _image_ids(facts).items()
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


def _image_ids(facts: Facts) -> dict[str, str]:
    """Of the images, as far as the registry or a record names them."""
    image_ids = {
        reference: served.image_id for reference, served in facts.published if served.image_id
    }
    for reference, tarball in companion_copies(facts).items():
        if tarball.record is not None:
            image_ids[reference] = dict(tarball.record.companions)[reference]
    return image_ids


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
