"""The rules by which an API server merges, checks and selects objects."""

import copy
from typing import Any

Object = dict[str, Any]

ANNOTATIONS_BYTES = 256 << 10
"""The limit for keys and values of an object's annotations together."""


class Declined(Exception):
    """A request that the server refuses: HTTP status, reason and message of a Status object."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


def merged(target: Any, patch: Any) -> Any:
    """A copy of the target with a JSON merge patch applied (RFC 7396)."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def validate(node: Object) -> None:
    """Check the fields that are patched here, and drop empty ones, both as a real server does."""
    metadata, spec = node.get("metadata"), node.get("spec")
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        raise Declined(422, "Invalid", "metadata and spec are objects")
    for field in ("annotations", "labels"):
        values = metadata.get(field, {})
        if not isinstance(values, dict) or not all(
            isinstance(value, str) for value in values.values()
        ):
            raise Declined(422, "Invalid", f"metadata.{field} holds strings only")
        if not values:
            metadata.pop(field, None)
    annotations: dict[str, str] = metadata.get("annotations", {})
    if sum(len((key + value).encode()) for key, value in annotations.items()) > ANNOTATIONS_BYTES:
        why = f"metadata.annotations: Too long: may not be more than {ANNOTATIONS_BYTES} bytes"
        raise Declined(422, "Invalid", f'Node "{metadata["name"]}" is invalid: {why}')
    if not isinstance(spec.get("unschedulable", False), bool):
        raise Declined(422, "Invalid", "spec.unschedulable is true or false")
    if not spec.get("unschedulable", False):
        spec.pop("unschedulable", None)


def needs_schema(patch: Object) -> bool:
    """Whether a strategic merge patch means something else than a merge patch: it has directives,
    or lists that are merged by key.
    """
    return any(
        key.startswith("$")
        or key in ("addresses", "conditions", "ownerReferences")
        or (isinstance(value, dict) and needs_schema(value))
        for key, value in patch.items()
    )


def is_selected(item: Object, selector: str) -> bool:
    """Whether an object fits a field selector: terms `path=value` or `path!=value`."""
    for term in filter(None, selector.split(",")):
        negated = "!=" in term
        path, _, expected = term.replace("!=", "=").replace("==", "=").partition("=")
        value: Any = item
        for key in path.split("."):
            value = value.get(key, "") if isinstance(value, dict) else ""
        if (value == expected) == negated:
            return False
    return True
