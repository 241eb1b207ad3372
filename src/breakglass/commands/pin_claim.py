"""Only one pin is in force at a time: what decides between two."""

from collections.abc import Sequence
from dataclasses import replace

from breakglass.age import age_seconds
from breakglass.errors import Busy, Refused, then
from breakglass.observe.cluster import Node
from breakglass.observe.pins import pins_in_force
from breakglass.plan import PatchNode

AT_WORK_SECONDS = 60
"""A pin that is not complete and older than this was cut short."""


def claim_first(nodes: Sequence[Node], steps: Sequence[PatchNode]) -> tuple[PatchNode, ...]:
    """Every pin, whatever its target, begins with the same node: the first by name of those that
    nobody else has cordoned. So the API server decides between two pins at the same time.
    """
    first = min(
        node.name
        for node in nodes
        if not node.mark.unschedulable or node.mark.annotation is not None
    )
    return tuple(
        replace(step, is_claim=step.node == first)
        for step in sorted(steps, key=lambda step: (step.node != first, step.node))
    )


def check_no_other_pin(nodes: Sequence[Node], target: str, *, now: str, was_free: bool) -> None:
    """Raises Refused where another pin is in force, Busy where that pin began at the same time as
    this one or is still at work. `was_free`: no other pin was there when this run began.
    """
    others = [pin for pin in pins_in_force(nodes) if pin.target != target]
    if not others:
        return
    pin, targets = others[0], sorted({pin.target for pin in others})
    who = f"target {', '.join(targets)}, by {pin.by} at {pin.at}"
    who += f", reason: {pin.reason}" if pin.reason else ""
    age = age_seconds(pin.at, now)
    if was_free or (age is not None and age < AT_WORK_SECONDS and _is_partial(nodes)):
        raise Busy(
            f"another pin began at the same time: {who}", next_step=then("breakglass status")
        )
    message = f"another pin is in force: {who}"
    if targets[0] in {node.name for node in nodes}:
        use = then(f"breakglass pin {targets[0]}", "breakglass restore", advice="use it, or end it")
    else:
        use = then("breakglass restore", advice="that node is gone, so end it")
    raise Refused(message, next_step=use)


def _is_partial(nodes: Sequence[Node]) -> bool:
    """Whether the pins that are in force have not cordoned all other nodes yet."""
    targets = {pin.target for pin in pins_in_force(nodes)}
    return any(not node.mark.unschedulable and node.name not in targets for node in nodes)
