"""A listing of everything that a dry run must not change: files, docker's images, containerd's
images, Node objects.
"""

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

from .cluster import Cluster
from .host import Host
from .roles import MASTER, NAS_DIRECTORY, NODES, VM_DIRECTORY

CTR = (
    'for n in $(ctr namespaces ls -q 2>/dev/null); do ctr -n "$n" images ls 2>/dev/null | tail '
    '-n +2 | while read -r line; do echo "$n $line"; done; done'
)
DOCKER = "{{.Repository}}:{{.Tag}} {{.ID}} {{.Digest}}"


def files(host: Host, directory: str) -> dict[str, str]:
    """Path -> type, mode, owner, mtime and content of all below a directory; empty if it is not
    there.
    """
    top = host.path(directory)
    if not os.path.lexists(top):
        return {}
    found = {directory: describe(top)}
    for here, names, leaves in os.walk(top):
        for name in names + leaves:
            path = Path(here, name)
            found[str(Path(directory) / path.relative_to(top))] = describe(path)
    return dict(sorted(found.items()))


def describe(path: Path) -> str:
    facts = path.lstat()
    line = f"{stat.filemode(facts.st_mode)} {facts.st_uid}:{facts.st_gid} {facts.st_mtime_ns}"
    if stat.S_ISLNK(facts.st_mode):
        return f"{line} -> {path.readlink()}"
    if stat.S_ISREG(facts.st_mode):
        with path.open("rb") as stream:
            return (
                f"{line} {facts.st_size} sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
            )
    return line


def containerd_images(host: Host) -> list[str]:
    """`namespace reference type digest size platforms labels` of every image in every containerd
    namespace.
    """
    return sorted(" ".join(line.split()) for line in host.run("sh", "-c", CTR).stdout.splitlines())


def docker_images(host: Host) -> list[str]:
    """`repository:tag image-ID digest` of every image that dockerd has."""
    return sorted(
        host.run("docker", "images", "--all", "--no-trunc", "--format", DOCKER).stdout.splitlines()
    )


def node_objects(cluster: Cluster) -> dict[str, Any]:
    """Name -> labels, annotations and spec; without the taints that the node controller follows the
    conditions with.
    """
    found = {}
    for name, node in cluster.nodes().items():
        spec = dict(node["spec"])
        spec["taints"] = [
            taint
            for taint in spec.pop("taints", [])
            if not taint["key"].startswith("node.kubernetes.io/")
        ]
        found[name] = {
            "labels": node["metadata"].get("labels", {}),
            "annotations": node["metadata"].get("annotations", {}),
            "spec": spec,
        }
    return found


def listing(hosts: dict[str, Host], cluster: Cluster) -> dict[str, Any]:
    """Everything; hosts that are unplugged, daemons that are stopped and an API server that is down
    are said to be so.
    """
    vm, nas = hosts["registry-vm"], hosts["synology"]
    found: dict[str, Any] = {
        "registry-vm files": files(vm, VM_DIRECTORY) if vm.running else "unplugged",
        "synology files": files(nas, NAS_DIRECTORY) if nas.running else "unplugged",
        "docker images": docker_images(vm) if vm.running and vm.pid("dockerd") else "stopped",
        "nodes": node_objects(cluster)
        if hosts[MASTER].running and hosts[MASTER].pid("kube-apiserver")
        else "stopped",
    }
    for name in NODES:
        node = hosts[name]
        found[f"{name} files"] = (
            files(node, "/var/breakglass") | files(node, "/etc/containerd")
            if node.running
            else "unplugged"
        )
        found[f"{name} images"] = (
            containerd_images(node) if node.running and node.pid("containerd") else "stopped"
        )
    return found
