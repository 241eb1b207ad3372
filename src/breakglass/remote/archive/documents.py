"""Fields of the JSON documents in an archive."""

from __future__ import annotations

import json
from typing import Any

from breakglass.remote.archive.tar import Content
from breakglass.remote.faults import INTEGRITY, Fault
from breakglass.remote.shape import is_strings


def strict(content: Content, name: str, kind: type | tuple[type, ...]) -> Any:
    """A JSON document of the archive."""
    if name not in content.documents:
        raise Fault(INTEGRITY, f"{name} is missing from the archive, or no JSON of a usual size")
    try:
        document = json.loads(content.documents[name])
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, kind):
        raise Fault(INTEGRITY, f"{name} in the archive is not the JSON that it should be")
    return document


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
