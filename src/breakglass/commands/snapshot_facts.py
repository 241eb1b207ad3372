"""What snapshot reads: the registry VM, its docker, its tarballs and what the registry serves."""

from dataclasses import dataclass, field, replace
from functools import partial

from breakglass.commands.environment import Environment, Unread
from breakglass.config import Registry
from breakglass.deadline import together
from breakglass.errors import Refused
from breakglass.observe.docker import (
    Docker,
    LocalImages,
    read_docker,
    read_local_images,
    read_local_size,
)
from breakglass.observe.machine import Machine, read_hashes, read_machine
from breakglass.observe.shelf import Shelf, Tarball
from breakglass.plan import Host
from breakglass.registry import ImageId, State

LACKS_IT = {State.LACKS: "does not have it", State.BROKEN: "has it broken"}
COMMANDS = ("docker", "python3", "bash", "gzip", "pigz", "sha256sum")
AUTO, REGISTRY, DOCKER = "auto", "registry", "docker"
"""Who gets the image: the VM itself reads it from the registry, or docker pulls and saves it."""


@dataclass(frozen=True)
class Missing:
    """What this run has tried and could not have: a companion, a tarball whose copies docker could
    not load, or the image from the registry without docker.
    """

    name: str
    """The reference, the file, or REGISTRY."""
    why: str


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
    fallbacks: tuple[Shelf | Unread, ...] = ()
    local: LocalImages = field(default_factory=LocalImages)
    """What docker has of the image's repository."""
    missing: tuple[Missing, ...] = ()
    via: str = AUTO
    """What was asked for."""
    registries: tuple[Registry, ...] = ()
    """Those of the configuration: they say where a reference is served."""
    signing: bytes | Refused | None = None
    """The public key that records are signed with, or why it cannot be used."""

    @property
    def bad(self) -> frozenset[str]:
        """Files that count as verified by their sidecars and whose content is something else."""
        return frozenset(
            tarball.file
            for tarball in self.shelf.verified
            if tarball.record
            and self.hashes.get((tarball.file, tarball.size_bytes), tarball.record.sha256)
            != tarball.record.sha256
        )

    @property
    def unavailable(self) -> dict[str, str]:
        """The companions that cannot be had now, and why."""
        asked = {
            reference: f"the registry {LACKS_IT[served.state]}"
            for reference, served in self.published[1:]
            if served.state in LACKS_IT
        }
        references = [reference for reference, _ in self.published[1:]]
        tried = {each.name: each.why for each in self.missing if each.name in references}
        return {**asked, **tried}

    @property
    def refusal(self) -> str:
        """Why the VM could not read from the registry itself; empty: it can, or was not asked."""
        return next((each.why for each in self.missing if each.name == REGISTRY), "")

    @property
    def shelves(self) -> tuple[Shelf, ...]:
        """Of the VM, and of the fallbacks that answered."""
        return (self.shelf, *(each for each in self.fallbacks if isinstance(each, Shelf)))


def observe(
    environment: Environment, *, tag: str, via: str = AUTO, missing: tuple[Missing, ...] = ()
) -> Facts:
    vm, directory, image = (
        environment.registry_vm,
        environment.config.registry_vm.directory,
        environment.config.image,
    )
    environment.note(f"looking at {vm} ({vm.ssh})")
    machine = read_machine(environment.hosts, vm, (directory,), COMMANDS)
    docker = _docker(environment, machine, via=via)
    shelf = environment.shelf(vm, directory)
    references = (f"{image.repository}:{tag}", *image.companions)
    published = tuple(
        (reference, environment.image_id(reference, machine.platform)) for reference in references
    )
    local_size = read_local_size(environment.hosts, vm, references[0]) if docker else None
    facts = Facts(vm, machine, docker, shelf, tag, published, local_size, {})
    facts = replace(
        facts,
        via=via,
        missing=missing,
        registries=environment.config.registries,
        signing=environment.signing_key(),
        fallbacks=_fallbacks(environment),
    )
    if docker:
        local = read_local_images(environment.hosts, vm, image.repository)
        facts = replace(facts, local=local)
    return _hashed(environment, facts)


def _docker(environment: Environment, machine: Machine, *, via: str) -> Docker | None:
    """None where there is none, or where it does not answer and is not asked for."""
    if "docker" not in machine.commands:
        return None
    try:
        return read_docker(environment.hosts, machine.host)
    except Refused:
        if via == DOCKER:
            raise
        return None


def _fallbacks(environment: Environment) -> tuple[Shelf | Unread, ...]:
    asked = [partial(environment.source, *fallback) for fallback in environment.sources[1:]]
    return tuple(answer for answer in together(asked) if answer is not None)


def observe_again(environment: Environment, facts: Facts, *, saved: bool) -> Facts:
    """The shelf read anew. `saved`: this run has just saved the tag; what the registry serves is
    not asked again, and the content of what is there is read back.
    """
    shelf = environment.shelf(facts.vm, facts.shelf.directory)
    wanted = shelf.find(facts.tag)
    known = {
        key: value
        for key, value in facts.hashes.items()
        if not (saved and wanted and key[0] == wanted.file)
    }
    return _hashed(
        environment,
        replace(facts, shelf=shelf, hashes=known, published=() if saved else facts.published),
    )


def is_published(facts: Facts, present: Tarball | None) -> bool:
    """Whether the tarball under this tag holds what the registry serves now. False where
    the registry could not be asked; after this run has saved the tag, it is not asked again.
    """
    if present is None or present.record is None or not present.verified:
        return False
    if present.file in facts.bad:
        return False
    if facts.signing is not None and not present.signature.fits:
        return False
    if not facts.published:
        return True
    (_, image), *companions = facts.published
    recorded, unavailable = dict(present.record.companions), facts.unavailable
    digests = dict(present.record.digests)
    if any(
        served.digest is not None and digests.get(reference, served.digest) != served.digest
        for reference, served in facts.published
        if reference not in unavailable
    ):
        return False  # the same image under a new index: pods may name it by that digest
    return image.image_id == present.record.image_id and all(
        companion.image_id is not None and recorded.get(reference) == companion.image_id
        for reference, companion in companions
        if reference not in unavailable
    )


def _hashed(environment: Environment, facts: Facts) -> Facts:
    """Hashes the wanted tarball, what `latest` means, and the newest until one is good, for that is
    what `latest` is to mean; before one goes, all: a bad one does not count and is left alone.
    """
    shelf, keep = facts.shelf, environment.config.registry_vm.keep
    adding = not is_published(facts, shelf.find(facts.tag))
    rotates = len(shelf.verified) + adding > keep
    tags = (facts.tag, shelf.latest)
    batch = [tarball for tarball in shelf.verified if rotates or tarball.tag in tags]
    while batch:
        batch = [
            tarball for tarball in batch if (tarball.file, tarball.size_bytes) not in facts.hashes
        ]
        if batch:
            facts = _hash(environment, facts, batch)
            batch = [tarball for tarball in shelf.verified if tarball.file not in facts.bad][:1]
    return facts


def _hash(environment: Environment, facts: Facts, tarballs: list[Tarball]) -> Facts:
    shelf, count = facts.shelf, len(tarballs)
    environment.note(f"reading back {count} tarball{'' if count == 1 else 's'} on {shelf.host}")
    hashes = read_hashes(environment.hosts, shelf.host, tuple(map(shelf.path, tarballs)))
    new = {
        (tarball.file, tarball.size_bytes): hashes.get(shelf.path(tarball), "unreadable")
        for tarball in tarballs
    }
    return replace(facts, hashes=facts.hashes | new)
