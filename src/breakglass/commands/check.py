"""check: is this the right runbook? Only when no registry serves the image."""

from dataclasses import dataclass

from breakglass.commands import Estate, Result, Unread
from breakglass.errors import Unreachable, Usage
from breakglass.observe.shelf import Shelf, read_shelf
from breakglass.registry import Found


@dataclass(frozen=True)
class Facts:
    tag: str
    registries: tuple[Found, ...]
    shelves: tuple[Shelf, ...]
    unread: tuple[Unread, ...]
    """Sources and, under the name `API server`, the cluster."""
    nodes: int | None


@dataclass(frozen=True)
class Verdict:
    word: str
    """`start`, `not needed` or `unknown`."""
    exit_code: int
    sentence: str
    next_step: str


def observe(estate: Estate, *, tag: str) -> Facts:
    if not estate.config.registries:
        raise Usage("the configuration names no registries, so there is nobody to ask", next_step="add them under registries: in " + str(estate.config.source))
    estate.note("asking the registries, the sources and the API server")
    registries = estate.look(tag)
    shelves: list[Shelf] = []
    unread: list[Unread] = []
    for host, directory in estate.sources:
        try:
            shelves.append(read_shelf(estate.hosts, host, directory, estate.config.image.name))
        except Unreachable as error:
            unread.append(Unread(host.name, error))
    nodes = None
    try:
        nodes = len(estate.nodes())
    except Unreachable as error:
        unread.append(Unread("API server", error))
    return Facts(tag, registries, tuple(shelves), tuple(unread), nodes)


def judge(registries: tuple[Found, ...], *, expect_served: bool) -> Verdict:
    """Pure. Exit 0: no registry serves the image. 10: one does. 5: none does and at least one refused us, so nobody knows. `expect_served` swaps 0 and 10."""
    serving = [found.name for found in registries if found.state == "serves"]
    refusing = [found.name for found in registries if found.state == "refuses"]
    if serving:
        return Verdict("not needed", 0 if expect_served else 10, f"not needed: served by {' and '.join(serving)}", "nothing: pipelines work, skip the runbook")
    if refusing:
        return Verdict("unknown", 5, f"nobody knows: {', '.join(refusing)} refused us (401, 403), and no other registry serves the image", "log in (docker login), then: breakglass check")
    return Verdict("start", 10 if expect_served else 0, "no registry serves the image: start the runbook", "breakglass fetch NODE; then breakglass import NODE; then breakglass pin NODE")


def lines(facts: Facts) -> tuple[str, ...]:
    """What was found, a line each."""
    told = []
    for found in facts.registries:
        told.append(f"{found.name}: {found.state}" + (f", missing {', '.join(found.missing)}" if found.missing else "") + (f" ({found.detail})" if found.detail else ""))
    digests = {found.digest for found in facts.registries if found.digest}
    if len(digests) > 1:
        told.append("the registries' digests differ: " + ", ".join(f"{found.name} {found.digest}" for found in facts.registries if found.digest))
    for shelf in facts.shelves:
        newest = shelf.verified[0] if shelf.verified else None
        told.append(f"{shelf.host}: {counted(shelf)}" + (f", the newest {newest.file}, latest is {shelf.latest or shelf.latest_fault}" if newest else f" in {shelf.directory}"))
    told += [str(unread) for unread in facts.unread]
    if facts.nodes is not None:
        told.append(f"API server: answers, {facts.nodes} nodes")
    return tuple(told)


def counted(shelf: Shelf) -> str:
    count = len(shelf.verified)
    return f"{count or 'no'} verified tarball{'' if count == 1 else 's'}"


def result(facts: Facts, verdict: Verdict) -> Result:
    registries = [{"name": found.name, "state": found.state, "digest": found.digest, "missing": list(found.missing)} for found in facts.registries]
    return {"verdict": verdict.word, "registries": registries}
