"""What `status` has found, and what follows from it. All of it pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from breakglass.age import age_seconds
from breakglass.cluster_name import ClusterName
from breakglass.commands.check_asked import Asked
from breakglass.commands.environment import Unread
from breakglass.commands.fitness import Reason
from breakglass.commands.hosts_toml_reading import lists
from breakglass.commands.order import is_older
from breakglass.commands.verdict_names import NameVerdict
from breakglass.errors import Refused
from breakglass.observe.answering import Responder, Taken
from breakglass.observe.cluster import Node, Pin, parse_pin
from breakglass.observe.pins import pin_held
from breakglass.observe.shelf import Shelf, Tarball
from breakglass.plan import Host


@dataclass(frozen=True)
class Source:
    """A source of tarballs, and what was found there."""

    host: Host
    directory: str
    found: Shelf | Unread

    @property
    def shelf(self) -> Shelf | None:
        return self.found if isinstance(self.found, Shelf) else None


@dataclass(frozen=True)
class Seen:
    """What is known of one node; None: not known."""

    name: str
    node: Node | None = None
    """What the API says of it."""
    host: Host | None = None
    """None: it was not reached."""
    shelf: Shelf | None = None
    missing: tuple[str, ...] | None = None
    """Names that pods use and that do not resolve there."""
    taken: Taken | None = None
    responder: Responder | None = None
    unread: tuple[Unread, ...] = ()
    """What could not be read of it."""
    unfit: tuple[Reason, ...] = ()
    """Why no command would choose it."""
    is_whole: bool | None = None
    """Whether its containerd has the image whole; asked only where nobody has a tarball."""
    verdicts: tuple[NameVerdict, ...] = ()
    """Which pods start there under each name, where an import has left something."""

    @property
    def holds(self) -> bool | None:
        return None if self.missing is None else not self.missing

    @property
    def should_answer(self) -> bool | None:
        """An import has set up the answering of pulls, and nobody has taken it back."""
        return (
            None
            if self.taken is None
            else self.taken.has_responder
            or any(file.now != file.original for file in self.taken.files)
        )

    @property
    def only_keeps(self) -> bool:
        """An import has set up no answering of pulls, and what it took besides is not restored:
        the keep tag.
        """
        return self.taken is not None and self.taken.is_begun and not self.should_answer

    @property
    def answers_pulls(self) -> bool | None:
        """As containerd would ask: each hosts.toml lists the responder, and it answers."""
        if self.should_answer is False:
            return False
        if self.responder is None:
            return None
        return bool(self.responder.answers) and not self.unlisted

    @property
    def unlisted(self) -> tuple[str, ...]:
        """The files of the import that no longer list the responder: k3s writes them anew at each
        start, Spegel moves them away.
        """
        if self.taken is None or self.responder is None or self.responder.port is None:
            return ()
        address = f"http://127.0.0.1:{self.responder.port}"
        return tuple(
            file.path for file in self.taken.files if not lists(file.now, address, first=False)
        )

    @property
    def fails_to_answer(self) -> bool:
        return self.should_answer is True and self.answers_pulls is False

    @property
    def edited(self) -> tuple[str, ...]:
        return tuple(file.path for file in self.taken.files if file.is_edited) if self.taken else ()


@dataclass(frozen=True)
class PinSeen:
    """A pin that is in force: the first annotation with this target, and what has become of the
    nodes.
    """

    pin: Pin
    cordoned: tuple[str, ...]
    uncordoned: tuple[str, ...]
    """Marked as cordoned by us, and uncordoned by somebody since."""
    joined: tuple[str, ...]
    """Schedulable, though the pin is in force: not the target, and not marked."""


@dataclass(frozen=True)
class Facts:
    now: str
    max_age_hours: float
    sources: tuple[Source, ...]
    """The registry VM first."""
    nodes: tuple[Seen, ...]
    registries: tuple[Asked, ...]
    """What each serves under the tag `latest`."""
    api: Unread | None = None
    """Why the API server was not reached."""
    cluster: ClusterName | None = None
    doubt: str = ""
    """Why the API's list of nodes is not to be believed."""
    remembered: frozenset[str] = frozenset()
    """Nodes that runs on this machine have cordoned, as its journal says."""

    @property
    def unmarked(self) -> tuple[str, ...]:
        """Nodes that we have cordoned, and whose annotation somebody has removed."""
        return tuple(
            seen.name
            for seen in self.nodes
            if seen.node
            and seen.node.mark.unschedulable
            and seen.node.mark.annotation is None
            and seen.node.cordon.is_ours is not False
            and seen.name in self.remembered
        )

    @property
    def unread(self) -> tuple[Unread, ...]:
        sources = [source.found for source in self.sources if isinstance(source.found, Unread)]
        return (
            *sources,
            *((self.api,) if self.api else ()),
            *(unread for seen in self.nodes for unread in seen.unread),
        )


