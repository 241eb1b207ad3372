"""status as one frozen value: the `result` of --json."""

from dataclasses import dataclass

from breakglass.age import age_seconds
from breakglass.commands.check import RegistryResult, registry_results
from breakglass.commands.environment import Unread
from breakglass.commands.status_facts import (
    Facts,
    PinSeen,
    Seen,
    Source,
    age_of,
    is_stale,
    lacking,
    newest,
    pins,
    unverified,
)
from breakglass.commands.status_headline import headline
from breakglass.commands.status_last_run import LastRun
from breakglass.commands.verdict_names import NameVerdict
from breakglass.errors import Next
from breakglass.observe.shelf import Shelf, Tarball


@dataclass(frozen=True)
class TarballResult:
    tag: str
    taken_at: str | None
    age_seconds: int | None
    size_bytes: int
    verified: bool
    latest: bool
    signature: str
    """Of its record: `signed`, `signed by an unknown key`, `invalid` or `not signed`."""
    signed_by: str | None


@dataclass(frozen=True)
class SourceResult:
    name: str
    reached: bool
    error: str | None
    directory: str
    latest: str | None
    lags: int | None
    unverified_bytes: int | None
    tarballs: tuple[TarballResult, ...]


@dataclass(frozen=True)
class NodeResult:
    name: str
    reached: bool
    error: str | None
    ready: bool | None
    cordoned: bool | None
    pinned: bool | None
    tarballs: tuple[str, ...]
    holds: bool | None
    answers_pulls: bool | None
    should_answer: bool | None
    edited: tuple[str, ...]
    unfit: tuple[str, ...]
    """Why no command would choose it."""
    whole: bool | None
    """Whether its containerd has the image whole; None: not known, or somebody has a tarball."""
    verdicts: tuple[NameVerdict, ...]


@dataclass(frozen=True)
class PinResult:
    target: str
    by: str
    at: str
    reason: str
    age_seconds: int | None
    cordoned: tuple[str, ...]
    uncordoned: tuple[str, ...]
    joined: tuple[str, ...]


@dataclass(frozen=True)
class NewestResult:
    tag: str
    age_seconds: int | None


@dataclass(frozen=True)
class ApiResult:
    reached: bool
    error: str | None
    doubt: str | None
    """Why its list of nodes is not to be believed."""


@dataclass(frozen=True)
class StatusResult:
    headline: str
    """OK, OUTAGE, PARTLY, UNKNOWN or PINNED."""
    registries: tuple[RegistryResult, ...]
    sources: tuple[SourceResult, ...]
    nodes: tuple[NodeResult, ...]
    pin: PinResult | None
    other_pins: tuple[PinResult, ...]
    unreadable_pins: tuple[str, ...]
    newest: NewestResult | None
    stale: bool
    api: ApiResult
    next: str
    next_commands: tuple[str, ...]
    last_run: LastRun | None


def result(facts: Facts, *, next_step: Next, last_run: LastRun | None) -> StatusResult:
    first = newest(facts)
    in_force, unreadable = pins(facts.nodes)
    pin_results = tuple(_pin(seen, facts.now) for seen in in_force)
    return StatusResult(
        headline=headline(facts),
        registries=registry_results(facts.registries),
        sources=tuple(_source(facts, source) for source in facts.sources),
        nodes=tuple(_node(seen) for seen in facts.nodes),
        pin=pin_results[0] if pin_results else None,
        other_pins=pin_results[1:],
        unreadable_pins=unreadable,
        newest=NewestResult(first[0].tag, first[1]) if first else None,
        stale=is_stale(facts),
        api=ApiResult(
            facts.api is None,
            facts.api.error.message if facts.api else None,
            facts.doubt or None,
        ),
        next=str(next_step),
        next_commands=next_step.typed_commands,
        last_run=last_run,
    )


def _source(facts: Facts, source: Source) -> SourceResult:
    shelf, lacks = source.shelf, lacking(facts, source)
    error = source.found.error.message if isinstance(source.found, Unread) else None
    lags = None if lacks is None else len(lacks)
    if shelf is None:
        return SourceResult(source.host.name, False, error, source.directory, None, lags, None, ())
    return SourceResult(
        name=source.host.name,
        reached=True,
        error=error,
        directory=source.directory,
        latest=shelf.latest,
        lags=lags,
        unverified_bytes=sum(tarball.size_bytes for tarball in unverified(shelf)),
        tarballs=tuple(_tarball(tarball, shelf, facts.now) for tarball in shelf.tarballs),
    )


def _tarball(tarball: Tarball, shelf: Shelf, now: str) -> TarballResult:
    age = age_of(tarball, now)
    return TarballResult(
        tag=tarball.tag,
        taken_at=tarball.record.created_at if tarball.record and age is not None else None,
        age_seconds=age,
        size_bytes=tarball.size_bytes,
        verified=tarball.verified,
        latest=tarball.tag == shelf.latest,
        signature=tarball.signature.state,
        signed_by=tarball.signature.by or None,
    )


def _node(seen: Seen) -> NodeResult:
    node = seen.node
    return NodeResult(
        name=seen.name,
        reached=seen.host is not None,
        error="; ".join(unread.error.message for unread in seen.unread) or None,
        ready=node.ready if node else None,
        cordoned=node.mark.unschedulable if node else None,
        pinned=node.mark.annotation is not None if node else None,
        tarballs=tuple(tarball.tag for tarball in seen.shelf.verified) if seen.shelf else (),
        holds=seen.holds,
        answers_pulls=seen.answers_pulls,
        should_answer=seen.should_answer,
        edited=seen.edited,
        unfit=tuple(map(str, seen.unfit)),
        whole=seen.is_whole,
        verdicts=seen.verdicts,
    )


def _pin(seen: PinSeen, now: str) -> PinResult:
    pin = seen.pin
    return PinResult(
        target=pin.target,
        by=pin.by,
        at=pin.at,
        reason=pin.reason,
        age_seconds=age_seconds(pin.at, now),
        cordoned=seen.cordoned,
        uncordoned=seen.uncordoned,
        joined=seen.joined,
    )
