"""Which docker the registry VM runs: each test may choose."""

import json
from dataclasses import dataclass
from pathlib import Path

from .host import Host
from .roles import LAB


@dataclass(frozen=True)
class Docker:
    """A docker with its containerd, as directories of the cache (none: the machine's own), and
    where it keeps images.
    """

    name: str
    directories: tuple[str, ...] = ()
    containerd_store: bool = False


OLD = Docker("20.10")
CLASSIC = Docker("28", ("docker-sid", "docker-cli-sid", "containerd-sid"))
STORE = Docker("28-containerd", CLASSIC.directories, containerd_store=True)
VARIANTS = (OLD, CLASSIC, STORE)
DEFAULT = OLD
CONFIGURATION = "/etc/docker/daemon.json"
"""It differs for each of them, so it says which one runs."""
PROGRAMS = "/usr/local/sbin"
"""First in PATH, and empty but for what is linked here."""


def configuration(docker: Docker) -> str:
    """daemon.json: no networks, and which store."""
    features = (
        {"features": {"containerd-snapshotter": docker.containerd_store}}
        if docker.directories
        else {}
    )
    return json.dumps({"bridge": "none", "iptables": False, "ip6tables": False} | features)


def use(vm: Host, docker: Docker) -> None:
    """Run this docker on the VM, with nothing in its stores; quick where it runs already."""
    file = vm.path(CONFIGURATION)
    if file.exists() and file.read_text() == configuration(docker):
        return
    file.unlink(missing_ok=True)
    for daemon in ("dockerd", "containerd"):
        vm.stop(daemon)
    vm.run("sh", "-c", "rm -rf /var/lib/docker/* /var/lib/containerd/*")
    for link in vm.path(PROGRAMS).iterdir():
        link.unlink()
    for directory in docker.directories:
        for program in programs(vm, directory):
            vm.path(f"{PROGRAMS}/{program.name}").symlink_to(f"/{program}")
    vm.write(CONFIGURATION, configuration(docker))
    for daemon in ("containerd", "dockerd"):
        vm.start(daemon)


def programs(vm: Host, directory: str) -> list[Path]:
    """What a directory of the cache has in usr/bin and usr/sbin, as paths of the host without the
    leading slash.
    """
    root = vm.path("/")
    return [
        path.relative_to(root)
        for part in ("bin", "sbin")
        for path in root.glob(f"{LAB.strip('/')}/{directory}/usr/{part}/*")
    ]
