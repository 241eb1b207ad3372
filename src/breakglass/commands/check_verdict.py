"""Is the runbook needed? The verdict over what the registries, the sources and the API server
answered, and what helps. Pure.

Over 250 lines, for the decision and its sentences are read, and tested as a table, in one place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from breakglass.config import Registry
from breakglass.registry import Found, State

CHECK, RECOVER, STATUS = "breakglass check", "breakglass recover", "breakglass status"
NOT_KNOWN = {
    State.REFUSES: "refused us (401, 403)",
    State.UNTRUSTED: "shows a certificate that is not trusted here",
}
"""States that say nothing about the image: a node may have another login, or other CAs."""
IN_WORDS = {
    **NOT_KNOWN,
    State.UNREACHABLE: "was not reached",
    State.LACKS: "lacks the tag",
    State.BROKEN: "has a broken image",
}


class Need(StrEnum):
    """Whether the runbook is needed."""

    START = "start"
    NOT_NEEDED = "not needed"
    PARTLY = "partly"
    UNKNOWN = "unknown"


PREFIX = {
    Need.START: "",
    Need.NOT_NEEDED: "not needed: ",
    Need.PARTLY: "partly: ",
    Need.UNKNOWN: "not known: ",
}
EXIT_CODES = {Need.START: 0, Need.NOT_NEEDED: 10, Need.PARTLY: 11, Need.UNKNOWN: 5}


@dataclass(frozen=True)
class Asked:
    """A registry and its answer."""

    registry: Registry
    found: Found

    @property
    def serves(self) -> bool:
        return self.found.state is State.SERVES

    @property
    def is_known(self) -> bool:
        return self.found.state not in NOT_KNOWN

    @property
    def host(self) -> str:
        return urlsplit(self.registry.url).netloc

    def __str__(self) -> str:
        return self.registry.name


@dataclass(frozen=True)
class Elsewhere:
    """What else was asked beside the registries."""

    answers: bool = True
    """A source, the API server or a node answered this machine."""
    has_api: bool = True
    has_tarball: bool = True
    """On a source that was read."""
    lost: tuple[str, ...] = ()
    """Sources that could not be read."""
    nodes: tuple[str, ...] = ()
    """Nodes that are known without the API server."""


@dataclass(frozen=True)
class Verdict:
    word: Need
    exit_code: int
    sentence: str
    advice: str
    commands: tuple[str, ...] = ()
    """What to type, in this order."""

    @property
    def next_step(self) -> str:
        """The advice and the commands, a line each."""
        return "\n".join((*((self.advice,) if self.advice else ()), *self.commands))


def judge(
    asked: Sequence[Asked],
    elsewhere: Elsewhere = Elsewhere(),
    *,
    tag: str = "latest",
    expect_served: bool = False,
    again: str = CHECK,
) -> Verdict:
    """Only registries that a name of the image points to decide. `again`: the command that asks
    once more.

    With `expect_served` every registry decides, and 0 means that all of them serve the same digest.
    """
    deciding = [each for each in asked if each.registry.names]
    serving = [each for each in deciding if each.serves]
    if deciding and serving == deciding:
        advice = "nothing to do: pipelines work, so skip the runbook"
        verdict = _verdict(Need.NOT_NEEDED, f"served by {_and(serving)}", advice)
    elif serving:
        advice, commands = _what_helps(deciding, elsewhere)
        advice = _for_the_others(advice)
        verdict = _verdict(Need.PARTLY, _by_name(deciding, tag), advice, *commands)
    elif not_known := [each for each in deciding if not each.is_known]:
        verdict = _refused(not_known, again)
    elif not elsewhere.answers and _all_unreached(asked):
        verdict = _offline(again)
    else:
        advice, commands = _what_helps(deciding, elsewhere)
        verdict = _verdict(Need.START, "no registry serves the image", advice, *commands)
    return _expected(verdict, asked, again) if expect_served else verdict


def unserved(verdict: Verdict) -> str:
    """Why pods may not start without the runbook; empty where every name is served."""
    return "" if verdict.word is Need.NOT_NEEDED else verdict.sentence


def names(asked: Sequence[Asked], tag: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names by which pods start, and those by which they do not. A name is in neither where it
    is not known.
    """
    starting = [each for each in asked if each.serves]
    failing = [each for each in asked if not each.serves and each.is_known]
    return _names(starting, tag), _names(failing, tag)


