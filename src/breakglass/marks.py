"""Our marks on a Node object, and the patch that leads from one state of it to another."""

from collections.abc import Mapping
from dataclasses import dataclass

ANNOTATION = "breakglass/pinned"
HOLDS = "breakglass/holds"
"""On a node that has something for `restore` to undo; on the target of a pin it names the pin."""
FIELD_MANAGER = "breakglass"
"""The API server notes it beside every field that we set (`metadata.managedFields`)."""


@dataclass(frozen=True)
class Mark:
    """What a node's object says of us and of cordoning, before or after a patch."""

    unschedulable: bool
    annotation: str | None
    holds: str | None = None
    """The annotation `breakglass/holds`."""


def merge_patch(before: Mark, after: Mark) -> Mapping[str, object]:
    """The merge patch (RFC 7396), without a guard."""
    annotations: dict[str, str | None] = {}
    if before.annotation != after.annotation or before.holds == after.holds:
        annotations[ANNOTATION] = after.annotation
    if before.holds != after.holds:
        annotations[HOLDS] = after.holds
    patch: dict[str, object] = {"metadata": {"annotations": annotations}}
    if before.unschedulable != after.unschedulable:
        patch["spec"] = {"unschedulable": True if after.unschedulable else None}
    return patch
