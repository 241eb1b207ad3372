"""`metadata.managedFields` of a node: which client set the fields that are patched here.

The rules: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from datetime import UTC, datetime
from typing import Any

from breakglass.sandbox.rules import Object

Fields = dict[tuple[str, ...], str]
"""The path of each field in `fieldsV1`, and its value."""


def managed_fields(before: Object, after: Object, manager: str) -> list[Object]:
    """A field that changes belongs to the client that changed it; one that goes, to nobody."""
    old, new = _fields(before), _fields(after)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    owned: dict[str, tuple[str, set[tuple[str, ...]]]] = {
        entry["manager"]: (entry["time"], _paths(entry["fieldsV1"]) & new.keys())
        for entry in before["metadata"].get("managedFields", [])
    }
    changed = {path for path in new if new[path] != old.get(path)}
    if changed:
        owned = {name: (time, paths - changed) for name, (time, paths) in owned.items()}
        _, own = owned.get(manager, ("", set()))
        owned[manager] = (now, own | changed)
    return [
        {
            "manager": name,
            "operation": "Update",
            "apiVersion": "v1",
            "time": time,
            "fieldsType": "FieldsV1",
            "fieldsV1": _tree(paths),
        }
        for name, (time, paths) in sorted(owned.items())
        if paths
    ]


def _fields(node: Object) -> Fields:
    fields: Fields = {
        ("f:metadata", "f:annotations", f"f:{name}"): value
        for name, value in node["metadata"].get("annotations", {}).items()
    }
    if "unschedulable" in node["spec"]:
        fields["f:spec", "f:unschedulable"] = str(node["spec"]["unschedulable"])
    return fields


def _paths(tree: Object, above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if not tree:
        return {above}
    return {path for key, below in tree.items() for path in _paths(below, (*above, key))}


def _tree(paths: set[tuple[str, ...]]) -> Object:
    tree: Object = {}
    for path in sorted(paths):
        branch: Any = tree
        for key in path:
            branch = branch.setdefault(key, {})
    return tree
