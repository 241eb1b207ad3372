"""recover with COMMAND: what this run may undo, and whether its pin is still there."""

from dataclasses import replace

from breakglass.commands import (
    restore_facts,
)
from breakglass.errors import AGAIN, Failed, Refused, then
from breakglass.observe.cluster import Node, Pin, parse_pin
from breakglass.observe.pins import pins_in_force


def check_alone(nodes: tuple[Node, ...], own: restore_facts.Own) -> None:
    """Raises Refused where another run has pinned the same node: who ends first would take the pin
    from the other.
    """
    other = next((pin for pin in pins_in_force(nodes) if pin.run != own.run), None)
    if other is not None:
        raise Refused(
            (
                f"{other.target} is pinned already, {describe(other)}; with a command this run "
                f"would remove somebody else's pin when it ends"
            ),
            next_step=then(
                f"breakglass recover {own.host}",
                "breakglass restore",
                AGAIN,
                advice=(
                    "join that run without a command; or, if it is dead or done, restore and "
                    "then this again"
                ),
            ),
        )


def describe(pin: Pin) -> str:
    return f"since {pin.at} by {pin.by}" + (f", reason: {pin.reason}" if pin.reason else "")


def with_cordoned(own: restore_facts.Own, nodes: tuple[Node, ...]) -> restore_facts.Own:
    """`nodes`: as this run's pin has left them. What it has cordoned is undone, even where
    somebody removes our annotation meanwhile.
    """
    marked = restore_facts.Facts(nodes, None, own=own).marked()
    busy = (node.name for node in marked if parse_pin(node.mark.annotation or "").had_pods)
    return replace(own, cordoned=tuple(node.name for node in marked), busy=tuple(busy))


def check_still_pinned(
    before: tuple[Node, ...], now: tuple[Node, ...], own: restore_facts.Own
) -> tuple[str, ...]:
    """Nodes beside the target that take pods now. Raises Failed when the whole pin was removed
    while the command ran.
    """
    pinned, standing = (
        restore_facts.Facts(nodes, None, own=own).marked() for nodes in (before, now)
    )
    if pinned and not standing:
        raise Failed(
            (
                "somebody removed the pin while the command ran, so what it started may have "
                "run on other nodes"
            ),
            next_step=then(
                f"breakglass recover {own.host}", advice="see where it ran; then, if need be"
            ),
        )
    return tuple(
        node.name for node in now if node.name != own.host.name and not node.mark.unschedulable
    )