def without_api(nodes: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """What helps with the API server down: a node that is named."""
    if not nodes:
        return (
            "the API server knows the nodes, and it is down; nodes.hosts names none. With a node's "
            "address: breakglass fetch ADDRESS, then breakglass import ADDRESS",
            (),
        )
    first, *others = nodes
    more = f" (or another of nodes.hosts: {', '.join(others)})" if others else ""
    return (
        f"the API server is down, so name a node: {first}{more}",
        (f"breakglass fetch {first}", f"breakglass import {first}"),
    )


def _verdict(word: Need, reason: str, advice: str, *commands: str) -> Verdict:
    return Verdict(word, EXIT_CODES[word], PREFIX[word] + reason, advice, commands)


def _what_helps(deciding: Sequence[Asked], elsewhere: Elsewhere) -> tuple[str, tuple[str, ...]]:
    """Advice and commands where the image is not served: the runbook only where it can help, and a
    push where that is shorter.
    """
    advice, commands = _runbook(elsewhere)
    failing = [each for each in deciding if not each.serves]
    lacking = [each for each in failing if each.found.state is State.LACKS]
    if not lacking or {each.found.state for each in failing} - {State.LACKS, State.UNREACHABLE}:
        return advice, commands
    push = f"push the image to {_or(lacking)}, or check the tag: that is shorter than the runbook"
    return f"{push}; else {advice}" if advice else f"{push}, which is:", commands


def _runbook(elsewhere: Elsewhere) -> tuple[str, tuple[str, ...]]:
    if not elsewhere.has_tarball:
        if elsewhere.lost:
            lost = " or ".join(elsewhere.lost)
            advice = f"no tarball was found, but {lost} may have one: bring it back"
        else:
            advice = (
                "no source has a tarball: repair a registry, or push the image again (runbook.md, "
                "7)"
            )
        return f"{advice}. Whether a node still has the image:", (STATUS,)
    if not elsewhere.has_api:
        return without_api(elsewhere.nodes)
    return "", (RECOVER,)


def _for_the_others(advice: str) -> str:
    first = "pods that start need nothing; for the others"
    return f"{first}: {advice}" if advice else f"{first}:"


def _refused(not_known: Sequence[Asked], again: str) -> Verdict:
    why = "; ".join(f"{each} {NOT_KNOWN[each.found.state]}" for each in not_known)
    reason = f"{why}; nothing else serves the image"
    return _verdict(Need.UNKNOWN, reason, *_to_know(not_known, again))


def _to_know(not_known: Sequence[Asked], again: str) -> tuple[str, ...]:
    """Advice and commands where a registry did not say what it has."""
    refusing = [each for each in not_known if each.found.state is State.REFUSES]
    untrusted = [each for each in not_known if each.found.state is State.UNTRUSTED]
    logins = tuple(f"docker login {each.host}" for each in refusing)
    certificates = tuple(f"curl -vI https://{each.host}/v2/" for each in untrusted)
    advice = []
    if refusing:
        advice.append("log in")
    if untrusted:
        advice.append(
            "see whose certificate that is: a portal or VPN in between shows another one, and a "
            "private CA belongs into registries[].ca"
        )
    return ("; ".join(advice), *logins, *certificates, again)


def _offline(again: str) -> Verdict:
    return _verdict(
        Need.UNKNOWN,
        "no registry, no source and no API server answers this machine",
        "look at this machine's network first (cable, VPN, route, DNS)",
        "ip route",
        again,
    )


def _expected(verdict: Verdict, asked: Sequence[Asked], again: str) -> Verdict:
    """The same word, and the exit code for a push that should have reached every registry."""
    serving = [each for each in asked if each.serves]
    missing = [each for each in asked if not each.serves and each.is_known]
    not_known = [each for each in asked if not each.is_known]
    digests = {each.found.digest for each in serving}
    wrong = [each for each in missing if each.found.state is not State.UNREACHABLE]
    if asked and serving == list(asked) and len(digests) == 1:
        sentence = f"served by {_and(serving)}, as expected"
        return Verdict(verdict.word, 0, sentence, "nothing to do")
    if verdict.word is Need.UNKNOWN and not wrong:
        return verdict
    served = f"served by {_and(serving)}" if serving else "no registry serves the image"
    if not_known and not wrong and not missing and len(digests) == 1:
        why = "; ".join(f"{each} {NOT_KNOWN[each.found.state]}" for each in not_known)
        advice, *commands = _to_know(not_known, again)
        return Verdict(verdict.word, 5, f"not known: {why}; {served}", advice, tuple(commands))
    faults = [f"{each} {IN_WORDS[each.found.state]}" for each in (*missing, *not_known)]
    if len(digests) > 1:
        faults.append(f"the digests of {_and(serving)} differ")
    return Verdict(
        verdict.word,
        10,
        f"{served}, but {' and '.join(faults)}",
        "every registry should serve the same image: look at the push step, then",
        (again,),
    )


def _by_name(deciding: Sequence[Asked], tag: str) -> str:
    """Which pods start and which do not, by the name of their image."""
    starting, failing = names(deciding, tag)
    not_known = _names([each for each in deciding if not each.is_known], tag)
    parts = [f"pods that name {_joined(starting)} start"]
    if failing:
        parts.append(f"pods that name {_joined(failing)} do not")
    if not_known:
        parts.append(f"of pods that name {_joined(not_known)} it is not known")
    return "; ".join(parts)


def _all_unreached(asked: Sequence[Asked]) -> bool:
    return all(each.found.state is State.UNREACHABLE for each in asked)


def _names(asked: Sequence[Asked], tag: str) -> tuple[str, ...]:
    return tuple(f"{name}:{tag}" for each in asked for name in each.registry.names)


def _and(asked: Sequence[Asked]) -> str:
    return _joined(tuple(map(str, asked)))


def _joined(words: Sequence[str]) -> str:
    return " and ".join((*((", ".join(words[:-1]),) if words[1:] else ()), *words[-1:]))


def _or(asked: Sequence[Asked]) -> str:
    return " or ".join(map(str, asked))
