"""NODE of a command: the node that was named, or the node that fits best."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands import Environment, Target, Unread
from breakglass.commands.image_names import missing_names
from breakglass.commands.node_choice import Candidate, choose
from breakglass.commands.right_host import WrongHost, check, none_fits
from breakglass.commands.whole_cluster import another_context, doubt
from breakglass.deadline import together
from breakglass.errors import BreakglassError, Refused, Unreachable
from breakglass.observe.cluster import Node
from breakglass.observe.machine import Machine, read_machine
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


def named(
    environment: Environment,
    node: str,
    *,
    nodes: tuple[Node, ...] | None = None,
    compares: bool = True,
) -> Chosen:
    """The node that was named. Where the API answers, the host must be that node, unless the
    comparison comes later. `nodes`: the cluster, where it was read already. Raises WrongHost.
    """
    target = environment.resolve(node, nodes)
    if not compares:
        return Chosen(target, f"{node} was named")
    if target.nodes is None and node in environment.config.nodes.hosts:
        try:
            target = replace(target, nodes=environment.nodes())
        except Unreachable as error:
            environment.note(
                f"the API was not reached, so it is not known whether {target.host.ssh} is {node}: "
                f"{error.message}"
            )
    check(environment, target.host, target.nodes)
    return Chosen(target, f"{node} was named")


def choose_for(environment: Environment, *, command: str) -> Chosen:
    """Asks the sources and all nodes at once. Raises Unreachable when the API is down."""
    nodes = _read_nodes(environment, command)
    if not nodes:
        cluster = environment.cluster_name()
        raise Refused(doubt((), (), cluster), next_step=another_context(cluster))
    sources, candidates = _read(environment, nodes, command)
    verified = [
        source.verified[0] for source in sources if isinstance(source, Shelf) and source.verified
    ]
    record = verified[0].record if verified else None
    wrong = [each.node.name for each in candidates if isinstance(each.machine, WrongHost)]
    if wrong and not any(isinstance(each.machine, Machine | Unreachable) for each in candidates):
        raise none_fits(wrong, environment.cluster_name())
    choice = choose(
        candidates,
        command=command,
        architecture=record.platform.rpartition("/")[2] if record else "",
        room_bytes=record.size_bytes if record else 0,
    )
    target = environment.resolve(choice.node, nodes)
    check(environment, target.host, nodes)  # the target of a pin was perhaps not asked
    return Chosen(target, choice.why, sources)


def _read_nodes(environment: Environment, command: str) -> tuple[Node, ...]:
    try:
        return environment.nodes()
    except Unreachable as error:
        hosts = environment.config.nodes.hosts.items()
        known = ", ".join(f"{name} ({ssh})" for name, ssh in hosts) or "none: any address will do"
        raise Unreachable(
            f"no NODE was named, and the API, which knows the nodes, was not reached: "
            f"{error.message}",
            next_step=f"name one: breakglass {command} NODE; nodes.hosts has {known}",
        ) from error


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
    read_nodes = [partial(_read_candidate, environment, node, nodes) for node in asked]
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


def _read_candidate(environment: Environment, node: Node, nodes: tuple[Node, ...]) -> Candidate:
    directory, name = environment.config.nodes.directory, environment.config.image.name
    try:
        host = environment.target_of(node).host
        check(environment, host, nodes)
        machine = read_machine(environment.hosts, host, directory, ("python3",))
        shelf = read_shelf(environment.hosts, host, directory, name)
        has_image = not missing_names(environment, machine, shelf)
    except BreakglassError as error:
        return Candidate(node, error, False, False)
    return Candidate(node, machine, bool(shelf.verified), has_image)
