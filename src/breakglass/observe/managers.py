"""Who set `spec.unschedulable` of a node last: the API server notes it.

The format: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from breakglass.marks import ANNOTATION, FIELD_MANAGER
from breakglass.text import inert


@dataclass(frozen=True)
class Cordon:
    """Who cordoned a node, as far as the API says."""

    manager: str = ""
    """The name under which that client writes: `kubectl`; empty: not known."""
    at: str = ""
    is_ours: bool | None = None
    """None: not known. Some proxies strip the field, and the node may not be cordoned."""


UNKNOWN = Cordon()


def read_cordon(metadata: Mapping[str, Any]) -> Cordon:
    """From the metadata of a Node object."""
    fields = metadata.get("managedFields")
    entries = (
        [entry for entry in fields if isinstance(entry, dict)] if isinstance(fields, list) else []
    )
    owners = [entry for entry in entries if _owns(entry, "f:spec", "f:unschedulable")]
    if not owners:
        return UNKNOWN
    # An earlier version wrote under the name of its library, both fields in one patch.
    markers = {
        str(entry.get("manager"))
        for entry in entries
        if _owns(entry, "f:metadata", "f:annotations", f"f:{ANNOTATION}")
    }
    ours = {FIELD_MANAGER} if FIELD_MANAGER in markers else {FIELD_MANAGER, *markers}
    is_ours = any(entry.get("manager") in ours for entry in owners)
    last = max(owners, key=lambda entry: str(entry.get("time") or ""))
    return Cordon(
        inert(str(last.get("manager") or ""), limit=60),
        inert(str(last.get("time") or ""), limit=40),
        is_ours,
    )


def _owns(entry: Mapping[str, Any], *path: str) -> bool:
    owned: Any = entry.get("fieldsV1")
    for key in path:
        owned = owned.get(key) if isinstance(owned, dict) else None
    return isinstance(owned, dict)
