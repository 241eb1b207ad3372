"""check: is this the right runbook? What the registries, the sources and the API server answer."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from breakglass.cluster_name import ClusterName
from breakglass.commands.adoption import nodes_with_image
from breakglass.commands.check_advice import Elsewhere
from breakglass.commands.check_asked import Asked, names
from breakglass.commands.check_verdict import Verdict
from breakglass.commands.environment import Environment, Unread
from breakglass.commands.whole_cluster import another_context, doubt
from breakglass.deadline import together
from breakglass.errors import NoAnswer, Unreachable
from breakglass.observe.cluster import read_nodes
from breakglass.observe.shelf import Shelf
from breakglass.registry import Found, State

SECONDS = 8.4
"""What has not answered by then counts as unreached: the whole command answers within ten."""
ALL_SECONDS = 9.1
"""For the nodes too, where no source has a tarball."""
LEAST_SECONDS = 0.8
"""Less is not enough for an answer of a node."""
LATE = f"no answer within {SECONDS:g} s"
API = "API server"
Answer = tuple[Asked, ...] | Shelf | list[str] | Unread


@dataclass(frozen=True)
class Facts:
    tag: str
    registries: tuple[Asked, ...]
    shelves: tuple[Shelf, ...]
    unread: tuple[Unread, ...]
    """Sources and, under the name `API server`, the cluster."""
    nodes: int | None
    cluster: ClusterName | None = None
    doubt: str = ""
    """Why the list of nodes is not to be believed."""
    known_nodes: tuple[str, ...] = ()
    """Those of nodes.hosts."""
    whole: tuple[str, ...] = ()
    """Nodes whose containerd has the image whole, where no source has a tarball."""


@dataclass(frozen=True)
class RegistryResult:
    name: str
    state: str
    digest: str | None
    missing: tuple[str, ...]
    detail: str
    names: tuple[str, ...]
    """By which pods pull from it; without tags."""


@dataclass(frozen=True)
class SourceResult:
    name: str
    verified: tuple[str, ...]
    """Tags."""
    latest: str | None


@dataclass(frozen=True)
class CheckResult:
    verdict: str
    registries: tuple[RegistryResult, ...]
    sources: tuple[SourceResult, ...]
    unreached: tuple[str, ...]
    starting: tuple[str, ...]
    """Names by which pods start, as far as the registries are concerned."""
    not_starting: tuple[str, ...]
    whole: tuple[str, ...]
    """Nodes whose containerd has the image whole, where no source has a tarball."""


def observe(environment: Environment, *, tag: str) -> Facts:
    began = time.monotonic()
    environment.note("asking the registries, the sources and the API server")
    questions: list[Callable[[], Answer]] = [
        partial(environment.source, host, directory) for host, directory in environment.sources
    ]
    questions += [partial(_names, environment), partial(ask, environment, tag)]
    *answers, registries = together(questions, seconds=SECONDS)
    parts = [*(host.name for host, _ in environment.sources), API]
    others = [
        Unread(name, NoAnswer(f"{name}: {LATE}", where=name)) if answer is None else answer
        for name, answer in zip(parts, answers, strict=True)
    ]
    node_names = next((answer for answer in others if isinstance(answer, list)), None)
    cluster = environment.cluster_name()
    facts = Facts(
        tag,
        registries if isinstance(registries, tuple) else unanswered(environment, LATE),
        tuple(answer for answer in others if isinstance(answer, Shelf)),
        tuple(answer for answer in others if isinstance(answer, Unread)),
        len(node_names) if node_names is not None else None,
        cluster,
        "" if node_names is None else doubt(node_names, environment.config.nodes.hosts, cluster),
        tuple(environment.config.nodes.hosts),
    )
    left = ALL_SECONDS - (time.monotonic() - began)
    return replace(facts, whole=_whole(environment, facts, seconds=left))


def _whole(environment: Environment, facts: Facts, *, seconds: float) -> tuple[str, ...]:
    """The nodes are asked only where nothing else helps."""
    is_served = all(asked.serves for asked in facts.registries)
    if is_served or facts.nodes is None or has_tarball(facts.shelves) or seconds < LEAST_SECONDS:
        return ()
    asking = partial(nodes_with_image, environment, None, facts.tag)
    (names,) = together([asking], seconds=seconds)
    return names or ()


def ask(environment: Environment, tag: str) -> tuple[Asked, ...]:
    """What each registry serves under a tag."""
    found = environment.look(tag)
    return tuple(map(Asked, environment.config.registries, found))


def unanswered(environment: Environment, why: str) -> tuple[Asked, ...]:
    """The registries, none of which has answered in time."""
    return tuple(
        Asked(registry, Found(registry.name, State.UNREACHABLE, detail=why))
        for registry in environment.config.registries
    )


def _names(environment: Environment) -> list[str] | Unread:
    try:
        return [node.name for node in read_nodes(environment.cluster)]
    except Unreachable as error:
        return Unread(API, error)


def elsewhere(facts: Facts) -> Elsewhere:
    """What was asked beside the registries, as the verdict needs it."""
    return Elsewhere(
        answers=facts.nodes is not None or bool(facts.shelves) or answered(facts.unread),
        has_api=facts.nodes is not None,
        has_tarball=has_tarball(facts.shelves),
        lost=tuple(unread.name for unread in facts.unread if unread.name != API),
        nodes=facts.known_nodes,
        whole=facts.whole,
        tag=facts.tag,
    )


def answered(unread: Sequence[Unread]) -> bool:
    """Whether one of these answered and did not let us in."""
    return any(not isinstance(each.error, NoAnswer) for each in unread)


def has_tarball(shelves: Sequence[Shelf]) -> bool:
    """Whether a source has a tarball that `fetch` would take."""
    return any(
        tarball.verified or (tarball.trusted and tarball.record is None)
        for shelf in shelves
        for tarball in shelf.tarballs
    )


def lines(facts: Facts) -> tuple[str, ...]:
    """The facts, a line each."""
    lines = [registry_line(asked) for asked in facts.registries]
    with_digest = [asked.found for asked in facts.registries if asked.found.digest]
    if len({found.digest for found in with_digest}) > 1:
        listed = ", ".join(f"{found.name} {found.digest}" for found in with_digest)
        lines.append(f"the registries' digests differ: {listed}")
    lines += [_shelf_line(shelf) for shelf in facts.shelves]
    lines += [str(unread) for unread in facts.unread]
    if facts.nodes is not None:
        name = f" of cluster {facts.cluster}" if facts.cluster else ""
        lines.append(f"API server: answers, {facts.nodes} nodes{name}")
    if facts.doubt:
        lines.append(f"API server: {facts.doubt}; {another_context(facts.cluster)}")
    return tuple(lines)


def registry_line(asked: Asked) -> str:
    found = asked.found
    missing = f", missing {', '.join(found.missing)}" if found.missing else ""
    detail = f" ({found.detail})" if found.detail else ""
    unused = "" if asked.registry.names else "; no name of the image points to it"
    return f"{asked}: {found.state}{missing}{detail}{unused}"


def _shelf_line(shelf: Shelf) -> str:
    line = f"{shelf.host}: {counted(shelf)}"
    untrusted = sum(not tarball.trusted for tarball in shelf.tarballs)
    if untrusted:
        line += f" ({untrusted} NOT SIGNED by image.signers)"
    if not shelf.verified:
        return f"{line} in {shelf.directory}"
    latest = shelf.latest or shelf.latest_fault
    return f"{line}, the newest {shelf.verified[0].file}, latest is {latest}"


def counted(shelf: Shelf) -> str:
    count = len(shelf.verified)
    return f"{count or 'no'} verified tarball{'' if count == 1 else 's'}"


def result(facts: Facts, verdict: Verdict) -> CheckResult:
    starting, failing = names(facts.registries, facts.tag)
    sources = (
        SourceResult(
            shelf.host.name, tuple(tarball.tag for tarball in shelf.verified), shelf.latest
        )
        for shelf in facts.shelves
    )
    return CheckResult(
        verdict.word,
        registry_results(facts.registries),
        tuple(sources),
        tuple(unread.name for unread in facts.unread),
        starting,
        failing,
        facts.whole,
    )


def registry_results(registries: Sequence[Asked]) -> tuple[RegistryResult, ...]:
    return tuple(
        RegistryResult(
            asked.registry.name,
            asked.found.state,
            asked.found.digest,
            asked.found.missing,
            asked.found.detail,
            asked.registry.names,
        )
        for asked in registries
    )
