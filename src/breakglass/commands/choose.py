"""The choice of a node: a pure function with its reasons."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from breakglass.commands import Estate, Target, Unread
from breakglass.deadline import together
from breakglass.errors import BreakglassError, Refused, Unreachable
from breakglass.known_hosts import Refusal
from breakglass.observe.cluster import Node, parse_pin
from breakglass.observe.containerd import read_containerd, read_targets
from breakglass.observe.machine import Machine, read_machine
from breakglass.observe.shelf import Shelf, read_shelf

SECONDS = 30.0
"""A node that hangs is not chosen, and holds up no choice."""


@dataclass(frozen=True)
class Candidate:
    """What is known of one node that might be chosen."""

    node: Node
    machine: Machine | BreakglassError
    """Or why it could not be read."""
    has_tarball: bool
    has_image: bool


@dataclass(frozen=True)
class Choice:
    node: str
    why: str


@dataclass(frozen=True)
class Chosen:
    """The node that a command is for, named or chosen."""

    target: Target
    why: str
    sources: tuple[Shelf | Unread, ...] = ()
    """What was read of the sources on the way."""


def named(estate: Estate, node: str, *, nodes: tuple[Node, ...] | None = None) -> Chosen:
    """The node that was named. `nodes`: the cluster, where it was read already."""
    return Chosen(estate.resolve(node, nodes), f"{node} was named")


def choose(
    candidates: tuple[Candidate, ...], *, command: str, architecture: str, room_bytes: int
) -> Choice:
    """The node that fits best, by number among equals. Raises Refused with a reason for each node,
    Unreachable where one of them was not reached.

    All prefer a node without a taint, then one that has the tarball, then one that has the image;
    for `import` the tarball, for `pin` the image is a condition. `recover` goes on with the
    target of a pin in force.
    """
    targets = (
        {
            parse_pin(candidate.node.mark.annotation).target
            for candidate in candidates
            if candidate.node.mark.annotation is not None
        }
        if command == "recover"
        else set()
    )
    lost = sorted(targets - {candidate.node.name for candidate in candidates})
    if len(targets) > 1 or lost:
        why = (
            f"is for {', '.join(lost)}, which is no node of the cluster"
            if lost
            else f"is not one: there are several, for {', '.join(sorted(targets))}"
        )
        raise Refused(f"the pin in force {why}", next_step="end it first: breakglass restore")
    for target in targets:
        return Choice(target, f"chose {target}: it is the target of the pin in force")
    reasons = {
        candidate.node.name: why_not(
            candidate, command=command, architecture=architecture, room_bytes=room_bytes
        )
        for candidate in candidates
    }
    fitting = [candidate for candidate in candidates if not reasons[candidate.node.name]]
    if not fitting:
        told = "; ".join(reasons.values()) or "the cluster has no nodes"
        next_step = {
            "import": "breakglass fetch",
            "pin": "breakglass fetch, then breakglass import",
        }.get(command, f"name one: breakglass {command} NODE")
        unread = [
            candidate.machine
            for candidate in candidates
            if isinstance(candidate.machine, Unreachable)
        ]
        if unread:
            let_in = (
                min(unread, key=lambda error: not isinstance(error, Refusal)).next_step
                or "bring one of them back"
            )
            others_answer = any(isinstance(candidate.machine, Machine) for candidate in candidates)
            raise Unreachable(
                f"no node fits: {told}",
                next_step=f"{next_step}; or: {let_in}" if others_answer else let_in,
            )
        raise Refused(f"no node fits: {told}", next_step=next_step)
    best = min(fitting, key=_preference)
    passed_over = "".join(f"; {reason}" for reason in reasons.values() if reason)
    has = [
        word
        for word, holds in (("the tarball", best.has_tarball), ("the image", best.has_image))
        if holds
    ]
    why = (
        f"it has {' and '.join(has)} already"
        if has
        else "Ready, not cordoned, answers SSH, has room"
    )
    if best.node.taints:
        taints = ", ".join(best.node.taints)
        why += (
            f"; it has the taint {taints}, so pods need a toleration; no node without a taint fits"
        )
    return Choice(best.node.name, f"chose {best.node.name}: {why}{passed_over}")


def _preference(candidate: Candidate) -> tuple[object, ...]:
    """The lowest is chosen. A taint comes first: the CI pods may not tolerate it."""
    return (
        bool(candidate.node.taints),
        not candidate.has_tarball,
        not candidate.has_image,
        _natural(candidate.node.name),
    )


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
        return "does not hold the image"
    if not candidate.has_tarball and machine.free_bytes < room_bytes:
        return f"{machine.free_bytes / 1e6:.0f} MB free, {room_bytes / 1e6:.0f} MB needed"
    return ""


def choose_for(estate: Estate, *, command: str) -> Chosen:
    """Asks the sources and all nodes at once. Raises Unreachable when the API is down."""
    try:
        nodes = estate.nodes()
    except Unreachable as error:
        known = ", ".join(f"{name} ({ssh})" for name, ssh in estate.config.nodes.hosts.items())
        raise Unreachable(
            (
                f"no NODE was named, and the API, which knows the nodes, was not reached: "
                f"{error.message}"
            ),
            next_step=(
                f"name one: breakglass {command} NODE; nodes.hosts has "
                f"{known or 'none: any address will do'}"
            ),
        ) from error
    # Nodes that the API rules out are not asked.
    asked = [node for node in nodes if node.ready and not node.mark.unschedulable]
    sources = estate.sources if command not in ("import", "pin") else ()
    estate.note(
        f"looking at "
        f"{', '.join([*(host.name for host, _ in sources), *(node.name for node in asked)])}"
    )
    # A NAS may take longer than a node that would be chosen.
    questions: list[Callable[[], Shelf | Unread | list[Candidate | None]]] = [
        partial(estate.source, host, directory) for host, directory in sources
    ]
    *shelves, candidates = together(
        [
            *questions,
            lambda: together([partial(_read, estate, node) for node in asked], seconds=SECONDS),
        ]
    )
    verified = [
        shelf.verified[0] for shelf in shelves if isinstance(shelf, Shelf) and shelf.verified
    ]
    record = verified[0].record if verified else None
    read = (
        {candidate.node.name: candidate for candidate in candidates if candidate is not None}
        if isinstance(candidates, list)
        else {}
    )
    late, unasked = Unreachable(f"no answer within {SECONDS:g} s"), Refused("not asked")
    choice = choose(
        tuple(
            read.get(node.name) or Candidate(node, late if node in asked else unasked, False, False)
            for node in nodes
        ),
        command=command,
        architecture=record.platform.rpartition("/")[2] if record else "",
        room_bytes=record.size_bytes if record else 0,
    )
    return Chosen(
        estate.resolve(choice.node, nodes),
        choice.why,
        tuple(shelf for shelf in shelves if isinstance(shelf, Shelf | Unread)),
    )


def _read(estate: Estate, node: Node) -> Candidate:
    try:
        host = estate.target_of(node).host
        machine = read_machine(estate.hosts, host, estate.config.nodes.directory, ("python3",))
        shelf = read_shelf(
            estate.hosts, host, estate.config.nodes.directory, estate.config.image.name
        )
        has_image = not missing_names(estate, machine, shelf)
    except BreakglassError as error:
        return Candidate(node, error, False, False)
    return Candidate(node, machine, bool(shelf.verified), has_image)


def missing_names(estate: Estate, machine: Machine, shelf: Shelf) -> tuple[str, ...]:
    """The names that pods use and that do not resolve to a whole, unpacked image on the node;
    empty: it holds the image.

    With a tarball on the node these are the names of its tag, and that tag must be the recorded
    image; else the names without a tag of their own.
    """
    image = estate.config.image
    tarball = shelf.find(shelf.latest) if shelf.latest else None
    record = tarball.record if tarball else None
    names = (
        image.names(record.tag)
        if record
        else tuple(name for name in image.also_known_as if "{tag}" not in name)
    )
    if not names:
        held = tuple(
            name
            for name in read_targets(estate.hosts, machine.host, estate.ctr)
            if repository_of(name) == image.repository
        )
        names = held[:1] or (image.repository,)
    found = read_containerd(
        estate.hosts, machine.host, estate.ctr, names=names, architecture=machine.architecture
    )
    wrong = [name for name in names if not found.image_ids.get(name) or name not in found.unpacked]
    if record and found.image_ids.get(names[0]) != record.image_id and names[0] not in wrong:
        wrong.append(names[0])
    return tuple(wrong)


def repository_of(reference: str) -> str:
    """`host:port/path:tag` without its tag or digest."""
    reference = reference.partition("@")[0]
    head, slash, last = reference.rpartition("/")
    return head + slash + last.partition(":")[0]


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
