"""NODE of a command: the node that was named, or the node that fits best."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands.adoption import is_whole, offers
from breakglass.commands.environment import Environment, Unread
from breakglass.commands.fitness import needs_of, refusal, unfit, warning
from breakglass.commands.image_names import missing_names
from breakglass.commands.node_choice import Candidate, choose
from breakglass.commands.node_machine import read_node
from breakglass.commands.right_host import WrongHost, check, none_fits
from breakglass.commands.target import Target, resolve, target_of
from breakglass.commands.whole_cluster import another_context, doubt
from breakglass.deadline import together
from breakglass.errors import NOTHING, BreakglassError, Next, Refused, Unreachable, then
from breakglass.observe.cluster import Node
from breakglass.observe.containerd import read_disk_of_content
from breakglass.observe.machine import Machine
from breakglass.observe.shelf import Shelf

ADOPTING = ("import", "recover")
"""Commands that take the image as a node has it, where nobody has a tarball."""
SECONDS = 30.0
"""A node that hangs is not chosen, and does not delay the choice any longer."""

WHOLE_SECONDS = 60.0
"""Long enough to read an image of some GB."""


@dataclass(frozen=True)
class Chosen:
    """The node that a command is for, named or chosen."""

    target: Target
    why: str
    sources: tuple[Shelf | Unread, ...] = ()
    """What was read of the sources for the choice."""
    machine: Machine | None = None
    """The node's machine, where it was read for the choice."""


def named(
    environment: Environment, node: str, *, command: str, nodes: tuple[Node, ...] | None = None
) -> Chosen:
    """The node that was named, where the host that SSH reaches is that node. With the API down it
    is not known whether it is, and what the host itself reports decides whether it fits. `nodes`:
    the cluster, where it was read already.

    Raises WrongHost and Refused, unless the operator goes on anyway: then the plan of the pin
    warns.
    """
    hosts = environment.config.nodes.hosts
    # For other names `resolve` asks the API itself.
    if nodes is None and (command == "pin" or node in hosts):
        nodes = _nodes_or_none(environment, command, node)
    target = resolve(environment, node, nodes)
    machine = None
    # The plan of a pin judges by itself: that another pin is in force comes first.
    if command != "pin":
        check(environment, target.host, target.nodes)
        # In recover the plan of the pin warns.
        if command != "recover" or not environment.anyway:
            machine = _check_fits(environment, target, command)
    return Chosen(target, f"{node} was named", machine=machine)


def _check_fits(environment: Environment, target: Target, command: str) -> Machine | None:
    """The machine, where it was asked."""
    name, nodes = target.host.name, target.nodes or ()
    known = next((each for each in nodes if each.name == name), None)
    needs = needs_of(environment.config.nodes)
    reasons = unfit(needs, node=known)
    machine = None
    # A drill reports each fault of the host itself as a finding.
    if not reasons and command != "drill":
        machine = read_node(environment, target.host)
        reasons = unfit(needs, node=known, machine=machine)
    if reasons and not environment.anyway:
        raise refusal(name, reasons, command=command, nodes=nodes)
    if reasons:
        environment.warn(warning(name, reasons))
    return machine


def _nodes_or_none(environment: Environment, command: str, node: str) -> tuple[Node, ...] | None:
    """The cluster; None where the API is down and the command works without it."""
    nodes, error = environment.nodes_or_error()
    if error is None:
        return nodes
    if command == "pin":
        raise error
    environment.note(
        f"the API was not reached, so it is not known whether "
        f"{resolve(environment, node, ()).host.ssh} is {node}: {error.message}"
    )
    return None


