"""Which node fits best: a pure function, with its reasons."""

from dataclasses import dataclass

from breakglass.errors import BreakglassError, Refused, Unreachable
from breakglass.known_hosts import Refusal
from breakglass.observe.cluster import Node
from breakglass.observe.machine import Machine
from breakglass.observe.pins import pins_in_force


@dataclass(frozen=True)
class Candidate:
    """What is known of a node that might be chosen."""

    node: Node
    machine: Machine | BreakglassError
    """Or why it could not be read."""
    has_tarball: bool
    has_image: bool


@dataclass(frozen=True)
class Choice:
    node: str
    why: str


def choose(
    candidates: tuple[Candidate, ...], *, command: str, architecture: str, room_bytes: int
) -> Choice:
    """The node that fits best, by number among equals. Raises Refused with a reason for each node,
    Unreachable where one of them was not reached.

    All prefer a node without a taint, then one that has the tarball, then one that has the image;
    for `import` the tarball, for `pin` the image is a condition. If a pin exists, `recover` uses
    its target.
    """
    target = _pin_target(candidates) if command == "recover" else None
    if target is not None:
        return Choice(target, f"chose {target}: it is the target of the pin in force")
    reasons = {
        candidate.node.name: why_not(
            candidate, command=command, architecture=architecture, room_bytes=room_bytes
        )
        for candidate in candidates
    }
    fitting = [candidate for candidate in candidates if not reasons[candidate.node.name]]
    if not fitting:
        raise _no_node_fits(candidates, tuple(reasons.values()), command)
    best = min(fitting, key=_preference)
    passed_over = "".join(f"; {reason}" for reason in reasons.values() if reason)
    return Choice(best.node.name, f"chose {best.node.name}: {_merits(best)}{passed_over}")


def why_not(candidate: Candidate, *, command: str, architecture: str, room_bytes: int) -> str:
    """The node's name, and why it would not be chosen; empty where it would."""
    reason = _reason(candidate, command=command, architecture=architecture, room_bytes=room_bytes)
    if isinstance(reason, BreakglassError):
        return reason.named(candidate.node.name)
    return reason and f"{candidate.node.name}: {reason}"


def _reason(
    candidate: Candidate, *, command: str, architecture: str, room_bytes: int
) -> str | BreakglassError:
    node, machine = candidate.node, candidate.machine
    if not node.ready:
        return "not Ready"
    if node.mark.unschedulable:
        return "cordoned"
    if node.disk_pressure:
        return "DiskPressure"
    if architecture and node.architecture and node.architecture != architecture:
        return f"architecture {node.architecture}, the image is for {architecture}"
    if isinstance(machine, BreakglassError):
        return machine
    if command == "import" and not candidate.has_tarball:
        return "has no tarball"
    if command == "pin" and not candidate.has_image:
        return "does not have the image"
    if not candidate.has_tarball and machine.free_bytes < room_bytes:
        return f"{machine.free_bytes / 1e6:.0f} MB free, {room_bytes / 1e6:.0f} MB needed"
    return ""


def _pin_target(candidates: tuple[Candidate, ...]) -> str | None:
    """The node that the pin in force is for. Raises Refused where it is for several nodes, or for
    none of the cluster.
    """
    targets = {pin.target for pin in pins_in_force(candidate.node for candidate in candidates)}
    lost = sorted(targets - {candidate.node.name for candidate in candidates})
    if lost:
        why = f"is for {', '.join(lost)}, which is no node of the cluster"
    elif len(targets) > 1:
        why = f"is not one: there are several, for {', '.join(sorted(targets))}"
    else:
        return next(iter(targets), None)
    raise Refused(f"the pin in force {why}", next_step="end it first: breakglass restore")


def _no_node_fits(
    candidates: tuple[Candidate, ...], reasons: tuple[str, ...], command: str
) -> BreakglassError:
    message = f"no node fits: {'; '.join(reasons) or 'the cluster has no nodes'}"
    if command == "import":
        next_step = "breakglass fetch"
    elif command == "pin":
        next_step = "breakglass fetch, then breakglass import"
    else:
        next_step = f"name one: breakglass {command} NODE"
    unreached = [
        candidate.machine for candidate in candidates if isinstance(candidate.machine, Unreachable)
    ]
    if not unreached:
        return Refused(message, next_step=next_step)
    # What an unknown host key asks for can be done at once.
    first = min(unreached, key=lambda error: not isinstance(error, Refusal))
    reach = first.next_step or "bring one of them back"
    others_answer = any(isinstance(candidate.machine, Machine) for candidate in candidates)
    return Unreachable(message, next_step=f"{next_step}; or: {reach}" if others_answer else reach)


def _merits(candidate: Candidate) -> str:
    """Why this node and no other."""
    has = []
    if candidate.has_tarball:
        has.append("the tarball")
    if candidate.has_image:
        has.append("the image")
    merits = "Ready, not cordoned, answers SSH, has room"
    if has:
        merits = f"it has {' and '.join(has)} already"
    if not candidate.node.taints:
        return merits
    taints = ", ".join(candidate.node.taints)
    return (
        f"{merits}; it has the taint {taints}, so pods need a toleration; no node without a taint "
        f"fits"
    )


def _preference(candidate: Candidate) -> tuple[object, ...]:
    """The lowest is chosen. A taint comes first: the CI pods may not tolerate it."""
    return (
        bool(candidate.node.taints),
        not candidate.has_tarball,
        not candidate.has_image,
        _natural(candidate.node.name),
    )


def _natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """k8s-node2 before k8s-node10."""
    digits = ""
    parts: list[tuple[int, int | str]] = []
    for character in name + "\0":
        if character.isdigit():
            digits += character
            continue
        if digits:
            parts.append((0, int(digits)))
            digits = ""
        parts.append((1, character))
    return tuple(parts)
