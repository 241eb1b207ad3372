"""What fetch reads: the node, the sources, and whether the node can log in to a source itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands.environment import Environment, Unread
from breakglass.commands.node_machine import read_node
from breakglass.commands.node_sources import Place, check_other, named_source, other_nodes
from breakglass.commands.record_names import fault_of_names
from breakglass.commands.sources import FIRST_BYTE_SECONDS
from breakglass.commands.target import Target
from breakglass.deadline import together
from breakglass.errors import BreakglassError
from breakglass.observe.cluster import Node
from breakglass.observe.containerd import read_disk_of_content
from breakglass.observe.machine import Disk, Machine, read_hashes
from breakglass.observe.shelf import Shelf
from breakglass.plan import Argv, Host
from breakglass.text import inert

NODES_SECONDS = 30.0
"""A node that hangs is no source, and does not delay the others any longer."""

SSH_OPTIONS = (
    "-o",
    "BatchMode=yes",
    "-o",
    "StrictHostKeyChecking=yes",
    "-o",
    "UpdateHostKeys=no",
    "-o",
    "ConnectTimeout=5",
    "-o",
    "ServerAliveInterval=10",
    "-o",
    "ServerAliveCountMax=2",
)


@dataclass(frozen=True)
class Login:
    """How the node's root logs in to a source, and whether it can."""

    argv: Argv
    why_not: str
    """Empty: it can."""


@dataclass(frozen=True)
class Sources:
    """What was read of the sources."""

    shelves: tuple[Shelf, ...]
    unread: tuple[Unread, ...]
    """Sources that could not be read."""
    logins: dict[str, Login]
    """By the source's name; only where the node was asked."""


@dataclass(frozen=True)
class Facts:
    node: Host
    how: str
    """How NODE was resolved."""
    machine: Machine
    shelf: Shelf
    """On the node."""
    sources: tuple[Shelf, ...]
    unread: tuple[Unread, ...]
    """Sources that could not be read."""
    logins: dict[str, Login]
    """By the source's name; only where the node was asked."""
    bad: frozenset[str] = frozenset()
    """Files on the node whose content is not what their sidecars say, or whose sidecars have names
    that the configuration does not give.
    """
    is_named: bool = False
    """A source was named: no other is asked."""
    disk: Disk | None = None
    """Of containerd's content on the node; None: not known, or not asked."""
    anyway: bool = False
    """The operator goes on where the import would take too much room."""

    def node_reaches(self, source: str) -> bool:
        """Whether the node can fetch from this source itself."""
        login = self.logins.get(source)
        return login is not None and not login.why_not


def observe(
    environment: Environment,
    *,
    target: Target,
    source: str | None,
    via: str,
    known: tuple[Shelf | Unread, ...] = (),
    machine: Machine | None = None,
) -> Facts:
    """`source`: only this one, which may be another node. `known`: sources that were read already;
    so too `machine`, the node's.
    Raises Refused where there is no such source, Unreachable for the node.
    """
    node = target.host
    places = environment.sources
    if source is not None:
        places = (named_source(environment, source, node),)
    environment.note(f"looking at {node} ({node.ssh})")
    directory = environment.config.nodes.directory
    machine = machine or read_node(environment, node)
    shelf = environment.shelf(node, directory)
    sources = read_sources(environment, node, machine, places, via=via, known=known)
    facts = Facts(
        node,
        target.how,
        machine,
        shelf,
        sources.shelves,
        sources.unread,
        sources.logins,
        is_named=source is not None,
        disk=read_disk_of_content(environment.hosts, node, environment.ctr),
        anyway=environment.anyway,
    )
    return _with_hashes(environment, facts)


def observe_again(environment: Environment, facts: Facts) -> Facts:
    """The node read anew. The sources are not asked again: a source that goes down meanwhile
    changes no plan.
    """
    machine = read_node(environment, facts.node)
    shelf = environment.shelf(facts.node, facts.shelf.directory)
    disk = read_disk_of_content(environment.hosts, facts.node, environment.ctr)
    return _with_hashes(environment, replace(facts, machine=machine, shelf=shelf, disk=disk))


def with_nodes(environment: Environment, facts: Facts, *, via: str) -> Facts:
    """The same, with the other nodes as the last sources. A node that is not reached is none: why
    there is no tarball is said by the sources.
    """
    shelves = read_other_nodes(environment, facts.node)
    logins = _logins(environment, facts.node, facts.machine, shelves, via)
    return replace(facts, sources=(*facts.sources, *shelves), logins={**facts.logins, **logins})


