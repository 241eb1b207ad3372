"""What a drill has to leave as it is, asked of the hosts themselves: everything."""

from typing import Any

from . import listing
from .environment import Environment
from .roles import NAS_DIRECTORY, VM_DIRECTORY

# First whatever was removed before is really gone: to remove a lease with --sync waits for
# containerd's garbage collection.
CONTAINERD = """ctr -n k8s.io leases create --id settle >/dev/null; ctr -n k8s.io leases rm --sync settle >/dev/null
ctr -n k8s.io images check 2>/dev/null | tail -n +2 | sort
ctr namespaces ls -q 2>/dev/null
cd /var/lib/containerd && find io.containerd.content.v1.content/blobs io.containerd.content.v1.content/ingest -type f | sort | xargs -r sha256sum
ls io.containerd.snapshotter.v1.overlayfs/snapshots"""  # noqa: E501


def everything(environment: Environment, name: str) -> dict[str, Any]:
    """The tarballs of the sources, the Node objects; of one node the files, hosts.toml, the images
    and their labels, containerd's namespaces, content and snapshots.
    """
    node = environment.nodes[name]
    files = listing.files(node, "/var/breakglass") | listing.files(node, "/etc/containerd")
    # Its time changes with the lock that lies in it for a while.
    files.pop("/var/breakglass", None)
    return {
        "sources": [
            listing.files(environment.vm, VM_DIRECTORY),
            listing.files(environment.nas, NAS_DIRECTORY),
        ],
        "nodes": listing.node_objects(environment.cluster),
        "files": files,
        "images": listing.containerd_images(node),
        "containerd": node.run("sh", "-c", CONTAINERD).stdout.splitlines(),
    }