def choose_for(
    environment: Environment,
    *,
    command: str,
    nodes: tuple[Node, ...] | None = None,
    tag: str | None = None,
) -> Chosen:
    """Asks the sources and all nodes at once. Raises Unreachable when the API is down. `nodes`: the
    cluster, where it was read already.
    """
    nodes = _read_nodes(environment, command) if nodes is None else nodes
    if not nodes:
        cluster = environment.cluster_name()
        raise Refused(doubt((), (), cluster), next_step=another_context(cluster))
    sources, candidates = _read(environment, nodes, command)
    candidates = _with_whole_images(environment, sources, candidates, command=command, tag=tag)
    verified = [
        source.verified[0] for source in sources if isinstance(source, Shelf) and source.verified
    ]
    offered = verified[0] if verified else None
    record = offered.record if offered else None
    architecture = record.platform.rpartition("/")[2] if record else ""
    wrong = [each.node.name for each in candidates if isinstance(each.machine, WrongHost)]
    if wrong and not any(isinstance(each.machine, Machine | Unreachable) for each in candidates):
        raise none_fits(wrong, environment.cluster_name())
    choice = choose(
        candidates,
        command=command,
        needs=needs_of(environment.config.nodes, architecture=architecture),
        offered=offered,
        cluster=environment.cluster_name(),
    )
    target = resolve(environment, choice.node, nodes)
    check(environment, target.host, nodes)  # the target of a pin was perhaps not asked
    machines = {each.node.name: each.machine for each in candidates}
    machine = machines.get(choice.node)
    return Chosen(target, choice.why, sources, machine if isinstance(machine, Machine) else None)


def _read_nodes(environment: Environment, command: str) -> tuple[Node, ...]:
    try:
        return environment.nodes()
    except Unreachable as error:
        raise Unreachable(
            f"no NODE was named, and the API, which knows the nodes, was not reached: "
            f"{error.message}",
            next_step=_named_by_hand(command, environment.config.nodes.hosts) or error.next_step,
        ) from error


def _named_by_hand(command: str, hosts: dict[str, str]) -> Next:
    """What to type with the API server down; nothing where naming a node does not help."""
    if command == "pin":
        return NOTHING
    if not hosts:
        return then(
            f"breakglass {command} --help", advice="name one by its address; nodes.hosts has none"
        )
    known = ", ".join(f"{name} ({ssh})" for name, ssh in hosts.items())
    return then(
        f"breakglass {command} {next(iter(hosts))}", advice=f"name one; nodes.hosts has {known}"
    )


def _read(
    environment: Environment, nodes: tuple[Node, ...], command: str
) -> tuple[tuple[Shelf | Unread, ...], tuple[Candidate, ...]]:
    """The sources, where the command takes a tarball from them, and every node."""
    # Nodes that the API rules out are not asked.
    needs = needs_of(environment.config.nodes)
    asked = [node for node in nodes if not unfit(needs, node=node)]
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
        read.get(node.name) or Candidate(node, late if node in asked else unasked) for node in nodes
    )
    return shelves, candidates


def _with_whole_images(
    environment: Environment,
    sources: tuple[Shelf | Unread, ...],
    candidates: tuple[Candidate, ...],
    *,
    command: str,
    tag: str | None,
) -> tuple[Candidate, ...]:
    """Where nobody has a tarball: which nodes have the image whole. All of it is read there."""
    shelves = [source for source in sources if isinstance(source, Shelf)]
    has_tarball = any(
        each.tarball and (tag is None or each.tarball.tag == tag) for each in candidates
    )
    image = environment.config.image
    is_offered = has_tarball or any(offers(image, each, tag) for each in shelves)
    if command not in ADOPTING or is_offered:
        return candidates
    environment.note("no tarball was found: looking for a node that has the image whole")
    questions = [
        partial(is_whole, environment, each.machine, tag)
        if isinstance(each.machine, Machine) and "python3" in each.machine.commands
        else lambda: False
        for each in candidates
    ]
    answers = together(questions, seconds=WHOLE_SECONDS)
    for each, answer in zip(candidates, answers, strict=True):
        if answer is None:
            environment.warn(
                f"{each.node.name} did not read all blobs of the image within {WHOLE_SECONDS:g} s, "
                f"so it is not chosen; if its disk is slow, name it"
            )
    return tuple(
        replace(each, is_whole=bool(answer))
        for each, answer in zip(candidates, answers, strict=True)
    )


def _read_candidate(environment: Environment, node: Node, cluster: tuple[Node, ...]) -> Candidate:
    nodes = environment.config.nodes
    try:
        host = target_of(environment, node).host
        check(environment, host, cluster)
        machine = read_node(environment, host)
        if unfit(needs_of(nodes), node=node, machine=machine):
            return Candidate(node, machine)
        shelf = environment.shelf(host, nodes.directory)
        has_image = not missing_names(environment, machine, shelf)
        disk = read_disk_of_content(environment.hosts, host, environment.ctr)
    except BreakglassError as error:
        return Candidate(node, error)
    return Candidate(node, machine, next(iter(shelf.verified), None), has_image, disk=disk)
