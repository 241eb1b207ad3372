"""status as a page of 80 columns, and the one line that says what to type next. All of it pure."""

import textwrap

from breakglass.age import age_in_words, age_seconds, moment_of
from breakglass.commands import Unread
from breakglass.commands.check import counted
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
    unverified,
)
from breakglass.observe.shelf import Shelf, Tarball
from breakglass.text import inert

COLUMNS = 80


def lines(facts: Facts, *, last_run: str = "") -> tuple[str, ...]:
    """The whole page. `last_run`: what is known of the last run on this machine."""
    told = [
        _newest(facts),
        *(line for source in facts.sources for line in _source(facts, source)),
        "",
        *_nodes(facts),
        "",
        *_pins(facts),
    ]
    wrapped = (
        piece for line in (*told, *((last_run,) if last_run else ())) for piece in _wrapped(line)
    )
    return (*wrapped, f"Next: {next_step(facts)}")  # in one piece, to be pasted


def next_step(facts: Facts) -> str:
    """What to type, by what presses most."""
    in_force, unreadable = pins(facts.nodes)
    silent = [seen.name for seen in facts.nodes if seen.fails_to_answer]
    if in_force:
        first = in_force[0]
        target = next((seen for seen in facts.nodes if seen.name == first.pin.target), None)
        if target is None or target.node is None:
            return (
                f"breakglass restore (the pin is for {first.pin.target}, which is no node of the "
                f"cluster)"
            )
        another = "breakglass restore, then breakglass recover, which chooses another node"
        if not target.node.ready:
            return f"bring {target.name} back; or {another}"
        if (
            target.host is None
        ):  # the API may not have noticed yet; or it is we who do not get there
            return (
                f"see whether {target.name} is up; if it is: run the pipeline, then: breakglass "
                f"restore; else: {another}"
            )
        before = [f"breakglass import {name}; " for name in silent if name == first.pin.target]
        before += (
            [f"breakglass pin {first.pin.target}; "] if first.joined and len(in_force) == 1 else []
        )
        return f"{''.join(before)}run the pipeline; then: breakglass restore"
    if unreadable:
        return (
            f"breakglass restore (the annotation of {', '.join(unreadable)} cannot be read, it "
            f"gives these back too)"
        )
    if silent:
        return f"breakglass import {silent[0]}; or, when the outage is over: breakglass restore"
    taken = next((seen for seen in facts.nodes if seen.answers_pulls), None) or next(
        (seen for seen in facts.nodes if seen.only_keeps), None
    )
    if taken and facts.api:
        return (
            f"bring the API server back, then: breakglass status ({taken.name} "
            f"{'answers pulls' if taken.answers_pulls else 'keeps the image'}; whether a pin is "
            f"in force is not known)"
        )
    if taken:
        return (
            f"breakglass {'import' if taken.holds is False else 'pin'} {taken.name}; or, when "
            f"the outage is over: breakglass restore"
        )
    besides = _for_the_tarballs(facts) or _for_the_unread(
        tuple(unread for unread in facts.unread if unread is not facts.api)
    )
    return (
        "; ".join(filter(None, (_for_the_unread((facts.api,)) if facts.api else "", besides)))
        or "nothing to do; in an outage: breakglass check"
    )


def _for_the_tarballs(facts: Facts) -> str:
    vm = facts.sources[0]
    if is_stale(facts):
        return (
            f"{f'bring {vm.host} back, then: ' if vm.shelf is None else ''}breakglass snapshot "
            f"--tag TAG"
        )
    for source in facts.sources[1:]:
        if lacks := lacking(facts, source):
            return (
                f"look at the job that copies from {vm.host} to {source.host}: {len(lacks)} "
                f"newer {'is' if len(lacks) == 1 else 'are'} not there yet"
            )
    if vm.shelf and vm.shelf.latest_fault:
        return f"breakglass snapshot --tag TAG re-points latest, which {vm.shelf.latest_fault}"
    for source in facts.sources:
        if source.shelf and unverified(source.shelf):
            return (
                f"see whether the unverified ones are wanted: "
                f"{source.host.by_hand('ls', '-l', source.directory)}"
            )
    return ""


