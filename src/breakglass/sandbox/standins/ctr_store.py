"""The files of the ctr stand-in: blobs where containerd has them, and a state with the names and
snapshots of each namespace.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from breakglass.sandbox.standins import state as files

ROOT = files.HOST / "var/lib/containerd"
BLOBS = ROOT / "io.containerd.content.v1.content/blobs/sha256"
STATE = ROOT / "sandbox.json"
KUBELETS = "k8s.io"
"""The namespace of kubelet's images."""
CRI_IS_OFF = files.HOST / "etc/containerd/cri-is-off"
"""While this file is there, containerd has no CRI plugin."""


SNAPSHOTTER = files.HOST / "etc/containerd/snapshotter"
"""This file has the name of the CRI plugin's snapshotter, where that is not the default."""
DEFAULT_SNAPSHOTTER = "overlayfs"


def snapshotter() -> str:
    return SNAPSHOTTER.read_text().strip() if SNAPSHOTTER.exists() else DEFAULT_SNAPSHOTTER


def load(namespace: str) -> dict[str, Any]:
    """The state of a namespace.

    `images`: name to target and labels; `content`: digest to what it refers to, a digest or
    "snapshot KEY"; `snapshots`: keys of what was unpacked; `leases`: their IDs.
    """
    state: dict[str, Any] = files.load(STATE, empty={}).get(namespace) or _empty()
    return state


@contextmanager
def changing(namespace: str) -> Iterator[dict[str, Any]]:
    """The namespace's state, to be changed in place. Afterwards content that no image refers to is
    removed.
    """
    with files.changing(STATE, empty={}) as state:
        is_new = namespace not in state
        own = state.setdefault(namespace, _empty())
        yield own
        if namespace == KUBELETS and not CRI_IS_OFF.exists():
            _mark(own)
        _collect(own)
        # A namespace is made with its first content, and stays without any.
        if is_new and own == _empty():
            del state[namespace]
        known = {digest for each in state.values() for digest in each["content"]}
        for path in BLOBS.iterdir() if BLOBS.is_dir() else ():
            if f"sha256:{path.name}" not in known:
                path.unlink()


def _mark(state: dict[str, Any]) -> None:
    """As the CRI plugin marks every image that it hears of."""
    for image in state["images"].values():
        image["labels"] = image["labels"] | {"io.cri-containerd.image": "managed"}


def namespaces() -> list[str]:
    return sorted(files.load(STATE, empty={}))


def create(namespace: str) -> None:
    with files.changing(STATE, empty={}) as state:
        state.setdefault(namespace, _empty())


def forget(namespace: str) -> None:
    with files.changing(STATE, empty={}) as state:
        state.pop(namespace, None)


def blob(digest: str) -> Path:
    return BLOBS / digest.removeprefix("sha256:")


def read(digest: str) -> bytes:
    """The content of a blob. Raises Failure if its file is lost, though its digest is known."""
    try:
        return blob(digest).read_bytes()
    except FileNotFoundError:
        why = f"blob {digest} expected at {blob(digest)}: blob not found: not found"
        raise files.Failure(why) from None


def manifest(image: dict[str, Any]) -> dict[str, Any]:
    """Of an index that of the child that is there: a pull takes one platform's."""
    document: dict[str, Any] = json.loads(read(image["digest"]))
    for child in document.get("manifests", ()):
        if blob(child["digest"]).exists():
            return manifest(child)
    return document


def configuration(image: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(read(manifest(image)["config"]["digest"]))
    return document


def chain(diff_ids: list[str]) -> str:
    """The chain ID of a stack of layers (OCI image specification)."""
    result = diff_ids[0] if diff_ids else ""
    for diff_id in diff_ids[1:]:
        result = "sha256:" + hashlib.sha256(f"{result} {diff_id}".encode()).hexdigest()
    return result


def snapshot(chain_id: str, snapshotter: str) -> str:
    """The key of what a snapshotter has unpacked."""
    return f"{snapshotter} {chain_id}"


def take_snapshotter(argv: list[str]) -> tuple[str, list[str]]:
    """The value of --snapshotter, and the other arguments."""
    if "--snapshotter" not in argv[:-1]:
        return DEFAULT_SNAPSHOTTER, argv
    at = argv.index("--snapshotter")
    name = argv[at + 1]
    if name not in (DEFAULT_SNAPSHOTTER, snapshotter()):
        raise files.Failure(f"snapshotter not loaded: {name}: invalid argument")
    return name, [*argv[:at], *argv[at + 2 :]]


def _collect(own: dict[str, Any]) -> None:
    """Remove the content that no image refers to, as containerd's garbage collection does."""
    kept: set[str] = set()
    waiting = [image["digest"] for image in own["images"].values()]
    while waiting:
        reference = waiting.pop()
        if reference not in kept:
            kept.add(reference)
            waiting += own["content"].get(reference, [])
    own["content"] = {digest: own["content"][digest] for digest in own["content"] if digest in kept}
    own["snapshots"] = [chain for chain in own["snapshots"] if f"snapshot {chain}" in kept]


def _empty() -> dict[str, Any]:
    return {"images": {}, "content": {}, "snapshots": [], "leases": []}
