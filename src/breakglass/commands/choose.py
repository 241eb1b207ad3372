"""NODE of a command: the node that was named, or the node that fits best."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from breakglass.commands import Environment, Target, Unread
from breakglass.commands.image_names import missing_names
from breakglass.commands.node_choice import Candidate, choose
from breakglass.deadline import together
from breakglass.errors import BreakglassError, Refused, Unreachable
from breakglass.observe.cluster import Node
from breakglass.observe.machine import read_machine
from breakglass.observe.shelf import Shelf, read_shelf

SECONDS = 30.0
"""A node that hangs is not chosen, and does not delay the choice any longer."""


@dataclass(frozen=True)
class Chosen:
    """The node that a command is for, named or chosen."""

    target: Target
    why: str
    sources: tuple[Shelf | Unread, ...] = ()
    """What was read of the sources for the choice."""


def named(environment: Environment, node: str, *, nodes: tuple[Node, ...] | None = None) -> Chosen:
    """The node that was named. `nodes`: the cluster, where it was read already."""
    return Chosen(environment.resolve(node, nodes), f"{node} was named")


def choose_for(
    environment: Environment, *, command: str, nodes: tuple[Node, ...] | None = None
) -> Chosen:
    """Asks the sources and all nodes at once. Raises Unreachable when the API is down. `nodes`: the
    cluster, where it was read already.
    """
    nodes = _read_nodes(environment, command) if nodes is None else nodes
    sources, candidates = _read(environment, nodes, command)
    verified = [
        source.verified[0] for source in sources if isinstance(source, Shelf) and source.verified
    ]
    record = verified[0].record if verified else None
    choice = choose(
        candidates,
        command=command,
        architecture=record.platform.rpartition("/")[2] if record else "",
        room_bytes=record.size_bytes if record else 0,
    )
    return Chosen(environment.resolve(choice.node, nodes), choice.why, sources)


def _read_nodes(environment: Environment, command: str) -> tuple[Node, ...]:
    try:
        return environment.nodes()
    except Unreachable as error:
        raise Unreachable(
            f"no NODE was named, and the API, which knows the nodes, was not reached: "
            f"{error.message}",
            next_step=_named_by_hand(command, environment.config.nodes.hosts) or error.next_step,
        ) from error


def _named_by_hand(command: str, hosts: dict[str, str]) -> str:
    """What to type with the API server down; empty where naming a node does not help."""
    if command == "pin":
        return ""
    if not hosts:
        return f"name one by its address: breakglass {command} ADDRESS; nodes.hosts has none"
    known = ", ".join(f"{name} ({ssh})" for name, ssh in hosts.items())
    return f"name one; nodes.hosts has {known}\nbreakglass {command} {next(iter(hosts))}"


def _read(
    environment: Environment, nodes: tuple[Node, ...], command: str
) -> tuple[tuple[Shelf | Unread, ...], tuple[Candidate, ...]]:
    """The sources, where the command takes a tarball from them, and every node."""
    # Nodes that the API rules out are not asked.
    asked = [node for node in nodes if node.ready and not node.mark.unschedulable]
    sources = environment.sources if command not in ("import", "pin") else ()
    names = [*(host.name for host, _ in sources), *(node.name for node in asked)]
    environment.note(f"looking at {', '.join(names)}")
    questions: list[Callable[[], Shelf | Unread | list[Candidate | None]]] = [
        partial(environment.source, host, directory) for host, directory in sources
    ]
    # Only the nodes have a deadline: a NAS may take longer than a node that would be chosen.
    read_nodes = [partial(_read_candidate, environment, node) for node in asked]
    answers = together([*questions, lambda: together(read_nodes, seconds=SECONDS)])
    shelves = tuple(answer for answer in answers if isinstance(answer, Shelf | Unread))
    read = {
        candidate.node.name: candidate
        for answer in answers
        if isinstance(answer, list)
        for candidate in answer
        if candidate is not None
    }
    late, unasked = Unreachable(f"no answer within {SECONDS:g} s"), Refused("not asked")
    candidates = tuple(
        read.get(node.name) or Candidate(node, late if node in asked else unasked, False, False)
        for node in nodes
    )
    return shelves, candidates


def _read_candidate(environment: Environment, node: Node) -> Candidate:
    directory, name = environment.config.nodes.directory, environment.config.image.name
    try:
        host = environment.target_of(node).host
        machine = read_machine(environment.hosts, host, directory, ("python3",))
        shelf = read_shelf(environment.hosts, host, directory, name)
        has_image = not missing_names(environment, machine, shelf)
    except BreakglassError as error:
        return Candidate(node, error, False, False)
    return Candidate(node, machine, bool(shelf.verified), has_image)
