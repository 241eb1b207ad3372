"""Archives made by hand, laid on a node as a fetch leaves a tarball: with sidecars that vouch for
these very bytes.
"""

import functools
import hashlib
import json

from ... import archives
from ..environment import Environment
from ..host import Host
from .arrangements import NAMES, TAG
from .invariants import NODE_DIRECTORY, names_on


@functools.cache
def whole(kilobytes: int = 64) -> tuple[bytes, str]:
    """A whole tarball and its image ID; with a layer of so many kilobytes."""
    image = archives.Image(layers=(archives.layer(seed=kilobytes, kilobytes=kilobytes),))
    return archives.tarball(archives.classic(image)), image.image_id


def lay_tarball(
    node: Host, content: bytes, image_id: str, *, platform: str = "linux/amd64"
) -> None:
    """`latest` is this tarball, and its sidecars say so."""
    sha256 = hashlib.sha256(content).hexdigest()
    record = {
        "schema": 1,
        "tag": TAG,
        "references": [NAMES[0]],
        "image_id": image_id,
        "companions": {},
        "platform": platform,
        "size_bytes": len(content),
        "sha256": sha256,
        "sequence": 1,
        "created_at": "2026-04-19T12:00:00Z",
        "version": "0.1.0",
    }
    file = f"{NODE_DIRECTORY}/infra-ci-{TAG}.tar.gz"
    node.write(file, content)
    node.write(f"{file}.sha256", f"{sha256}  infra-ci-{TAG}.tar.gz\n")
    node.write(
        f"{NODE_DIRECTORY}/infra-ci-{TAG}.json", json.dumps(record, separators=(",", ":")) + "\n"
    )
    link = node.path(f"{NODE_DIRECTORY}/infra-ci-latest.tar.gz")
    link.unlink(missing_ok=True)
    link.symlink_to(f"infra-ci-{TAG}.tar.gz")


def means(environment: Environment, node: str, image_id: str) -> bool:
    """Every name on the node is this image, whole."""
    return names_on(environment.nodes[node]) == dict.fromkeys(NAMES, image_id)
