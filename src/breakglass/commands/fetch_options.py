"""Which tarball of which source is fetched, and by which transport: via node or via operator."""

from collections.abc import Iterator
from dataclasses import dataclass

from breakglass.commands.fetch_facts import Facts, state
from breakglass.commands.record_names import fault_of_names
from breakglass.commands.signed import distrust
from breakglass.config import Image
from breakglass.errors import (
    AGAIN,
    BreakglassError,
    Failed,
    Integrity,
    Next,
    Refused,
    Unreachable,
    joined,
    then,
    worst,
)
from breakglass.observe.shelf import Shelf, Tarball

Key = tuple[str, str, str]
"""Source, file, transport."""

Failures = dict[Key, BreakglassError]
"""`Option.key` of what was tried in this run already, and how it ended."""


@dataclass(frozen=True)
class Option:
    """A tarball of a source and its transport."""

    shelf: Shelf
    tarball: Tarball
    via: str
    """`node`: the node fetches it itself; `operator`: it goes through this machine."""

    def __str__(self) -> str:
        return f"{self.shelf.host}, {self.tarball.file}, via {self.via}"

    @property
    def key(self) -> Key:
        return (self.shelf.host.name, self.tarball.file, self.via)


def choose_option(
    facts: Facts, *, image: Image, tag: str | None, via: str, failed: Failures
) -> tuple[Option, tuple[Option, ...]]:
    """What is tried now, and what would be tried after it. Raises an error with a reason for each
    source where nothing is left.
    """
    if "python3" not in facts.machine.commands:
        install = facts.node.by_hand("apt-get", "install", "python3-minimal")
        raise Refused(
            f"{facts.node} has no python3, which checks the tarball there",
            next_step=then(
                install,
                AGAIN,
                "breakglass fetch",
                advice="install it, or let breakglass choose a node",
            ),
        )
    failed = {**failures_of_records(facts, image, tag), **failed}
    options = tuple(_options(facts, tag, via, failed))
    if not options:
        raise _no_option(facts, tag, via, failed)
    return options[0], options[1:]


def failures_of_records(facts: Facts, image: Image, tag: str | None) -> Failures:
    """The tarballs that are not even tried: no allowed signer has signed the record, or it has
    names that the configuration does not give.
    """
    return {
        (shelf.host.name, tarball.file, ""): fault
        for shelf, tarball in _tarballs(facts, tag)
        if (fault := distrust(tarball, shelf.host) or fault_of_names(image, shelf, tarball))
    }


def designated(shelf: Shelf, tag: str | None) -> Tarball | None:
    """What is taken from a source: the tarball of the tag; without a tag what `latest` means, else
    the newest verified tarball.
    """
    wanted = tag if tag is not None else shelf.latest
    tarball = shelf.find(wanted) if wanted is not None else None
    if tarball is None and tag is None and shelf.verified:
        return shelf.verified[0]
    return tarball


def _options(facts: Facts, tag: str | None, via: str, failed: Failures) -> Iterator[Option]:
    """Each source's tarball in the order of the sources; after them, where no tag was asked for,
    their older good tarballs.
    """
    bad_files = {
        (source, file)
        for (source, file, transport), error in failed.items()
        # Without a transport it is the record that is not used.
        if not transport or error.exit_code == Integrity.exit_code
    }
    for shelf, tarball in _tarballs(facts, tag):
        if (shelf.host.name, tarball.file) in bad_files:
            continue
        for transport in _transports(facts, shelf.host.name, via):
            option = Option(shelf, tarball, transport)
            if option.key not in failed:
                yield option


def _tarballs(facts: Facts, tag: str | None) -> list[tuple[Shelf, Tarball]]:
    tarballs = [
        (shelf, tarball)
        for shelf in facts.sources
        if (tarball := designated(shelf, tag)) is not None
    ]
    if tag is not None:
        return tarballs
    older = [
        (shelf, tarball)
        for shelf in facts.sources
        for tarball in shelf.verified
        if (shelf, tarball) not in tarballs
    ]
    return [*tarballs, *older]


def _transports(facts: Facts, source: str, via: str) -> tuple[str, ...]:
    if via == "operator":
        return ("operator",)
    node = ("node",) if facts.node_reaches(source) else ()
    return node if via == "node" else (*node, "operator")


def _no_option(facts: Facts, tag: str | None, via: str, failed: Failures) -> BreakglassError:
    """Why there is no option (left): each source with its reason."""
    refused_logins = (
        [login.why_not for login in facts.logins.values() if login.why_not] if via == "node" else []
    )
    causes = [
        *failed.values(),
        *(unread.error for unread in facts.unread),
        *(Unreachable(why_not) for why_not in refused_logins),
    ]
    wanted = f"tarball with tag {tag}" if tag else "tarball"
    reasons = [
        *_missing(facts, tag, wanted),
        *_failures(failed),
        *(str(unread) for unread in facts.unread),
        *refused_logins,
    ]
    separator = ":\n" if len(reasons) > 1 else ": "
    return worst(
        causes or [Refused("")],
        message=f"no source has a usable {wanted}{separator}" + "\n".join(reasons),
        state=state(facts),
        next_step=_next_step(facts, tag, failed),
    )


def _missing(facts: Facts, tag: str | None, wanted: str) -> Iterator[str]:
    for shelf in facts.sources:
        if designated(shelf, tag) is not None:
            continue
        if shelf.present:
            yield f"{shelf.host}: no {wanted} in {shelf.directory}"
        else:
            yield f"{shelf.host}: no directory {shelf.directory}"


def _failures(failed: Failures) -> list[str]:
    """The transport is named where it matters: a bad file is bad by both."""
    lines = []
    for (source, file, via), error in failed.items():
        transport = "" if isinstance(error, Integrity) else f", via {via}"
        lines.append(f"{source}: {file}{transport}: {error.message}")
    return list(dict.fromkeys(lines))


def _next_step(facts: Facts, tag: str | None, failed: Failures) -> Next:
    broken_off = [error for error in failed.values() if error.exit_code == Failed.exit_code]
    if broken_off and broken_off[0].next_step:
        # The next run continues a copy that broke off.
        return broken_off[0].next_step
    verified = [tarball for tarball in facts.shelf.verified if tarball.file not in facts.bad]
    if verified:
        tags = ", ".join(tarball.tag for tarball in verified)
        command = f"breakglass import {facts.node} --tag {verified[0].tag}"
        return then(command, advice=f"{facts.node} itself has {tags}")
    if facts.unread:
        return _when_sources_are_back(facts, tag)
    return then("breakglass status", advice="see which tarballs there are")


def _when_sources_are_back(facts: Facts, tag: str | None) -> Next:
    steps = joined([unread.error.next_step for unread in facts.unread])
    first = steps.without_again.commands
    if facts.is_named:
        when = "the other sources were not asked"
    elif len(facts.unread) > 1:
        when = "once one of them is back"
    else:
        when = "once it is back"
    option = f" --tag {tag}" if tag else ""
    again = f"breakglass fetch {facts.node}{option}"
    return then(*first, again, advice=f"{steps.advice} {when}".strip())
