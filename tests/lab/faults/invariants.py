"""The invariants that hold after any fault, as code: `observe` looks at the whole environment from
outside, `violations` says which of them do not hold.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import listing, process
from ..environment import Environment
from ..host import Host
from ..roles import NAS_DIRECTORY, VM_DIRECTORY

NODE_DIRECTORY = "/var/breakglass"
ANNOTATION = "breakglass/pinned"
TARBALL = re.compile(r"infra-ci-(?!latest\.)[A-Za-z0-9_][A-Za-z0-9._-]*\.tar\.gz")
LATEST = "infra-ci-latest.tar.gz"
NAMES = re.compile(r"(registry\.viktorbarzin\.me:5050|forgejo\.viktorbarzin\.me/viktor)/infra-ci:")
OURS = (
    "breakglass",
    "breakglass-remote.pyz",
    "docker save",
    "images import",
    "flock ",
)
"""What the command line of a process of ours has in it, on whichever host it runs."""

_image_ids: dict[str, str | None] = {}


@dataclass(frozen=True)
class Shelf:
    """A directory of tarballs: file -> sha256; which of them are proven by both sidecars; the image
    IDs that the proofs name.
    """

    files: dict[str, str] = field(default_factory=dict)
    proven: frozenset[str] = frozenset()
    latest: str | None = None
    hidden: frozenset[str] = frozenset()
    recorded: dict[str, frozenset[str]] = field(default_factory=dict)
    """Tag -> image IDs that its proofs name."""

    @property
    def image_ids(self) -> frozenset[str]:
        return frozenset().union(*self.recorded.values())


@dataclass(frozen=True)
class Observed:
    shelves: dict[str, Shelf]
    names: dict[str, dict[str, str | None]]
    """Node -> name of the image -> image ID; None where the content is not whole."""
    nodes: dict[str, Any]
    processes: dict[str, tuple[str, ...]]
    locks: tuple[str, ...]


def observe(environment: Environment) -> Observed:
    """Everything, with every host powered and every daemon answering; what is not reached is left
    out.
    """
    places = {"registry-vm": VM_DIRECTORY, "synology": NAS_DIRECTORY} | dict.fromkeys(
        environment.nodes, NODE_DIRECTORY
    )
    up = {name: environment.host(name) for name in places if environment.host(name).running}
    return Observed(
        shelves={name: read_shelf(host.path(places[name])) for name, host in up.items()},
        names={
            name: names_on(host)
            for name, host in up.items()
            if name in environment.nodes and host.pid("containerd")
        },
        nodes=listing.node_objects(environment.cluster)
        if environment.api.running and environment.api.pid("kube-apiserver")
        else {},
        processes={name: ours(host) for name, host in up.items()},
        locks=tuple(
            f"{name}:{path.name}"
            for name, host in up.items()
            for path in [host.path(f"{places[name]}/.breakglass.lock")]
            if path.exists()
        ),
    )


def violations(before: Observed, now: Observed, *, next_run: tuple[str, ...] = ()) -> list[str]:
    """Which invariants do not hold, in words. `next_run`: hosts on which a further run has come to
    its end since: nothing of ours is left over there.
    """
    found = [
        f"{host} cannot be looked at"
        for what, that in ((before.shelves, now.shelves), (before.names, now.names))
        for host in what
        if host not in that
    ]
    found += ["the cluster cannot be looked at"] if before.nodes and not now.nodes else []
    for host, shelf in now.shelves.items():
        was = before.shelves.get(host, Shelf())
        if was.proven and not shelf.proven:
            found.append(
                f"I1 {host}: there was a verified tarball, now there is none: {sorted(shelf.files)}"
            )
        if was.latest in was.proven and shelf.latest not in shelf.proven:
            found.append(f"I1 {host}: latest was verified, now it means {shelf.latest}")
        for file, sha256 in shelf.files.items():
            if file not in shelf.proven and was.files.get(file) != sha256:
                found.append(f"I2 {host}: {file} has a final name and no proof")
        if host in next_run and shelf.hidden:
            found.append(f"I2 {host}: after the next run there still is {sorted(shelf.hidden)}")
    shelves = [shelf for one in (before, now) for shelf in one.shelves.values()]
    anything = frozenset().union(*(shelf.image_ids for shelf in shelves))
    for node, names in now.names.items():
        for name, image_id in names.items():
            tag = name.rpartition(":")[2]
            recorded = (
                anything
                if tag == "latest"
                else frozenset().union(*(shelf.recorded.get(tag, frozenset()) for shelf in shelves))
            )
            if image_id not in recorded and (
                name not in before.names.get(node, {}) or before.names[node][name] != image_id
            ):
                found.append(f"I3 {node}: {name} means {image_id}, which nobody verified")
    found += cordons(before.nodes, now.nodes)
    for host in next_run:
        found += [
            f"I8 {host}: left running: {line}"
            for line in now.processes.get(host, ())
            if line not in before.processes.get(host, ())
        ]
        found += [
            f"I8 the lock {lock} is left" for lock in now.locks if lock.startswith(f"{host}:")
        ]
    return found


def cordons(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """I4: a node is as it was, or carries our annotation; the target of a pin is never cordoned by
    us.
    """
    found = []
    for name, node in now.items():
        annotation = node["annotations"].get(ANNOTATION)
        cordoned, was = (
            node["spec"].get("unschedulable", False),
            before.get(name, {"spec": {}})["spec"].get("unschedulable", False),
        )
        if annotation and json.loads(annotation)["target"] == name:
            found.append(f"I4 {name}: the target is marked as cordoned by us")
        if cordoned and not was and not annotation:
            found.append(f"I4 {name}: cordoned, and nothing says by whom")
        if was and not cordoned and ANNOTATION not in before[name]["annotations"]:
            found.append(f"I4 {name}: cordoned by somebody else before, and restored by us")
        if was and annotation and ANNOTATION not in before[name]["annotations"]:
            found.append(f"I4 {name}: cordoned by somebody else before, and marked as ours")
    return found


def read_shelf(directory: Path) -> Shelf:
    """What lies there, each tarball hashed."""
    if not directory.is_dir():
        return Shelf()
    entries = [path for path in directory.iterdir() if not path.name.startswith(".breakglass")]
    files = {
        path.name: sha256_of(path)
        for path in entries
        if TARBALL.fullmatch(path.name) and path.is_file() and not path.is_symlink()
    }
    proofs = {file: proof_of(directory, file) for file in files}
    link = directory / LATEST
    return Shelf(
        files=files,
        proven=frozenset(file for file, sha256 in files.items() if sha256 in proofs[file]),
        latest=str(link.readlink()) if link.is_symlink() else None,
        hidden=frozenset(path.name for path in entries if path.name.startswith(".infra-ci-")),
        recorded={
            file.removeprefix("infra-ci-").removesuffix(".tar.gz"): frozenset(
                proofs[file].get(sha256, ())
            )
            for file, sha256 in files.items()
        },
    )


def proof_of(directory: Path, file: str) -> dict[str, tuple[str, ...]]:
    """sha256 -> image IDs, of what both sidecars vouch for; while a tarball is being replaced they
    name two.
    """
    try:
        sums = {line.split()[0] for line in (directory / f"{file}.sha256").read_text().splitlines()}
        record = json.loads((directory / f"{file.removesuffix('.tar.gz')}.json").read_text())
    except (OSError, ValueError, IndexError):
        return {}
    records = [one for one in (record, record.get("previous")) if one]
    return {
        one["sha256"]: (one["image_id"], *one.get("companions", {}).values())
        for one in records
        if one["sha256"] in sums
    }


def names_on(node: Host) -> dict[str, str | None]:
    """Every name of the image that the node's containerd has -> image ID."""
    lines = [
        line.split()
        for line in node.run(
            "sh", "-c", "ctr -n k8s.io images ls | awk 'NR > 1 { print $1, $3 }'"
        ).stdout.splitlines()
    ]
    return {name: image_id_of(node, target) for name, target in lines if NAMES.match(name)}


def image_id_of(node: Host, target: str) -> str | None:
    """What a manifest names as its configuration, whose content must have that digest; content
    never changes, so an answer is kept.
    """
    key = target
    if key not in _image_ids:
        manifest = node.run("ctr", "-n", "k8s.io", "content", "get", target, check=False)
        try:
            document = json.loads(manifest.stdout)
            if "manifests" in document:
                return image_id_of(node, document["manifests"][0]["digest"])
            _image_ids[key] = document["config"]["digest"]
        except (ValueError, KeyError):
            return None
    image_id = _image_ids[key]
    content = node.path(
        f"/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256/{str(image_id).removeprefix('sha256:')}"
    )
    return image_id if content.exists() and f"sha256:{sha256_of(content)}" == image_id else None


def ours(host: Host) -> tuple[str, ...]:
    """Command lines of what we have running on a host; the responder is meant to."""
    lines = (
        process.command_line(pid) for pid, _ in process.within(host.init_pid) if process.alive(pid)
    )
    return tuple(
        sorted(
            line
            for line in lines
            if any(word in line for word in OURS) and ".breakglass-responder.pyz" not in line
        )
    )


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