def read_other_nodes(environment: Environment, node: Host) -> tuple[Shelf, ...]:
    """The directories of the other nodes that have a verified tarball."""
    places, cluster = other_nodes(environment, node)
    if not places:
        return ()
    environment.note(f"looking at the other nodes: {', '.join(host.name for host, _ in places)}")
    answers = together(
        [partial(_on_a_node, environment, cluster, place) for place in places],
        seconds=NODES_SECONDS,
    )
    return tuple(shelf for shelf in answers if shelf is not None and shelf.verified)


def read_sources(
    environment: Environment,
    node: Host,
    machine: Machine,
    places: Sequence[Place],
    *,
    via: str,
    known: tuple[Shelf | Unread, ...] = (),
) -> Sources:
    """The shelves of these sources, and how the node itself logs in to each."""
    answers: Sequence[Shelf | Unread | None]
    if known:
        names = {host.name for host, _ in places}
        answers = [answer for answer in known if _source_name(answer) in names]
    else:
        for host, _ in places:
            environment.note(f"looking at {host} ({host.ssh})")
        answers = together([partial(environment.source, *place) for place in places])
    shelves = tuple(answer for answer in answers if isinstance(answer, Shelf))
    unread = tuple(answer for answer in answers if isinstance(answer, Unread))
    return Sources(shelves, unread, _logins(environment, node, machine, shelves, via))


def _on_a_node(environment: Environment, cluster: tuple[Node, ...], place: Place) -> Shelf | None:
    try:
        check_other(environment, place[0], cluster)
        answer = environment.source(*place)
    except BreakglassError:
        return None
    return answer if isinstance(answer, Shelf) else None


def _logins(
    environment: Environment, node: Host, machine: Machine, shelves: tuple[Shelf, ...], via: str
) -> dict[str, Login]:
    if via == "operator":
        return {}
    return {
        shelf.host.name: _read_login(environment, node, machine, shelf.host)
        for shelf in shelves
        if shelf.present
    }


def _source_name(answer: Shelf | Unread) -> str:
    return answer.host.name if isinstance(answer, Shelf) else answer.name


def _read_login(environment: Environment, node: Host, machine: Machine, source: Host) -> Login:
    """Asks the node whether its root may log in to the source. Changes nothing there."""
    argv = ("ssh", *SSH_OPTIONS, *source.login)
    if "ssh" not in machine.commands:
        return Login(argv, f"{node} has no ssh client")
    result = environment.hosts.ask(node, (*argv, "cat /dev/null"), quiet_seconds=FIRST_BYTE_SECONDS)
    if result.ok and not result.stdout:
        return Login(argv, "")
    if result.ok:
        # It would be part of the tarball.
        noise = inert(result.stdout, limit=60)
        return Login(argv, f"the login shell of {source} prints on every command: {noise}")
    reason = inert(result.stderr or result.lost)
    return Login(argv, f"{node} cannot log in to {source} ({source.ssh}): {reason}")


def _with_hashes(environment: Environment, facts: Facts) -> Facts:
    """Judges the verified tarballs on the node: a sidecar proves nothing about the content, and
    its names have to be those of the configuration.
    """
    shelf = facts.shelf
    paths = tuple(shelf.path(tarball) for tarball in shelf.verified)
    hashes = read_hashes(environment.hosts, facts.node, paths)
    image = environment.config.image
    bad = frozenset(
        tarball.file
        for tarball in shelf.verified
        if (tarball.record and hashes.get(shelf.path(tarball)) != tarball.record.sha256)
        or fault_of_names(image, shelf, tarball)
    )
    return replace(facts, bad=bad)


def state(facts: Facts) -> str:
    """What is on the node: the sentence for an error."""
    tags = [tarball.tag for tarball in facts.shelf.verified]
    verified = f"verified: {', '.join(tags)}" if tags else "no verified tarball"
    kept = ""
    if facts.shelf.partials:
        partial = facts.shelf.partials[0]
        size = f"{partial.size_bytes / 1e6:.0f} MB"
        kept = f"; a partial of {partial.file} ({size}) is kept for the next run"
    return f"On {facts.node}: {verified}{kept}. The sources were only read."