def age_of(tarball: Tarball, now: str) -> int | None:
    return age_seconds(tarball.record.created_at, now) if tarball.record else None


def newest(facts: Facts) -> tuple[Tarball, int | None] | None:
    """The newest verified tarball of all sources, and its age. On one source the sequence
    decides; between sources, where sequences may have begun anew, the age.
    """
    found = [
        (tarball, age_of(tarball, facts.now))
        for source in facts.sources
        if source.shelf
        for tarball in source.shelf.verified[:1]
    ]
    return min(
        found, key=lambda pair: (pair[1] is None, pair[1] or 0, -pair[0].sequence), default=None
    )


def is_stale(facts: Facts) -> bool:
    """Whether an alarm is due: there is no verified tarball that is young enough."""
    found = newest(facts)
    return found is None or found[1] is None or found[1] > facts.max_age_hours * 3600


def lacking(facts: Facts, source: Source) -> tuple[Tarball, ...] | None:
    """Verified tarballs of the registry VM that a fallback does not have, and that are not surely
    older than one that it has; None: not known.
    """
    vm = facts.sources[0].shelf
    if vm is None or source.shelf is None:
        return None
    others = source.shelf.verified
    held = {(other.tag, other.record.sha256) for other in others if other.record}
    return tuple(
        tarball
        for tarball in vm.verified
        if tarball.record
        and (tarball.tag, tarball.record.sha256) not in held
        and not any(is_older(tarball, other) for other in others)
    )


def unverified(shelf: Shelf) -> tuple[Tarball, ...]:
    return tuple(tarball for tarball in shelf.tarballs if not tarball.verified)


def pins(nodes: Iterable[Seen]) -> tuple[tuple[PinSeen, ...], tuple[str, ...]]:
    """The pins in force, the oldest first, and the nodes whose annotation cannot be read."""
    known = [seen.node for seen in nodes if seen.node]
    read: list[tuple[Node, Pin]] = []
    unreadable = []
    for node in known:
        if node.mark.annotation is not None:
            try:
                read.append((node, parse_pin(node.mark.annotation)))
            except Refused:
                unreadable.append(node.name)
    held = [pin for node in known if (pin := pin_held(node.mark))]
    every = [*(pin for _, pin in read), *held]
    targets = dict.fromkeys(pin.target for pin in sorted(every, key=lambda pin: pin.at))
    joined = tuple(
        node.name
        for node in known
        if node.mark.annotation is None and not node.mark.unschedulable and node.name not in targets
    )
    found = []
    for target in targets:
        marked = [(node, pin) for node, pin in read if pin.target == target]
        cordoned, uncordoned = (
            tuple(node.name for node, _ in marked if node.mark.unschedulable is wanted)
            for wanted in (True, False)
        )
        found.append(
            PinSeen(
                min((pin for pin in every if pin.target == target), key=lambda pin: pin.at),
                cordoned,
                uncordoned,
                joined,
            )
        )
    return tuple(found), tuple(unreadable)
