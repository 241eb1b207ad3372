"""The choice of a node: a pure function with its reasons."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from breakglass.commands import Estate
from breakglass.errors import BreakglassError, Refused, Unreachable
from breakglass.observe.cluster import Node
from breakglass.observe.containerd import read_targets
from breakglass.observe.machine import Machine, read_machine
from breakglass.observe.shelf import Shelf, read_shelf


@dataclass(frozen=True)
class Candidate:
    """What is known of one node that might be chosen."""

    node: Node
    machine: Machine | None
    why_unread: str
    has_tarball: bool
    has_image: bool


@dataclass(frozen=True)
class Choice:
    node: str
    why: str


def choose(candidates: tuple[Candidate, ...], *, architecture: str, room_bytes: int, prefers: Callable[[Candidate], bool], preference: str) -> Choice:
    """The first node, by name, of those that fit; those that `prefers` holds of come before the others. Raises Refused with a reason for each node."""
    reasons = {candidate.node.name: _why_not(candidate, architecture, room_bytes) for candidate in candidates}
    fitting = [candidate for candidate in candidates if not reasons[candidate.node.name]]
    if not fitting:
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "the cluster has no nodes"
        raise Refused(f"no node fits: {told}", next_step="name one yourself: breakglass fetch NODE")
    best = min(fitting, key=lambda candidate: (not prefers(candidate), _natural(candidate.node.name)))
    passed_over = "".join(f"; {name}: {reason}" for name, reason in reasons.items() if reason)
    why = preference if prefers(best) else "Ready, not cordoned, answers SSH, has room"
    return Choice(best.node.name, f"chose {best.node.name}: {why}{passed_over}")


def choose_for(estate: Estate, *, command: str) -> Choice:
    """`fetch` and `import` prefer a node that has the tarball or the image, `pin` one that holds the image. Raises Unreachable when the API is down."""
    try:
        nodes = estate.nodes()
    except Unreachable as error:
        known = ", ".join(f"{name} ({ssh})" for name, ssh in estate.config.nodes.hosts.items())
        raise Unreachable(
            f"no NODE was named, and the API, which knows the nodes, was not reached: {error.message}",
            next_step=f"name one: breakglass {command} NODE; nodes.hosts has {known or 'none: any address will do'}",
        ) from error
    candidates = tuple(_read(estate, node) for node in nodes)
    if command == "pin":
        return choose(candidates, architecture="", room_bytes=0, prefers=lambda c: c.has_image, preference="it holds the image")
    architecture, room_bytes = _wanted(estate) if command == "fetch" else ("", 0)
    return choose(
        candidates,
        architecture=architecture,
        room_bytes=room_bytes,
        prefers=lambda c: c.has_tarball or c.has_image,
        preference="it has the tarball or the image already",
    )


def _wanted(estate: Estate) -> tuple[str, int]:
    """Architecture and size in bytes of the newest verified tarball of the first source that has one; nothing is asked of a node where none has."""
    for host, directory in estate.sources:
        with suppress(BreakglassError):
            verified = read_shelf(estate.hosts, host, directory, estate.config.image.name).verified
            if verified and verified[0].record:
                return verified[0].record.platform.rpartition("/")[2], verified[0].size_bytes
    return "", 0


def _read(estate: Estate, node: Node) -> Candidate:
    """Nodes that the API rules out are not asked."""
    if not node.ready or node.mark.unschedulable:
        return Candidate(node, None, "", False, False)
    try:
        host, _ = estate.node(node.name)
        estate.note(f"looking at {host} ({host.ssh})")
        machine = read_machine(estate.hosts, host, estate.config.nodes.directory, ("python3",))
        shelf: Shelf = read_shelf(estate.hosts, host, estate.config.nodes.directory, estate.config.image.name)
        has_image = holds_image(estate, tuple(read_targets(estate.hosts, host, estate.ctr)))
    except BreakglassError as error:
        return Candidate(node, None, error.message, False, False)
    return Candidate(node, machine, "", bool(shelf.verified), has_image)


def holds_image(estate: Estate, names: tuple[str, ...]) -> bool:
    """Whether one of the names in containerd is one that the pods use, under any tag."""
    image = estate.config.image
    ours = {image.repository, *(_repository(name) for name in image.names("x"))}
    return any(_repository(name) in ours for name in names)


def _repository(reference: str) -> str:
    """`host:port/path:tag` without its tag or digest."""
    reference = reference.partition("@")[0]
    head, slash, last = reference.rpartition("/")
    return head + slash + last.partition(":")[0]


def _why_not(candidate: Candidate, architecture: str, room_bytes: int) -> str:
    node, machine = candidate.node, candidate.machine
    if not node.ready:
        return "not Ready"
    if node.mark.unschedulable:
        return "cordoned"
    if node.disk_pressure:
        return "DiskPressure"
    if architecture and node.architecture and node.architecture != architecture:
        return f"architecture {node.architecture}, the image is for {architecture}"
    if machine is None:
        return candidate.why_unread
    if not candidate.has_tarball and not candidate.has_image and machine.free_bytes < room_bytes:
        return f"{machine.free_bytes / 1e6:.0f} MB free, {room_bytes / 1e6:.0f} MB needed"
    return ""


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
