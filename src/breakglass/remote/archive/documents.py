"""Fields of the JSON documents in an archive."""

from __future__ import annotations

import json
from typing import Any

from breakglass.remote.archive.tar import Content
from breakglass.remote.faults import INTEGRITY, Fault
from breakglass.remote.shape import is_strings

KNOWN = {
    *("annotations", "architecture", "config", "diff_ids", "digest", "layers", "manifests"),
    *("mediatype", "os", "platform", "repotags", "rootfs", "schemaversion", "size"),
}
"""The keys by which an image is found, in lower case."""


def strict(content: Content, name: str, kind: type | tuple[type, ...]) -> Any:
    """A JSON document of the archive."""
    if name not in content.documents:
        raise Fault(INTEGRITY, f"{name} is missing from the archive, or no JSON of a usual size")
    try:
        document = json.loads(content.documents[name], object_pairs_hook=unambiguous)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, kind):
        raise Fault(INTEGRITY, f"{name} in the archive is not the JSON that it should be")
    return document


def unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError where it has a key twice: Go takes the last of two, and
    does not regard upper and lower case in the keys that it knows.
    """
    value = dict(pairs)
    known = [key.casefold() for key in value if key.casefold() in KNOWN]
    if len(value) < len(pairs) or len(set(known)) < len(known):
        raise ValueError("a key is there twice")
    return value


def field(value: Any, key: str, kind: type, where: str) -> Any:
    member = value.get(key) if isinstance(value, dict) else None
    if not isinstance(member, kind):
        raise Fault(INTEGRITY, f"{where} in the archive has no usable {key}")
    return member


def strings(value: Any, key: str, where: str) -> list[str]:
    texts = (
        [] if isinstance(value, dict) and value.get(key) is None else field(value, key, list, where)
    )
    if not is_strings(texts):
        raise Fault(INTEGRITY, f"{where} in the archive has no usable {key}")
    return list(texts)


def blob(digest: str) -> str:
    """The name of a blob's file."""
    return "blobs/" + digest.replace(":", "/", 1)
