"""Indexes and manifests as registries serve them, verified by their digest."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from breakglass.remote.distribution.answers import NotServed, State

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        OCI_MANIFEST,
        DOCKER_MANIFEST,
    )
)
DIGEST = re.compile("sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
INDEX_DEPTH = 3
"""How many indexes may lead to a manifest."""


def read_manifest(body: bytes, digest: str) -> dict[str, Any]:
    """An index or a manifest, verified and of the shape that is relied upon here."""
    verify(body, digest)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise NotServed(State.BROKEN, f"{digest} is no JSON", digest, digest=digest) from None
    if isinstance(document, dict):
        if isinstance(document.get("manifests"), list):
            return {"manifests": document["manifests"]}
        if isinstance(document.get("config"), dict) and isinstance(document.get("layers"), list):
            for descriptor in (document["config"], *document["layers"]):
                read_descriptor(descriptor)
            return {"config": document["config"], "layers": document["layers"]}
    raise NotServed(
        State.BROKEN,
        f"{digest} is neither an index nor a manifest that containerd can read",
        digest,
        digest=digest,
    )


def verify(body: bytes, digest: str) -> None:
    """Raises NotServed where the bytes are not those of the digest."""
    algorithm = digest.partition(":")[0]
    if f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}" != digest:
        raise NotServed(
            State.BROKEN, f"what is served as {digest} is something else", digest, digest=digest
        )


def read_descriptor(value: Any) -> tuple[str, int | None]:
    """Digest and size in bytes."""
    digest, size = None, None
    if isinstance(value, dict):
        digest, size = value.get("digest"), value.get("size")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise NotServed(State.BROKEN, "it names a part by something that is no digest")
    return digest, size if isinstance(size, int) else None