def _for_the_unread(unread: tuple[Unread, ...]) -> str:
    first = next((each for each in unread if each.error.next_step), None)
    return f"{first.name}: {first.error.next_step}" if first else ""


# The sources


def _newest(facts: Facts) -> str:
    found = newest(facts)
    if found is None:
        lost = [source.host.name for source in facts.sources if source.shelf is None]
        return "STALE: no verified tarball on any source" + (
            f" that was reached ({', '.join(lost)} not)." if lost else "."
        )
    tarball, age = found
    where = [
        source.host.name
        for source in facts.sources
        if source.shelf and any(_same(tarball, each) for each in source.shelf.verified)
    ]
    stale = (
        f"STALE, older than {age_in_words(int(facts.max_age_hours * 3600))}. "
        if is_stale(facts)
        else ""
    )
    return (
        f"{stale}Newest verified tarball: {tarball.tag}, "
        f"{'of unknown age' if age is None else f'{age_in_words(age)} old'}, on "
        f"{' and '.join(where)}."
    )


def _source(facts: Facts, source: Source) -> list[str]:
    """A fallback tells only in what it differs from the registry VM."""
    shelf, vm = source.shelf, facts.sources[0].shelf
    if isinstance(source.found, Unread):
        return [f"{source.host}: {source.found.error.unnamed(source.host.name)}"]
    assert shelf is not None
    if not shelf.present:
        return [f"{source.host}: there is no {source.directory}"]
    as_there = (
        []
        if vm is None or shelf is vm
        else [
            tarball
            for tarball in shelf.tarballs
            if any(_same(tarball, each) for each in vm.tarballs)
        ]
    )
    own = [tarball for tarball in shelf.tarballs if tarball not in as_there]
    told = f"{source.host}: {counted(shelf)}"
    if as_there:
        told += f", {'all' if not own else len(as_there)} as on {facts.sources[0].host}"
    told += (
        f"; latest is {shelf.latest}"
        if shelf.latest
        else f"; latest {shelf.latest_fault}"
        if shelf.tarballs
        else ""
    )
    lacks = () if shelf is vm else lacking(facts, source) or ()
    told += (
        f"; LAGS by {len(lacks)}: {', '.join(tarball.tag for tarball in lacks)}" if lacks else ""
    )
    width = max((len(tarball.tag) for tarball in own), default=0)
    rows = [_tarball(tarball, shelf, facts.now, width) for tarball in own if tarball.verified]
    doubtful = [tarball for tarball in own if not tarball.verified]
    if doubtful:
        rows.append(
            f"  not verified, {told_size(sum(tarball.size_bytes for tarball in doubtful))}, "
            f"never removed by breakglass: {', '.join(tarball.tag for tarball in doubtful)}"
        )
    return [told, *rows]


def _tarball(tarball: Tarball, shelf: Shelf, now: str, width: int) -> str:
    at = tarball.record.created_at if tarball.record else ""
    age, moment = age_seconds(at, now), moment_of(at)
    taken = f"{moment:%Y-%m-%d %H:%M}Z" if moment else "unknown"
    words = "?" if age is None else age_in_words(age)
    return (
        f"  {tarball.tag:<{width}}  {taken:<17}  {words:>6} old  "
        f"{told_size(tarball.size_bytes):>7}  "
        f"verified{', latest' if tarball.tag == shelf.latest else ''}"
    )


def _same(one: Tarball, other: Tarball) -> bool:
    sums = [tarball.record.sha256 if tarball.record else None for tarball in (one, other)]
    return (one.tag, one.size_bytes, one.verified) == (
        other.tag,
        other.size_bytes,
        other.verified,
    ) and sums[0] == sums[1]


# The cluster


