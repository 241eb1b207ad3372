"""check: is this the right runbook? Only when no registry serves the image."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from breakglass.cluster_name import ClusterName
from breakglass.commands import Environment, Unread
from breakglass.commands.whole_cluster import another_context, doubt
from breakglass.deadline import together
from breakglass.errors import Unreachable, Usage
from breakglass.observe.shelf import Shelf
from breakglass.registry import Found, State

SECONDS = 8.5
"""What has not answered by then counts as unreached: the whole command answers within ten."""
LATE = f"no answer within {SECONDS:g} s"
API, REGISTRIES = "API server", "the registries"
RUNBOOK = "breakglass recover; or step by step: breakglass fetch, then import, then pin"
SAID = {State.REFUSES: "refused us", State.UNREACHABLE: "was not reached"}
Answer = tuple[Found, ...] | Shelf | list[str] | Unread


@dataclass(frozen=True)
class Facts:
    tag: str
    registries: tuple[Found, ...]
    shelves: tuple[Shelf, ...]
    unread: tuple[Unread, ...]
    """Sources and, under the name `API server`, the cluster."""
    nodes: int | None
    cluster: ClusterName | None = None
    doubt: str = ""
    """Why the list of nodes is not to be believed."""


class Need(StrEnum):
    """Whether the runbook is needed."""

    START = "start"
    NOT_NEEDED = "not needed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    word: Need
    exit_code: int
    sentence: str
    next_step: str


@dataclass(frozen=True)
class RegistryResult:
    name: str
    state: str
    digest: str | None
    missing: tuple[str, ...]
    detail: str


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


def observe(environment: Environment, *, tag: str) -> Facts:
    if not environment.config.registries:
        raise Usage(
            "the configuration names no registries, so there is nobody to ask",
            next_step="add them under registries: in " + str(environment.config.source),
        )
    environment.note("asking the registries, the sources and the API server")
    questions: dict[str, Callable[[], Answer]] = {
        host.name: partial(environment.source, host, directory)
        for host, directory in environment.sources
    }
    questions |= {API: partial(_names, environment), REGISTRIES: lambda: environment.look(tag)}
    answers = dict(zip(questions, together(list(questions.values()), seconds=SECONDS), strict=True))
    registries = answers.pop(REGISTRIES)
    others = [
        Unread(name, Unreachable(f"{name}: {LATE}", where=name)) if answer is None else answer
        for name, answer in answers.items()
    ]
    names = next((answer for answer in others if isinstance(answer, list)), None)
    cluster = environment.cluster_name()
    return Facts(
        tag,
        registries
        if isinstance(registries, tuple)
        else tuple(
            Found(registry.name, State.UNREACHABLE, detail=LATE)
            for registry in environment.config.registries
        ),
        tuple(answer for answer in others if isinstance(answer, Shelf)),
        tuple(answer for answer in others if isinstance(answer, Unread)),
        len(names) if names is not None else None,
        cluster,
        "" if names is None else doubt(names, environment.config.nodes.hosts, cluster),
    )


def _names(environment: Environment) -> list[str] | Unread:
    try:
        return [node.name for node in environment.nodes()]
    except Unreachable as error:
        return Unread(API, error)


def judge(
    registries: tuple[Found, ...], *, expect_served: bool, way_back: str = RUNBOOK
) -> Verdict:
    """Pure. Exit 0: no registry serves the image. 10: one does. 5: none does and at least one
    refused us, so it is not known. `expect_served` swaps 0 and 10.

    `way_back`: what helps where none serves it; it changes no code.
    """
    why_not = unserved(registries)
    if not why_not:
        return _served(registries, expect_served=expect_served)
    if any(found.state is State.REFUSES for found in registries):
        return Verdict(
            Need.UNKNOWN, 5, why_not, "log in (docker login), then the same command again"
        )
    if expect_served:
        return Verdict(
            Need.START,
            10,
            f"{why_not}, and it should be served",
            "look at the push step, and above at what each registry says; then the same command "
            "again",
        )
    instruction = ": start the runbook" if way_back == RUNBOOK else ""
    return Verdict(Need.START, 0, f"{why_not}{instruction}", way_back)


def _served(registries: tuple[Found, ...], *, expect_served: bool) -> Verdict:
    serving = " and ".join(found.name for found in registries if found.state is State.SERVES)
    if not expect_served:
        return Verdict(
            Need.NOT_NEEDED,
            10,
            f"not needed: served by {serving}",
            "pipelines work, so skip the runbook",
        )
    others = [
        f"{found.name} {SAID.get(found.state, 'does not serve it')}"
        for found in registries
        if found.state is not State.SERVES
    ]
    if not others:
        return Verdict(Need.NOT_NEEDED, 0, f"served by {serving}, as expected", "nothing to do")
    return Verdict(
        Need.NOT_NEEDED,
        0,
        f"served by {serving}, but {' and '.join(others)}",
        "see above what is wrong there",
    )


def way_back(facts: Facts) -> str:
    """What to type where no registry serves the image: the runbook only where it can help, and a
    push where that is shorter.
    """
    lost = " or ".join(unread.name for unread in facts.unread if unread.name != API)
    lacking = " or ".join(found.name for found in facts.registries if found.state is State.LACKS)
    has_tarball = any(
        tarball.verified or tarball.record is None
        for shelf in facts.shelves
        for tarball in shelf.tarballs
    )
    runbook = ""
    if has_tarball:
        runbook = RUNBOOK
    elif lost:
        runbook = f"reach {lost} first, for a tarball may be there; then: {RUNBOOK}"
    states = {found.state for found in facts.registries}
    if lacking and states <= {State.LACKS, State.UNREACHABLE}:
        push = f"push the image to {lacking}, or check the tag"
        if runbook:
            return f"{push}: shorter than the runbook, which is: {runbook}"
        return f"{push}; there is no tarball to bring back"
    return runbook or (
        "there is no tarball to bring back: repair a registry, or push the image again "
        "(runbook.md, 7)"
    )


def unserved(registries: tuple[Found, ...]) -> str:
    """That no registry serves the image, or that it is not known; empty where one serves it."""
    if any(found.state is State.SERVES for found in registries):
        return ""
    refusing = [found.name for found in registries if found.state == "refuses"]
    if not refusing:
        return "no registry serves the image"
    return (
        f"not known: {', '.join(refusing)} refused us (401, 403), and no other registry serves "
        f"the image"
    )


def lines(facts: Facts) -> tuple[str, ...]:
    """The facts, a line each."""
    lines = [_registry_line(found) for found in facts.registries]
    with_digest = [found for found in facts.registries if found.digest]
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


def _registry_line(found: Found) -> str:
    missing = f", missing {', '.join(found.missing)}" if found.missing else ""
    detail = f" ({found.detail})" if found.detail else ""
    return f"{found.name}: {found.state}{missing}{detail}"


def _shelf_line(shelf: Shelf) -> str:
    line = f"{shelf.host}: {counted(shelf)}"
    if not shelf.verified:
        return f"{line} in {shelf.directory}"
    latest = shelf.latest or shelf.latest_fault
    return f"{line}, the newest {shelf.verified[0].file}, latest is {latest}"


def counted(shelf: Shelf) -> str:
    count = len(shelf.verified)
    return f"{count or 'no'} verified tarball{'' if count == 1 else 's'}"


def result(facts: Facts, verdict: Verdict) -> CheckResult:
    registries = (
        RegistryResult(found.name, found.state, found.digest, found.missing, found.detail)
        for found in facts.registries
    )
    sources = (
        SourceResult(
            shelf.host.name, tuple(tarball.tag for tarball in shelf.verified), shelf.latest
        )
        for shelf in facts.shelves
    )
    return CheckResult(
        verdict.word,
        tuple(registries),
        tuple(sources),
        tuple(unread.name for unread in facts.unread),
    )
