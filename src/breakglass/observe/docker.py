"""What docker on the registry VM says of itself and of an image it has."""

import re
from dataclasses import dataclass

from breakglass.errors import Refused
from breakglass.plan import Host
from breakglass.ports import Reads, said
from breakglass.shape import whole_number
from breakglass.text import inert


@dataclass(frozen=True)
class Docker:
    version: str
    driver: str
    data_root: str
    free_bytes: int | None
    """On the file system of the data-root; None where that could not be asked."""

    @property
    def save_wants_platform(self) -> bool:
        """With the containerd image store of docker 28 and later, `save` takes every platform it
        has a part of, unless it is given one.
        """
        major = re.match("[0-9]{1,9}", self.version)
        return self.driver == "overlayfs" and major is not None and int(major[0]) >= 28


def read_docker(reads: Reads, host: Host) -> Docker:
    """Raises Refused when its daemon does not answer."""
    result = reads.ask(
        host, ("docker", "info", "--format", "{{.ServerVersion}} {{.Driver}} {{.DockerRootDir}}")
    )
    fields = inert(result.stdout).split(" ", 2)
    if not result.ok or len(fields) != 3:
        raise Refused(
            f"docker on {host} does not answer: {said(result)}",
            next_step=f"start it: {host.by_hand('systemctl', 'start', 'docker')}",
        )
    room = reads.ask(host, ("df", "-Pk", fields[2]))
    columns = room.stdout.decode("utf-8", "replace").splitlines()[-1:]
    free = whole_number("".join(columns[0].split()[3:4])) if room.ok and columns else None
    version, driver, data_root = fields
    return Docker(version, driver, data_root, free_bytes=None if free is None else free * 1024)


def read_local_size(reads: Reads, host: Host, reference: str) -> int | None:
    """Uncompressed bytes of the image that docker has under this name, or None."""
    result = reads.ask(host, ("docker", "image", "inspect", "--format", "{{.Size}}", reference))
    return whole_number(inert(result.stdout)) if result.ok else None
