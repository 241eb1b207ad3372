"""What docker on the registry VM says of itself and of an image it has."""

import re
from dataclasses import dataclass

from breakglass.errors import AGAIN, Refused, then
from breakglass.observe.listing import TAG
from breakglass.plan import Host
from breakglass.ports import Reads, said
from breakglass.shape import whole_number
from breakglass.text import inert

CONTAINERD_STORE = "overlayfs"
"""What docker calls its driver there; the classic one is overlay2."""


@dataclass(frozen=True)
class Docker:
    version: str
    driver: str
    data_root: str
    free_bytes: int | None
    """On the file system of `directory`; None where that could not be asked."""
    containerd_root: str = ""
    """containerd's directory, where docker has the containerd image store."""

    @property
    def directory(self) -> str:
        """Where images are written to."""
        return self.containerd_root or self.data_root

    @property
    def save_wants_platform(self) -> bool:
        """With the containerd image store of docker 28 and later, `save` takes every platform it
        has a part of, unless it is given one.
        """
        major = re.match("[0-9]{1,9}", self.version)
        return self.driver == CONTAINERD_STORE and major is not None and int(major[0]) >= 28


@dataclass(frozen=True)
class LocalImages:
    """What docker has of a repository."""

    tags: tuple[str, ...] = ()
    used: frozenset[str] = frozenset()
    """References that a container was made of, running or not: docker does not remove these."""

    def has_unused(self, repository: str, tag: str) -> bool:
        return tag in self.tags and f"{repository}:{tag}" not in self.used


def read_docker(reads: Reads, host: Host) -> Docker:
    """Raises Refused when its daemon does not answer."""
    result = reads.ask(
        host, ("docker", "info", "--format", "{{.ServerVersion}} {{.Driver}} {{.DockerRootDir}}")
    )
    fields = inert(result.stdout).split(" ", 2)
    if not result.ok or len(fields) != 3:
        raise Refused(
            f"docker on {host} does not answer: {said(result)}",
            next_step=then(host.by_hand("systemctl", "start", "docker"), AGAIN),
        )
    version, driver, data_root = fields
    root = _containerd_root(reads, host, data_root) if driver == CONTAINERD_STORE else ""
    room = reads.ask(host, ("df", "-Pk", root or data_root))
    columns = room.stdout.decode("utf-8", "replace").splitlines()[-1:]
    free = whole_number("".join(columns[0].split()[3:4])) if room.ok and columns else None
    return Docker(version, driver, data_root, None if free is None else free * 1024, root)


def _containerd_root(reads: Reads, host: Host, data_root: str) -> str:
    """The directory of the containerd that docker uses: its own one, or the system's."""
    address = reads.ask(host, ("docker", "info", "--format", "{{.Containerd.Address}}"))
    if address.ok and "/docker/" in inert(address.stdout):
        return f"{data_root}/containerd/daemon"
    configuration = reads.ask(host, ("containerd", "config", "dump"))
    root = re.search(rb"""(?m)^root *= *["'](/[^"'\n]+)["']""", configuration.stdout)
    return inert(root[1]) if configuration.ok and root else "/var/lib/containerd"


def read_local_images(reads: Reads, host: Host, repository: str) -> LocalImages:
    """What docker has of a repository; nothing where it does not say."""
    images = reads.ask(host, ("docker", "image", "ls", "--format", "{{.Tag}}", repository))
    containers = reads.ask(host, ("docker", "ps", "--all", "--format", "{{.Image}}"))
    if not (images.ok and containers.ok):
        return LocalImages()
    tags, used = (
        result.stdout.decode("utf-8", "replace").split() for result in (images, containers)
    )
    return LocalImages(tuple(tag for tag in tags if TAG.fullmatch(tag)), frozenset(used))


def read_local_size(reads: Reads, host: Host, reference: str) -> int | None:
    """Uncompressed bytes of the image that docker has under this name, or None."""
    result = reads.ask(host, ("docker", "image", "inspect", "--format", "{{.Size}}", reference))
    return whole_number(inert(result.stdout)) if result.ok else None
