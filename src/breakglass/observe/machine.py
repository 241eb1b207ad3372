"""What a host has: commands, architecture, room. The same questions for the registry VM and for a
node.
"""

import re
from dataclasses import dataclass

from breakglass.errors import Unreachable, look_first
from breakglass.plan import Host
from breakglass.ports import Reads, said
from breakglass.shape import whole_number

# Room is asked of the nearest directory that exists.
_SCRIPT = """
uname -m
d=$1; shift
while [ ! -d "$d" ]; do d=${d%/*}; d=${d:-/}; done
df -Pk "$d" | { read -r _; read -r _ _ _ free _; echo "$free"; }
for c in "$@"; do
command -v "$c" >/dev/null 2>&1 || continue
if [ "$c" = python3 ]; then
v=$(python3 -IS -c "import sys; print(*sys.version_info[:2])" 2>/dev/null) || continue
echo "python3 $v"
else echo "$c"; fi
done
echo end
"""
_PYTHON = re.compile("python3 ([0-9]{1,3}) ([0-9]{1,3})")

ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}
"""What `uname -m` says, and what images and Kubernetes call it."""


@dataclass(frozen=True)
class Machine:
    host: Host
    architecture: str
    free_bytes: int
    """On the file system of our directory."""
    commands: frozenset[str]
    """Those of the ones asked for that it has. A python3 that does not run is not among them."""
    python: tuple[int, int] | None = None
    """The version of python3; None: there is none, or nobody asked for it."""

    @property
    def platform(self) -> str:
        return f"linux/{self.architecture}"


def read_machine(reads: Reads, host: Host, directory: str, commands: tuple[str, ...]) -> Machine:
    result = reads.ask(host, ("sh", "-c", _SCRIPT, "machine", directory, *commands))
    lines = result.stdout.decode("utf-8", "replace").splitlines()
    free = (
        whole_number(lines[1])
        if result.ok
        and len(lines) > 2
        and lines[-1] == "end"
        and re.fullmatch("[A-Za-z0-9_.-]+", lines[0])
        else None
    )
    if free is None:
        raise Unreachable(
            f"{host} did not answer as a Linux machine does: {said(result)}",
            next_step=look_first(host.by_hand("df", "-Pk", directory)),
            where=host.name,
        )
    versions = [matched for line in lines[2:-1] if (matched := _PYTHON.fullmatch(line))]
    commands_there = {"python3" if _PYTHON.fullmatch(line) else line for line in lines[2:-1]}
    return Machine(
        host,
        ARCHITECTURES.get(lines[0], lines[0]),
        free * 1024,
        frozenset(commands_there),
        (int(versions[0][1]), int(versions[0][2])) if versions else None,
    )


@dataclass(frozen=True)
class Disk:
    """A file system, and the directory that was asked for."""

    size_bytes: int
    free_bytes: int
    directory: str = "/"


def read_disk(reads: Reads, host: Host, directory: str) -> Disk:
    """The file system that a directory lies on, by `df`: Filesystem 1024-blocks Used Available
    Capacity Mounted-on.
    """
    result = reads.ask(host, ("df", "-Pk", "--", directory))
    fields = (result.stdout.decode("utf-8", "replace").splitlines() or [""])[-1].split()
    size, free = (
        whole_number(fields[at]) if result.ok and len(fields) > 4 else None for at in (1, 3)
    )
    if size is None or free is None:
        raise Unreachable(
            f"{host} does not report how much room there is in {directory}: {said(result)}",
            next_step=look_first(host.by_hand("df", "-Pk", directory)),
            where=host.name,
        )
    return Disk(size * 1024, free * 1024, directory)


def read_hashes(reads: Reads, host: Host, paths: tuple[str, ...]) -> dict[str, str]:
    """The sha256 of files on the host, in hex; files that cannot be read are left out."""
    if not paths:
        return {}
    result = reads.ask(host, ("sha256sum", "--", *paths), quiet_seconds=600)
    if result.exit_status is None:
        raise Unreachable(
            f"{host}: the tarballs could not be read back: {said(result)}",
            next_step=look_first(host.by_hand("sha256sum", "--", *paths)),
            where=host.name,
        )
    found = {}
    for line in result.stdout.decode("utf-8", "replace").splitlines():
        value, _, path = line.partition("  ")
        if path in paths:
            found[path] = value
    return found
