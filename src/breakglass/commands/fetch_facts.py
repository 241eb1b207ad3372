"""What fetch reads: the node, the sources, and whether the node can log in to a source itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands import FIRST_BYTE_SECONDS, Environment, Target, Unread
from breakglass.deadline import together
from breakglass.errors import Refused
from breakglass.observe.containerd import read_disk_of_content
from breakglass.observe.machine import Disk, Machine, read_hashes, read_machine
from breakglass.observe.shelf import Shelf, read_shelf
from breakglass.plan import Argv, Host
from breakglass.text import inert

COMMANDS = ("python3", "ssh", "bash", "sha256sum")

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
    """Files on the node whose content is not what their sidecars say."""
    others_unasked: bool = False
    """A source was named, and there are others."""
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
) -> Facts:
    """`known`: sources that were read already. Raises Refused for a source that is not configured,
    Unreachable for the node.
    """
    names = [host.name for host, _ in environment.sources]
    if source is not None and source not in names:
        raise Refused(f"there is no source {source}", next_step=f"one of: {', '.join(names)}")
    node = target.host
    environment.note(f"looking at {node} ({node.ssh})")
    directory = environment.config.nodes.directory
    machine = read_machine(environment.hosts, node, directory, COMMANDS)
    shelf = read_shelf(environment.hosts, node, directory, environment.config.image.name)
    sources = read_sources(environment, node, machine, source=source, via=via, known=known)
    facts = Facts(
        node,
        target.how,
        machine,
        shelf,
        sources.shelves,
        sources.unread,
        sources.logins,
        others_unasked=source is not None and len(names) > 1,
        disk=read_disk_of_content(environment.hosts, node, environment.ctr),
        anyway=target.anyway,
    )
    return _with_hashes(environment, facts)


def observe_again(environment: Environment, facts: Facts) -> Facts:
    """The node read anew. The sources are not asked again: a source that goes down meanwhile
    changes no plan.
    """
    machine = read_machine(environment.hosts, facts.node, facts.shelf.directory, COMMANDS)
    shelf = read_shelf(environment.hosts, facts.node, facts.shelf.directory, facts.shelf.name)
    disk = read_disk_of_content(environment.hosts, facts.node, environment.ctr)
    return _with_hashes(environment, replace(facts, machine=machine, shelf=shelf, disk=disk))


def read_sources(
    environment: Environment,
    node: Host,
    machine: Machine,
    *,
    source: str | None,
    via: str,
    known: tuple[Shelf | Unread, ...] = (),
) -> Sources:
    """The shelves of all sources or of the named one, and how the node itself logs in to each."""
    wanted = [
        (host, directory) for host, directory in environment.sources if source in (None, host.name)
    ]
    answers: Sequence[Shelf | Unread | None]
    if known:
        names = {host.name for host, _ in wanted}
        answers = [answer for answer in known if _source_name(answer) in names]
    else:
        for host, _ in wanted:
            environment.note(f"looking at {host} ({host.ssh})")
        answers = together(
            [partial(environment.source, host, directory) for host, directory in wanted]
        )
    shelves = tuple(answer for answer in answers if isinstance(answer, Shelf))
    unread = tuple(answer for answer in answers if isinstance(answer, Unread))
    logins = {
        shelf.host.name: _read_login(environment, node, machine, shelf.host)
        for shelf in shelves
        if via != "operator" and shelf.present
    }
    return Sources(shelves, unread, logins)


def _source_name(answer: Shelf | Unread) -> str:
    return answer.host.name if isinstance(answer, Shelf) else answer.name


def _read_login(environment: Environment, node: Host, machine: Machine, source: Host) -> Login:
    """Asks the node whether its root may log in to the source. Changes nothing there."""
    argv = ("ssh", *SSH_OPTIONS, *source.login)
    if "ssh" not in machine.commands:
        return Login(argv, f"{node} has no ssh client")
    result = environment.hosts.ask(node, (*argv, "cat /dev/null"), quiet_seconds=FIRST_BYTE_SECONDS)
    if result.ok:
        return Login(argv, "")
    reason = inert(result.stderr or result.lost)
    return Login(argv, f"{node} cannot log in to {source} ({source.ssh}): {reason}")


def _with_hashes(environment: Environment, facts: Facts) -> Facts:
    """Hashes the verified tarballs on the node: a sidecar proves nothing about the content."""
    shelf = facts.shelf
    paths = tuple(shelf.path(tarball) for tarball in shelf.verified)
    hashes = read_hashes(environment.hosts, facts.node, paths)
    bad = frozenset(
        tarball.file
        for tarball in shelf.verified
        if tarball.record and hashes.get(shelf.path(tarball)) != tarball.record.sha256
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
