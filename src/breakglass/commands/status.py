"""status: what is there, whatever part of the environment is down. It only reads. A part that
cannot be read is reported, and the rest is read all the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from breakglass.commands import check
from breakglass.commands.adoption import has_image
from breakglass.commands.check_asked import Asked
from breakglass.commands.environment import Environment, Unread
from breakglass.commands.fitness import needs_of, unfit
from breakglass.commands.image_names import missing_names
from breakglass.commands.node_machine import read_node
from breakglass.commands.right_host import check as check_right_host
from breakglass.commands.status_facts import (
    Facts,
    Seen,
    Source,
    pins,
)
from breakglass.commands.status_names import read_verdicts
from breakglass.commands.target import resolve, target_of
from breakglass.commands.whole_cluster import doubt
from breakglass.deadline import together
from breakglass.errors import AGAIN, BreakglassError, NoAnswer, then
from breakglass.observe.answering import read_responder, read_taken
from breakglass.observe.cluster import Node, read_nodes
from breakglass.observe.machine import Machine
from breakglass.observe.shelf import Shelf
from breakglass.plan import Argv, Host
from breakglass.ports import Reads
from breakglass.ports import Result as Ended

API = "API server"
ALL_SECONDS, API_SECONDS, NODES_SECONDS = 50.0, 15.0, 38.0
"""For everything, and within it for the API server and then for the nodes. The sources have all of
it: the disks of a NAS may sleep.
"""
WHOLE_SECONDS = 9.0
"""For asking the nodes once more, where nobody has a tarball."""
SOURCE_QUIET_SECONDS, NODE_QUIET_SECONDS = 45.0, 12.0
"""ctr itself gives up after 10 seconds, and says why."""

Cluster = tuple[tuple[Seen, ...], Unread | None]
"""What was seen of the nodes, and why the API server was not reached."""


def observe(environment: Environment) -> Facts:
    """Everything at the same time; never raises for a part that does not answer, nor waits longer
    than a minute for it.
    """
    environment.note("looking at the registries, the sources, the API server and the nodes")
    questions: list[Callable[[], Shelf | Unread | Cluster | list[Asked]]] = [
        partial(_source, environment, host, directory) for host, directory in environment.sources
    ]
    # The registries have a deadline of their own, that of check.
    questions += [lambda: list(check.ask(environment, "latest")), partial(_cluster, environment)]
    *shelves, registries, cluster = together(questions, seconds=ALL_SECONDS)
    sources = (
        Source(
            host,
            directory,
            found if isinstance(found, Shelf | Unread) else _late(host.name, ALL_SECONDS),
        )
        for (host, directory), found in zip(environment.sources, shelves, strict=True)
    )
    nodes, api = cluster if isinstance(cluster, tuple) else ((), _late(API, ALL_SECONDS))
    nodes = _with_whole_images(environment, shelves, nodes)
    name = environment.cluster_name()
    known = [seen.name for seen in nodes if seen.node]
    return Facts(
        environment.identity.at,
        environment.config.status.max_age_hours,
        tuple(sources),
        nodes,
        tuple(registries)
        if isinstance(registries, list)
        else check.unanswered(environment, check.LATE),
        api,
        name,
        "" if api else doubt(known, environment.config.nodes.hosts, name),
        environment.remembered().cordoned,
    )


def _with_whole_images(
    environment: Environment, answers: Sequence[object], nodes: tuple[Seen, ...]
) -> tuple[Seen, ...]:
    """Where nobody has a tarball: which nodes have the image whole, by the sizes of its blobs."""
    shelves = [answer for answer in answers if isinstance(answer, Shelf)]
    shelves += [seen.shelf for seen in nodes if seen.shelf]
    reached = [seen for seen in nodes if seen.host]
    if not reached or any(shelf.tarballs for shelf in shelves):
        return nodes
    brisk = replace(environment, hosts=_Brisk(environment.hosts))
    questions = [partial(has_image, brisk, seen.host, None) for seen in reached if seen.host]
    answered = together(questions, seconds=WHOLE_SECONDS)
    whole = {seen.name: answer for seen, answer in zip(reached, answered, strict=True)}
    return tuple(replace(seen, is_whole=whole.get(seen.name)) for seen in nodes)


def _source(environment: Environment, host: Host, directory: str) -> Shelf | Unread:
    try:
        return environment.source(host, directory, quiet_seconds=SOURCE_QUIET_SECONDS)
    except BreakglassError as error:
        return Unread(host.name, error)


def _cluster(environment: Environment) -> Cluster:
    """Every node that the API, `nodes.hosts` or an annotation names, asked over SSH whatever the
    API says of it; and why the API was not reached.
    """
    known: dict[str, Node | None] = {}
    api = None
    try:
        (answer,) = together([partial(read_nodes, environment.cluster)], seconds=API_SECONDS)
        known = {node.name: node for node in answer or ()}
        api = None if answer is not None else _late(API, API_SECONDS)
    except BreakglassError as error:
        api = Unread(API, error)
    in_force, _ = pins(Seen(name, node) for name, node in known.items())
    for name in (*environment.config.nodes.hosts, *(seen.pin.target for seen in in_force)):
        known.setdefault(name, None)
    brisk = replace(environment, hosts=_Brisk(environment.hosts))
    nodes = tuple(node for node in known.values() if node)
    seen = together(
        [partial(_look, brisk, Seen(name, node), nodes) for name, node in known.items()],
        seconds=NODES_SECONDS,
    )
    return tuple(
        each or Seen(name, known[name], unread=(_late(name, NODES_SECONDS),))
        for name, each in zip(known, seen, strict=True)
    ), api


def _look(environment: Environment, seen: Seen, nodes: tuple[Node, ...]) -> Seen:
    """What cannot be read of a node, its containerd say, is no reason not to read the rest."""
    needs = needs_of(environment.config.nodes)
    seen = replace(seen, unfit=unfit(needs, node=seen.node))
    try:
        host = (
            target_of(environment, seen.node) if seen.node else resolve(environment, seen.name)
        ).host
        check_right_host(environment, host, nodes)
        machine = read_node(environment, host)
    except BreakglassError as error:
        return replace(seen, unread=(Unread(seen.name, error),))
    seen = replace(seen, host=host, unfit=unfit(needs, node=seen.node, machine=machine))
    for read in (_shelf, _taken, _responder, _image, read_verdicts):
        try:
            seen = read(environment, machine, seen)
        except BreakglassError as error:
            seen = replace(seen, unread=(*seen.unread, Unread(seen.name, error)))
    return seen


def _shelf(environment: Environment, machine: Machine, seen: Seen) -> Seen:
    directory = environment.config.nodes.directory
    return replace(seen, shelf=environment.shelf(machine.host, directory))


def _taken(environment: Environment, machine: Machine, seen: Seen) -> Seen:
    nodes = environment.config.nodes
    return replace(
        seen,
        taken=read_taken(
            environment.hosts, machine.host, nodes.directory, certs=nodes.registry_config
        ),
    )


def _responder(environment: Environment, machine: Machine, seen: Seen) -> Seen:
    """Asked only where there should be one."""
    return (
        replace(
            seen,
            responder=read_responder(
                environment.hosts, machine.host, environment.config.nodes.directory
            ),
        )
        if seen.should_answer
        else seen
    )


def _image(environment: Environment, machine: Machine, seen: Seen) -> Seen:
    return (
        replace(seen, missing=missing_names(environment, machine, seen.shelf))
        if seen.shelf
        else seen
    )


def _late(name: str, seconds: float) -> Unread:
    return Unread(
        name,
        NoAnswer(
            f"{name} did not answer within {seconds:.0f} s",
            where=name,
            next_step=then(AGAIN, advice="in a minute; disks that sleep are awake then"),
        ),
    )


class _Brisk:
    """Reading that does not wait long: a node's containerd that hangs must not cost us what the
    node can report besides.
    """

    def __init__(self, hosts: Reads) -> None:
        self._hosts = hosts

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = NODE_QUIET_SECONDS) -> Ended:
        return self._hosts.ask(
            host, *pipeline, quiet_seconds=min(quiet_seconds, NODE_QUIET_SECONDS)
        )
