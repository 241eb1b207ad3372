"""What other programs say, held against a shape."""

import re
from typing import Any

import pytest

from breakglass.shape import PORT, fits, parse_json, parse_toml, whole_number
from tests.unit.strategies import DEEP, HUGE


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ("a", str),
        (True, bool),
        (None, None),
        (5000, (PORT, None)),
        ("v1", re.compile("v[0-9]")),
        ([], [str]),
        (["a", "b"], [str]),
        (["a", None], [str, None]),
        ({"a": "b", "further": 1}, {"a": str}),
        ({}, {"a": (str, None)}),
        ({"b": True}, {str: bool}),
        ({"files": {"/x": {"text": "y"}}}, {"files": {str: {"text": str}}}),
    ],
)
def test_a_value_of_a_shape_fits_it(value: object, shape: Any) -> None:
    assert fits(value, shape)


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (1, str),
        ("\ud800", str),
        (1, bool),
        (False, None),
        (True, PORT),
        (0, PORT),
        (5.0, PORT),
        ("v12", re.compile("v[0-9]")),
        ({}, [str]),
        (["a", 1], [str]),
        (["a"], [str, str]),
        ([], {"a": (str, None)}),
        ({}, {"a": str}),
        ({"b": 1}, {str: bool}),
        ({"\ud800": True}, {str: bool}),
    ],
)
def test_a_value_of_another_shape_does_not(value: object, shape: Any) -> None:
    assert not fits(value, shape)


@pytest.mark.parametrize("text", ["", "{", HUGE, "9" * 400, DEEP, "[" * 200 + "]" * 200, b"\xff"])
def test_what_cannot_be_handled_is_one_kind_of_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        f"a = {HUGE}",
        f"a = 0x{'f' * 5000}",
        f"a = {DEEP}",
        "a = " + "[" * 200 + "]" * 200,
        "a" + ".a" * 5000 + " = 1",
    ],
)
def test_a_toml_document_that_cannot_be_handled_likewise(text: str) -> None:
    with pytest.raises(ValueError):
        parse_toml(text)


def test_only_plain_digits_are_a_number() -> None:
    assert whole_number("1000000") == 1_000_000
    assert not any(whole_number(text) for text in ("", "²", "٣", "1_0", " 1", "-1", "1\n", HUGE))
