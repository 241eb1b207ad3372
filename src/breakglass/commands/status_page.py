"""status as a page of 80 columns. All of it pure."""

import textwrap
from collections.abc import Sequence

from breakglass.age import age_in_words, age_seconds, moment_of
from breakglass.commands.check import counted, registry_line
from breakglass.commands.environment import Unread
from breakglass.commands.fitness import Kind, in_words
from breakglass.commands.node_record import edited
from breakglass.commands.status_facts import (
    Facts,
    PinSeen,
    Seen,
    Source,
    is_stale,
    lacking,
    newest,
    pins,
)
from breakglass.commands.status_headline import line
from breakglass.observe.shelf import Shelf, Tarball
from breakglass.text import inert

COLUMNS = 80


def lines(facts: Facts, *, last_run: str = "") -> tuple[str, ...]:
    """The whole page. `last_run`: what is known of the last run on this machine."""
    page = [
        line(facts),
        *(registry_line(asked) for asked in facts.registries),
        _newest(facts),
        *(line for source in facts.sources for line in _source(facts, source)),
        *_whole_images(facts),
        "",
        *_nodes(facts),
        "",
        *_pins(facts),
    ]
    if last_run:
        page.append(last_run)
    wrapped = (piece for line in page for piece in _wrapped(line))
    return tuple(wrapped)


# The sources


def _newest(facts: Facts) -> str:
    newest_known = newest(facts)
    if newest_known is None:
        lost = [source.host.name for source in facts.sources if source.shelf is None]
        limit = f" that was reached ({', '.join(lost)} not)" if lost else ""
        return f"STALE: no verified tarball on any source{limit}."
    tarball, age = newest_known
    names = [
        source.host.name
        for source in facts.sources
        if source.shelf and _is_among(tarball, source.shelf.verified)
    ]
    stale = ""
    if is_stale(facts):
        stale = f"STALE, older than {age_in_words(int(facts.max_age_hours * 3600))}. "
    old = "of unknown age" if age is None else f"{age_in_words(age)} old"
    return f"{stale}Newest verified tarball: {tarball.tag}, {old}, on {' and '.join(names)}."


def _whole_images(facts: Facts) -> list[str]:
    names = [seen.name for seen in facts.nodes if seen.is_whole]
    return [f"containerd has the image whole on {', '.join(names)}"] if names else []


def _source(facts: Facts, source: Source) -> list[str]:
    """Of a fallback only what differs from the registry VM."""
    shelf, vm = source.shelf, facts.sources[0].shelf
    if isinstance(source.found, Unread):
        return [f"{source.host}: {source.found.error.unnamed(source.host.name)}"]
    assert shelf is not None
    if not shelf.present:
        return [f"{source.host}: there is no {source.directory}"]
    on_vm = vm.tarballs if vm and shelf is not vm else ()
    own = [tarball for tarball in shelf.tarballs if not _is_among(tarball, on_vm)]
    width = max((len(tarball.tag) for tarball in own), default=0)
    rows = [_tarball(tarball, shelf, facts.now, width) for tarball in own if tarball.verified]
    for words, doubtful in (
        ("not verified", [each for each in own if not each.verified and each.trusted]),
        ("NOT SIGNED by image.signers", [each for each in own if not each.trusted]),
    ):
        if doubtful:
            size = size_text(sum(tarball.size_bytes for tarball in doubtful))
            tags = ", ".join(tarball.tag for tarball in doubtful)
            rows.append(f"  {words}, {size}, never removed by breakglass: {tags}")
    return [_summary(facts, source, shelf, own_count=len(own)), *rows]


def _summary(facts: Facts, source: Source, shelf: Shelf, *, own_count: int) -> str:
    """The first line of a source."""
    vm = facts.sources[0]
    line = f"{source.host}: {counted(shelf)}"
    shared_count = len(shelf.tarballs) - own_count
    if shared_count:
        line += f", {shared_count if own_count else 'all'} as on {vm.host}"
    signed = {each.signature.by for each in shelf.verified if each.signature.is_allowed}
    if signed:
        line += f", signed by {' and '.join(sorted(signed))}"
    if shelf.latest:
        line += f"; latest is {shelf.latest}"
    elif shelf.tarballs:
        line += f"; latest {shelf.latest_fault}"
    lacks = () if shelf is vm.shelf else lacking(facts, source) or ()
    if lacks:
        line += f"; LAGS by {len(lacks)}: {', '.join(tarball.tag for tarball in lacks)}"
    return line


def _tarball(tarball: Tarball, shelf: Shelf, now: str, width: int) -> str:
    at = tarball.record.created_at if tarball.record else ""
    age, moment = age_seconds(at, now), moment_of(at)
    taken = f"{moment:%Y-%m-%d %H:%M}Z" if moment else "unknown"
    words = "?" if age is None else age_in_words(age)
    return (
        f"  {tarball.tag:<{width}}  {taken:<17}  {words:>6} old  "
        f"{size_text(tarball.size_bytes):>7}  "
        f"verified{', latest' if tarball.tag == shelf.latest else ''}"
    )


