"""The first line of status: one word for the whole, and why. Pure."""

from enum import StrEnum

from breakglass.age import age_in_words, age_seconds
from breakglass.commands.check import answered, has_tarball
from breakglass.commands.check_advice import Elsewhere
from breakglass.commands.check_verdict import PREFIX, Need, Verdict, judge
from breakglass.commands.status_facts import Facts, pins


class Headline(StrEnum):
    OK = "OK"
    OUTAGE = "OUTAGE"
    PARTLY = "PARTLY"
    UNKNOWN = "UNKNOWN"
    PINNED = "PINNED"
    """Every registry serves the image, and a pin is still in force."""


_WITHOUT_A_PIN = {
    Need.NOT_NEEDED: Headline.OK,
    Need.START: Headline.OUTAGE,
    Need.PARTLY: Headline.PARTLY,
    Need.UNKNOWN: Headline.UNKNOWN,
}


def verdict(facts: Facts) -> Verdict:
    """As `check` judges; a node that was reached shows as well that this machine has a network."""
    shelves = [source.shelf for source in facts.sources if source.shelf]
    reached = [seen.name for seen in facts.nodes if seen.host]
    elsewhere = Elsewhere(
        answers=facts.api is None or bool(shelves) or bool(reached) or answered(facts.unread),
        has_api=facts.api is None,
        has_tarball=has_tarball(shelves),
        lost=tuple(source.host.name for source in facts.sources if source.shelf is None),
        nodes=tuple(reached) or tuple(seen.name for seen in facts.nodes),
    )
    return judge(facts.registries, elsewhere)


def headline(facts: Facts) -> Headline:
    in_force, unreadable = pins(facts.nodes)
    word = _WITHOUT_A_PIN[verdict(facts).word]
    return Headline.PINNED if word is Headline.OK and (in_force or unreadable) else word


def line(facts: Facts) -> str:
    """The word and the reason; and the pin, which is true beside each of them."""
    judged = verdict(facts)
    sentence = f"{headline(facts):<8} {judged.sentence.removeprefix(PREFIX[judged.word])}"
    in_force, _ = pins(facts.nodes)
    for seen in in_force:
        age = age_seconds(seen.pin.at, facts.now)
        since = "" if age is None else f" for {age_in_words(age)}"
        sentence += f"; pinned to {seen.pin.target}{since}"
    return sentence