def _nodes(facts: Facts) -> list[str]:
    told = (
        [f"API server: not reached: {facts.api.error.unnamed('API server')}"] if facts.api else []
    )
    if not facts.nodes:
        return [
            *told,
            "Nodes: none known; nodes.hosts names none." if facts.api else "Nodes: none.",
        ]
    names = max(len(seen.name) for seen in facts.nodes)
    states = max(len(_state(seen, facts)) for seen in facts.nodes)
    for seen in facts.nodes:
        told.append(
            f"{seen.name:<{names}}  {_state(seen, facts):<{states}}  {'; '.join(_what(seen))}"
        )
        if seen.host and seen.taken:
            told += [f"  {sentence}" for sentence in edited(seen.host, seen.taken)]
            told += [
                f"  {file} holds lines of breakglass that no record knows"
                for file in seen.taken.strays
            ]
    return told


def _state(seen: Seen, facts: Facts) -> str:
    if seen.node is None:
        return "not known" if facts.api else "no node of the cluster"
    mark = seen.node.mark
    by_us = mark.annotation is not None
    cordoned = (
        ("pinned" if by_us else "cordoned")
        if mark.unschedulable
        else "uncordoned since"
        if by_us
        else ""
    )
    # The words of commands/node_choice.py.
    return ", ".join(
        filter(
            None,
            (
                "Ready" if seen.node.ready else "not Ready",
                cordoned,
                "DiskPressure" if seen.node.disk_pressure else "",
            ),
        )
    )


def _what(seen: Seen) -> list[str]:
    if seen.host is None:
        return [unread.error.unnamed(seen.name) for unread in seen.unread]
    tarballs = seen.shelf.verified if seen.shelf else ()
    told = [
        {
            True: "keeps the image" if seen.only_keeps else "holds the image",
            False: "does not hold the image",
            None: "image: not known",
        }[seen.holds]
    ]
    told += [f"tarball {', '.join(tarball.tag for tarball in tarballs)}"] if tarballs else []
    told += (
        ["answers pulls"]
        if seen.answers_pulls
        else ["should answer pulls and does NOT"]
        if seen.fails_to_answer
        else []
    )
    return [*told, *(unread.error.unnamed(seen.name) for unread in seen.unread)]


def _pins(facts: Facts) -> list[str]:
    in_force, unreadable = pins(facts.nodes)
    told = [line for seen in in_force for line in _pin(seen, facts.now)]
    if unreadable:
        told.append(f"Marked as pinned, but the annotation cannot be read: {', '.join(unreadable)}")
    if told:
        return told
    return [
        "Whether a pin is in force is not known: the API server was not reached."
        if facts.api
        else "No pin is in force."
    ]


def _pin(seen: PinSeen, now: str) -> list[str]:
    pin, age, moment = seen.pin, age_seconds(seen.pin.at, now), moment_of(seen.pin.at)
    since = (
        f"for {age_in_words(age)}, since {moment:%Y-%m-%d %H:%M}Z,"
        if moment and age is not None
        else f"at {inert(pin.at, limit=40)}"
    )
    told = [
        f"Pinned to {pin.target} {since} by {inert(pin.by, limit=80)}"
        + (f": {inert(pin.reason, limit=200)}" if pin.reason else "")
    ]
    told += [f"  cordoned for it: {', '.join(seen.cordoned)}"] if seen.cordoned else []
    told += (
        [f"  uncordoned by somebody since: {', '.join(seen.uncordoned)}"] if seen.uncordoned else []
    )
    told += [f"  joined since, and not cordoned: {', '.join(seen.joined)}"] if seen.joined else []
    return told


# Words


def told_size(size_bytes: int) -> str:
    """In the units of disks: powers of a thousand."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= size:
            number = size_bytes / size
            return f"{number:.1f} {unit}" if number < 10 else f"{number:.0f} {unit}"
    return f"{size_bytes} B"


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, COLUMNS, subsequent_indent="    ", break_on_hyphens=False) or [""]