def _is_among(tarball: Tarball, others: Sequence[Tarball]) -> bool:
    """By tag, size, state and hash."""
    return _identity(tarball) in map(_identity, others)


def _identity(tarball: Tarball) -> tuple[object, ...]:
    sha256 = tarball.record.sha256 if tarball.record else None
    return (tarball.tag, tarball.size_bytes, tarball.verified, sha256)


# The cluster


def _nodes(facts: Facts) -> list[str]:
    lines = [f"cluster: {facts.cluster}"] if facts.cluster else []
    if facts.doubt:
        lines.append(f"API server: {facts.doubt}.")
    if facts.api:
        lines.append(f"API server: not reached: {facts.api.error.unnamed('API server')}")
    if not facts.nodes:
        none = "Nodes: none known; nodes.hosts names none." if facts.api else "Nodes: none."
        return [*lines, none]
    names = max(len(seen.name) for seen in facts.nodes)
    states = max(len(_state(seen, facts)) for seen in facts.nodes)
    for seen in facts.nodes:
        lines.append(
            f"{seen.name:<{names}}  {_state(seen, facts):<{states}}  {'; '.join(_what(seen))}"
        )
        if seen.host and seen.taken:
            lines += [f"  {sentence}" for sentence in edited(seen.host, seen.taken)]
            lines += [
                f"  {file} holds lines of breakglass that no record knows"
                for file in seen.taken.strays
            ]
    return lines


def _state(seen: Seen, facts: Facts) -> str:
    if seen.node is None:
        return "not known" if facts.api else "no node of the cluster"
    words = ["Ready" if seen.node.ready else "not Ready"]  # the words of node_choice.py
    mark = seen.node.mark
    by_us = mark.annotation is not None
    if mark.unschedulable:
        unmarked = "cordoned by us, annotation removed"
        words.append("pinned" if by_us else unmarked if seen.name in facts.unmarked else "cordoned")
    elif by_us:
        words.append("uncordoned since")
    words += seen.node.conditions
    return ", ".join(words)


def _what(seen: Seen) -> list[str]:
    if seen.host is None:
        return [unread.error.unnamed(seen.name) for unread in seen.unread]
    words = [_image(seen)]
    # Its state, the cordon among it, stands in the column before this one.
    beside = [reason for reason in seen.unfit if reason.kind is not Kind.STATE]
    if beside:
        words.append(f"does not fit: {in_words(beside)}")
    if seen.shelf and seen.shelf.verified:
        words.append(f"tarball {', '.join(tarball.tag for tarball in seen.shelf.verified)}")
    if seen.answers_pulls:
        words.append("serves it locally")
    elif seen.fails_to_answer:
        why = " (hosts.toml was rewritten)" if seen.unlisted else ""
        words.append(f"should serve it locally and does NOT{why}")
    return [*words, *(unread.error.unnamed(seen.name) for unread in seen.unread)]


def _image(seen: Seen) -> str:
    if seen.holds is None:
        return "image: not known"
    if not seen.holds:
        return "does not have the image"
    return "keeps the image" if seen.only_keeps else "has the image"


def _pins(facts: Facts) -> list[str]:
    in_force, unreadable = pins(facts.nodes)
    lines = [line for seen in in_force for line in _pin(seen, facts.now)]
    if unreadable:
        names = ", ".join(unreadable)
        lines.append(f"Marked as pinned, but the annotation cannot be read: {names}")
    if lines:
        return lines
    if facts.api:
        return ["Whether a pin is in force is not known: the API server was not reached."]
    return ["No pin is in force."]


def _pin(seen: PinSeen, now: str) -> list[str]:
    pin, age, moment = seen.pin, age_seconds(seen.pin.at, now), moment_of(seen.pin.at)
    since = f"at {inert(pin.at, limit=40)}"
    if moment and age is not None:
        since = f"for {age_in_words(age)}, since {moment:%Y-%m-%d %H:%M}Z,"
    reason = f": {inert(pin.reason, limit=200)}" if pin.reason else ""
    lines = [f"Pinned to {pin.target} {since} by {inert(pin.by, limit=80)}{reason}"]
    for words, names in (
        ("cordoned for it", seen.cordoned),
        ("uncordoned by somebody since", seen.uncordoned),
        ("joined since, and not cordoned", seen.joined),
    ):
        if names:
            lines.append(f"  {words}: {', '.join(names)}")
    return lines


# Words


def size_text(size_bytes: int) -> str:
    """In the units of disks: powers of a thousand."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= size:
            number = size_bytes / size
            return f"{number:.1f} {unit}" if number < 10 else f"{number:.0f} {unit}"
    return f"{size_bytes} B"


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, COLUMNS, subsequent_indent="    ", break_on_hyphens=False) or [""]
