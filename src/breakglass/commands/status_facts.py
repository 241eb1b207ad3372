"""What `status` has found, and what follows from it. All of it pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from breakglass.age import age_seconds
from breakglass.commands import Unread
from breakglass.commands.check_verdict import Asked
from breakglass.errors import Refused
from breakglass.observe.answering import Responder, Taken
from breakglass.observe.cluster import Node, Pin, parse_pin
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
        return (
            False
            if self.should_answer is False
            else None
            if self.responder is None
            else bool(self.responder.answers)
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
    """Verified tarballs of the registry VM that are newer than all that a fallback has; None: not
    known.
    """
    vm = facts.sources[0].shelf
    if vm is None or source.shelf is None:
        return None
    last = max((tarball.sequence for tarball in source.shelf.verified), default=-1)
    return tuple(tarball for tarball in vm.verified if tarball.sequence > last)


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
    targets = dict.fromkeys(pin.target for _, pin in sorted(read, key=lambda pair: pair[1].at))
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
                min((pin for _, pin in marked), key=lambda pin: pin.at),
                cordoned,
                uncordoned,
                joined,
            )
        )
    return tuple(found), tuple(unreadable)
