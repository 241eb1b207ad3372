"""Errors are values: whoever adds a sentence makes a new one."""

import ast
import re
from pathlib import Path

import breakglass
from breakglass.errors import Failed, Integrity, Refused, Unreachable, worst


def test_a_replaced_error_is_another_one_of_the_same_kind() -> None:
    first = Refused("no room", next_step="make room")
    second = first.replaced(state="Half of it is there.")
    assert type(second) is Refused
    assert (second.message, second.state, str(second.next_step)) == (
        "no room",
        "Half of it is there.",
        "make room",
    )
    assert (first.state, str(second)) == (Refused.state_by_default, "no room")


def test_the_worst_of_several_is_a_new_error_with_the_words_that_are_given() -> None:
    errors = [Refused("a"), Integrity("b", next_step="look"), Unreachable("c"), Failed("d")]
    decisive = worst(errors, message="b, and three more")
    assert type(decisive) is Integrity
    assert (decisive.message, str(decisive.next_step)) == ("b, and three more", "look")
    assert errors[1].message == "b"


def test_a_name_stands_before_a_message_once_whoever_puts_it_there() -> None:
    about = Unreachable("node1 did not answer", where="node1")
    assert (about.named("node1"), about.unnamed("node1")) == (
        "node1 did not answer",
        "did not answer",
    )
    assert about.named("node10") == "node10: node1 did not answer"
    assert about.unnamed("node") == "node1 did not answer"
    of_a_part = Unreachable("node1: no listing", where="node1")
    assert (of_a_part.named("node1"), of_a_part.unnamed("node1")) == (
        "node1: no listing",
        "no listing",
    )
    assert of_a_part.replaced(state="as it was").where == "node1"


def test_no_advice_ends_in_the_word_that_joins_it_to_the_command() -> None:
    """Several sentences become one, and a colon stands before the commands: `correct it; then.`"""
    joining = re.compile(r"[;,.?] (?:and )?(?:then|later|else|when it answers)$", re.IGNORECASE)
    for file in Path(breakglass.__file__).parent.rglob("*.py"):
        for each in ast.walk(ast.parse(file.read_text())):
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                assert not joining.search(each.value), f"{file}:{each.lineno}: {each.value}"
