"""Is the runbook needed? The verdict over what the registries, the sources and the API server
answered. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from breakglass.commands.check_advice import (
    ALL_UP,
    CHECK,
    Elsewhere,
    for_the_others,
    how_to_find_out,
    what_helps,
)
from breakglass.commands.check_asked import (
    IN_WORDS,
    NOT_KNOWN,
    Asked,
    all_of,
    joined,
    names,
    tagged,
)
from breakglass.errors import Next, then
from breakglass.registry import State


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
class Verdict:
    word: Need
    exit_code: int
    sentence: str
    advice: str
    commands: tuple[str, ...] = ()
    """What to type, in this order."""

    @property
    def next_step(self) -> Next:
        return then(*self.commands, advice=self.advice)


def judge(
    asked: Sequence[Asked],
    elsewhere: Elsewhere = ALL_UP,
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
        verdict = _verdict(Need.NOT_NEEDED, f"served by {all_of(serving)}", advice)
    elif serving:
        advice, commands = what_helps(deciding, elsewhere)
        advice = for_the_others(advice)
        verdict = _verdict(Need.PARTLY, _by_name(deciding, tag), advice, *commands)
    elif not_known := [each for each in deciding if not each.is_known]:
        verdict = _refused(not_known, again)
    elif not elsewhere.answers and _all_unreached(asked):
        verdict = _offline(again)
    else:
        advice, commands = what_helps(deciding, elsewhere)
        verdict = _verdict(Need.START, "no registry serves the image", advice, *commands)
    return _expected(verdict, asked, again) if expect_served else verdict


def unserved(verdict: Verdict) -> str:
    """Why pods may not start without the runbook; empty where every name is served."""
    return "" if verdict.word is Need.NOT_NEEDED else verdict.sentence


def _verdict(word: Need, reason: str, advice: str, *commands: str) -> Verdict:
    return Verdict(word, EXIT_CODES[word], PREFIX[word] + reason, advice, commands)


def _refused(not_known: Sequence[Asked], again: str) -> Verdict:
    why = "; ".join(f"{each} {NOT_KNOWN[each.found.state]}" for each in not_known)
    reason = f"{why}; nothing else serves the image"
    return _verdict(Need.UNKNOWN, reason, *how_to_find_out(not_known, again))


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
        sentence = f"served by {all_of(serving)}, as expected"
        return Verdict(verdict.word, 0, sentence, "nothing to do")
    if verdict.word is Need.UNKNOWN and not wrong:
        return verdict
    served = f"served by {all_of(serving)}" if serving else "no registry serves the image"
    if not_known and not wrong and not missing and len(digests) == 1:
        why = "; ".join(f"{each} {NOT_KNOWN[each.found.state]}" for each in not_known)
        advice, *commands = how_to_find_out(not_known, again)
        return Verdict(verdict.word, 5, f"not known: {why}; {served}", advice, tuple(commands))
    faults = [f"{each} {IN_WORDS[each.found.state]}" for each in (*missing, *not_known)]
    if len(digests) > 1:
        faults.append(f"the digests of {all_of(serving)} differ")
    return Verdict(
        verdict.word,
        10,
        f"{served}, but {' and '.join(faults)}",
        "every registry should serve the same image: look at the push step",
        (again,),
    )


def _by_name(deciding: Sequence[Asked], tag: str) -> str:
    """Which pods start and which do not, by the name of their image."""
    starting, failing = names(deciding, tag)
    not_known = tagged([each for each in deciding if not each.is_known], tag)
    parts = [f"pods that name {joined(starting)} start"]
    if failing:
        parts.append(f"pods that name {joined(failing)} do not")
    if not_known:
        parts.append(f"of pods that name {joined(not_known)} it is not known")
    return "; ".join(parts)


def _all_unreached(asked: Sequence[Asked]) -> bool:
    return all(each.found.state is State.UNREACHABLE for each in asked)
