"""Indexes and manifests as registries hand them out, believed when their bytes hash to their
digest.
"""

import hashlib
import json
import re
from typing import Any

from breakglass.registry.found import Ended

ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
DIGEST = re.compile("sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def read_manifest(body: bytes, digest: str) -> dict[str, Any]:
    """An index or manifest, verified and of the shape that is relied upon here."""
    verify(body, digest)
    try:
        manifest = json.loads(body)
    except (ValueError, RecursionError):
        manifest = None
    if isinstance(manifest, dict) and isinstance(manifest.get("manifests"), list):
        return {"manifests": manifest["manifests"]}
    if (
        isinstance(manifest, dict)
        and isinstance(manifest.get("layers"), list)
        and "config" in manifest
    ):
        for descriptor in (manifest["config"], *manifest["layers"]):
            read_descriptor(descriptor)
        return {"config": manifest["config"], "layers": manifest["layers"]}
    raise Ended(
        "broken",
        f"{digest} is not a manifest that containerd can read",
        missing=(digest,),
        digest=digest,
    )


def read_descriptor(value: Any) -> tuple[str, int | None]:
    """Digest and size in bytes."""
    digest, size = (
        (value.get("digest"), value.get("size")) if isinstance(value, dict) else (None, None)
    )
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise Ended("broken", "it names a part by something that is no digest")
    return digest, size if isinstance(size, int) else None


def platform_of(descriptor: Any) -> str | None:
    """What an index says that a child is for."""
    return spelled(descriptor.get("platform") if isinstance(descriptor, dict) else None)


def verify(body: bytes, digest: str) -> None:
    """Raises Ended where the bytes are not those of the digest."""
    algorithm = digest.partition(":")[0]
    if f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}" != digest:
        raise Ended(
            "broken",
            f"{digest}: what is served under this digest is something else",
            missing=(digest,),
            digest=digest,
        )


def spelled(value: Any) -> str | None:
    """A platform as OS/ARCHITECTURE[/VARIANT], from the keys of an index's child or of a
    configuration.
    """
    if not isinstance(value, dict) or not value.get("os") or not value.get("architecture"):
        return None
    return normal(
        "/".join(str(value[key]) for key in ("os", "architecture", "variant") if value.get(key))
    )


def normal(platform: str) -> str:
    """One spelling for what has two."""
    return re.sub("/arm64/v8$", "/arm64", platform)
