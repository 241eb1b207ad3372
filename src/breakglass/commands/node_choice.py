"""Which node fits best: a pure function, with its reasons."""

from dataclasses import dataclass

from breakglass.cluster_name import ClusterName, kubectl_line
from breakglass.commands.fitness import END_THE_PIN, Needs, in_words, remedies_of, unfit
from breakglass.commands.room import no_room_for_tarball, no_room_to_import
from breakglass.errors import (
    AGAIN,
    BreakglassError,
    Next,
    Refused,
    Unreachable,
    joined,
    look_first,
    then,
)
from breakglass.known_hosts import Refusal
from breakglass.observe.cluster import Node
from breakglass.observe.machine import Disk, Machine
from breakglass.observe.pins import pins_in_force
from breakglass.observe.shelf import Tarball


@dataclass(frozen=True)
class Candidate:
    """What is known of a node that might be chosen."""

    node: Node
    machine: Machine | BreakglassError
    """Or why it could not be read."""
    tarball: Tarball | None = None
    """A verified tarball that it has."""
    has_image: bool = False
    is_whole: bool = False
    """Its containerd has the image whole: asked only where nobody has a tarball."""
    disk: Disk | None = None
    """Of containerd's content; None: not known."""


@dataclass(frozen=True)
class Choice:
    node: str
    why: str


def choose(
    candidates: tuple[Candidate, ...],
    *,
    command: str,
    needs: Needs,
    offered: Tarball | None,
    cluster: ClusterName | None = None,
) -> Choice:
    """The node that fits best: one that has the image, then one that has a tarball, then by number.
    Where nobody has a tarball, one whose image is whole comes before all.
    Raises Refused with a reason for each node, Unreachable where one of them was not reached.

    For `import` the tarball, for `pin` the image is a condition. If a pin exists, `recover` uses
    its target. `offered`: the tarball that the sources have; None: not known, or none.
    """
    target = _pin_target(candidates) if command == "recover" else None
    if target is not None:
        return Choice(target, f"chose {target}: it is the target of the pin in force")
    reasons = {
        candidate.node.name: why_not(candidate, command=command, needs=needs, offered=offered)
        for candidate in candidates
    }
    fitting = [candidate for candidate in candidates if not reasons[candidate.node.name]]
    if not fitting:
        remedy = _remedy(candidates, command, needs, cluster)
        raise _no_node_fits(candidates, tuple(reasons.values()), command, remedy)
    best = min(fitting, key=_preference)
    passed_over = "".join(f"; {reason}" for reason in reasons.values() if reason)
    return Choice(best.node.name, f"chose {best.node.name}: {_merits(best)}{passed_over}")


def why_not(candidate: Candidate, *, command: str, needs: Needs, offered: Tarball | None) -> str:
    """The node's name, and why it would not be chosen; empty where it would."""
    reason = _reason(candidate, command=command, needs=needs, offered=offered)
    if isinstance(reason, BreakglassError):
        return reason.named(candidate.node.name)
    return reason and f"{candidate.node.name}: {reason}"


def _reason(
    candidate: Candidate, *, command: str, needs: Needs, offered: Tarball | None
) -> str | BreakglassError:
    if reasons := unfit(needs, node=candidate.node):
        return in_words(reasons)
    machine = candidate.machine
    if isinstance(machine, BreakglassError):
        return machine
    if reasons := unfit(needs, node=candidate.node, machine=machine):
        return in_words(reasons)
    if command == "import" and candidate.tarball is None and not candidate.is_whole:
        return "has no tarball"
    if command == "pin":
        return "" if candidate.has_image else "does not have the image"
    return _no_room(candidate, machine, command=command, offered=offered)


def _no_room(
    candidate: Candidate, machine: Machine, *, command: str, offered: Tarball | None
) -> str:
    """Why what is still to be brought to the node does not fit on its disks."""
    wanted = offered or candidate.tarball
    if wanted is None:
        return ""
    has_tarball = candidate.tarball is not None and _same(candidate.tarball, wanted)
    has_image = has_tarball and candidate.has_image
    if command == "drill":  # it brings everything once more
        has_tarball = has_image = False
    reason = "" if has_tarball else no_room_for_tarball(machine.free_bytes, wanted.size_bytes)
    if reason or has_image:
        return reason
    return no_room_to_import(candidate.disk, wanted.size_bytes, with_tarball=not has_tarball)


def _same(one: Tarball, other: Tarball) -> bool:
    return (
        one.record is not None
        and other.record is not None
        and one.record.sha256 == other.record.sha256
    )


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
    raise Refused(f"the pin in force {why}", next_step=END_THE_PIN)


def _no_node_fits(
    candidates: tuple[Candidate, ...], reasons: tuple[str, ...], command: str, remedy: Next
) -> BreakglassError:
    message = f"no node fits: {'; '.join(reasons) or 'the cluster has no nodes'}"
    if command == "import":
        next_step = then("breakglass fetch")
    elif command == "pin":
        next_step = then("breakglass fetch", "breakglass import")
    else:
        next_step = remedy
    unreached = [
        candidate.machine for candidate in candidates if isinstance(candidate.machine, Unreachable)
    ]
    if not unreached:
        return Refused(message, next_step=next_step)
    # What an unknown host key asks for can be done at once.
    first = min(unreached, key=lambda error: not isinstance(error, Refusal))
    reach = first.next_step or then(AGAIN, advice="bring one of them back")
    others_answer = any(isinstance(candidate.machine, Machine) for candidate in candidates)
    return Unreachable(message, next_step=joined([next_step, reach]) if others_answer else reach)


def _remedy(
    candidates: tuple[Candidate, ...], command: str, needs: Needs, cluster: ClusterName | None
) -> Next:
    """What makes the best of them fit, or uses it as it is."""
    if not candidates:
        look = kubectl_line(cluster, "get", "nodes")
        return look_first(look, advice="see whether it is the right cluster, then try again")
    reached = [each for each in candidates if isinstance(each.machine, Machine)]
    best = min(reached or candidates, key=_preference)
    remedies = remedies_of(unfit(needs, node=best.node))
    if command == "drill":
        return joined([remedies, then(f"breakglass drill {best.node.name}")])
    insist = then(f"breakglass recover {best.node.name} --anyway")
    return joined([remedies, insist])


def _merits(candidate: Candidate) -> str:
    """Why this node and no other."""
    if candidate.is_whole:
        return "no tarball was found, and its containerd still has the image whole"
    has = []
    if candidate.tarball:
        has.append("the tarball")
    if candidate.has_image:
        has.append("the image")
    return (
        f"it has {' and '.join(has)} already"
        if has
        else "Ready, not cordoned, answers SSH, has room"
    )


def _preference(candidate: Candidate) -> tuple[object, ...]:
    """The lowest is chosen."""
    return (
        not candidate.is_whole,
        not candidate.has_image,
        candidate.tarball is None,
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
