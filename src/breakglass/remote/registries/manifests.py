"""Indexes and manifests as registries serve them, verified by their digest."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from breakglass.remote.registries.answers import Ended

ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
DIGEST = r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}"


def read_manifest(body: bytes, digest: str) -> dict[str, Any]:
    """An index or a manifest, verified and of the shape that is relied upon here."""
    algorithm = digest.partition(":")[0]
    if f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}" != digest:
        raise Ended("broken", f"what is served as {digest} is something else", digest)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Ended("broken", f"{digest} is no JSON", digest) from None
    if isinstance(document, dict):
        if isinstance(document.get("manifests"), list):
            return {"manifests": document["manifests"]}
        if isinstance(document.get("config"), dict) and isinstance(document.get("layers"), list):
            return {"config": document["config"], "layers": document["layers"]}
    raise Ended(
        "broken", f"{digest} is neither an index nor a manifest that containerd can read", digest
    )


def read_descriptor(value: Any) -> tuple[str, int | None]:
    """Digest and size in bytes."""
    digest, size = (
        (value.get("digest"), value.get("size")) if isinstance(value, dict) else (None, None)
    )
    if not isinstance(digest, str) or not re.fullmatch(DIGEST, digest):
        raise Ended("broken", "it names a part by something that is no digest")
    return digest, size if isinstance(size, int) else None
