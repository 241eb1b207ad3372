"""The steps of snapshot that get, save and publish an image; the refusals before them."""

import json

from breakglass.commands.environment import Identity
from breakglass.commands.order import next_sequence
from breakglass.commands.snapshot_companions import chosen_via, companion_copies
from breakglass.commands.snapshot_docker import check_docker_room, mb, save_with_docker
from breakglass.commands.snapshot_facts import DOCKER, Facts
from breakglass.commands.snapshot_registry import read_from_registry, size_bytes
from breakglass.commands.snapshot_sign import signing
from breakglass.commands.tarball_steps import publish
from breakglass.config import Image
from breakglass.errors import AGAIN, Integrity, Refused, look_first, then
from breakglass.plan import Argv, Step
from breakglass.registry import State


def save(facts: Facts, image: Image, identity: Identity) -> tuple[Step, ...]:
    """Raises Refused or Integrity where the image cannot be saved."""
    is_by_docker, copies = chosen_via(facts) == DOCKER, companion_copies(facts)
    wanted = (f"{image.repository}:{facts.tag}", *image.companions)
    served = tuple(reference for reference in wanted if reference not in facts.unavailable)
    references = (*served, *copies)
    _check_commands(facts, is_by_docker=is_by_docker)
    _check_published(facts)
    _check_room(facts, references, is_by_docker=is_by_docker)
    file, image_ids = image.tarball(facts.tag), _image_ids(facts, references)
    proof = _proof(facts, image_ids, identity)
    saving: tuple[Step, ...] = (
        save_with_docker(facts, file, served, copies, proof)
        if is_by_docker
        else (read_from_registry(facts, file, references, proof),)
    )
    signed = signing(
        facts,
        image,
        identity,
        sequence=next_sequence(facts.shelves),
        images=tuple((reference, image_ids.get(reference)) for reference in references),
    )
    return (*saving, *signed, publish(facts.vm, facts.shelf.directory, file))


def _check_commands(facts: Facts, *, is_by_docker: bool) -> None:
    needed = ("docker", "python3", "bash", "gzip") if is_by_docker else ("python3",)
    missing = [command for command in needed if command not in facts.machine.commands]
    if missing:
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


def _check_room(facts: Facts, references: tuple[str, ...], *, is_by_docker: bool) -> None:
    """Refuses what cannot succeed. docker's tarball is about as large as the newest one."""
    newest = facts.shelf.verified[0].size_bytes if facts.shelf.verified else 0
    known = None if is_by_docker else size_bytes(facts, references)
    needed = newest if known is None else known
    if facts.machine.free_bytes < needed:
        what = "the newest tarball" if needed == newest else "the image"
        raise Refused(
            (
                f"no room in {facts.shelf.directory} on {facts.vm}: "
                f"{mb(facts.machine.free_bytes)} free, {what} has {mb(needed)}"
            ),
            next_step=look_first(
                facts.vm.by_hand("df", "-h", facts.shelf.directory),
                advice="make room there, then try again",
            ),
        )
    if is_by_docker:
        check_docker_room(facts, newest)


def _proof(facts: Facts, image_ids: dict[str, str], identity: Identity) -> Argv:
    """What the content is compared with, and the beginning of the record."""
    known = (f"{reference}={image_id}" for reference, image_id in image_ids.items())
    seed = {
        "tag": facts.tag,
        "sequence": next_sequence(facts.shelves),
        "version": identity.version,
    }
    record = json.dumps(seed, separators=(",", ":"))
    return (*(word for each in known for word in ("--image-id", each)), "--record", record)


def _image_ids(facts: Facts, references: tuple[str, ...]) -> dict[str, str]:
    """Of these, as far as the registry or a record names them."""
    image_ids = {
        reference: served.image_id
        for reference, served in facts.published
        if served.image_id and reference in references
    }
    for reference, tarball in companion_copies(facts).items():
        if tarball.record is not None:
            image_ids[reference] = dict(tarball.record.companions)[reference]
    return image_ids
