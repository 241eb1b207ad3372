"""Fields of the JSON documents in an archive."""

from __future__ import annotations

import json
from typing import Any

from breakglass.remote.archive.tar import Content
from breakglass.remote.faults import INTEGRITY, Fault
from breakglass.remote.shape import is_strings


def strict(content: Content, name: str, kind: type) -> Any:
    """A JSON document of the archive."""
    if name not in content.documents:
        raise Fault(INTEGRITY, f"{name} is missing from the archive, or no JSON of a usual size")
    try:
        found = json.loads(content.documents[name])
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, kind):
        raise Fault(INTEGRITY, f"{name} in the archive is not the JSON that it should be")
    return found


def field(value: Any, key: str, kind: type, where: str) -> Any:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        raise Fault(INTEGRITY, f"{where} in the archive has no usable {key}")
    return found


def strings(value: Any, key: str, where: str) -> list[str]:
    found = (
        [] if isinstance(value, dict) and value.get(key) is None else field(value, key, list, where)
    )
    if not is_strings(found):
        raise Fault(INTEGRITY, f"{where} in the archive has no usable {key}")
    return list(found)
