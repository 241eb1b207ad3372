"""What other programs say, taken in: whatever it is, it is read or it is a ValueError, and it is
held against the shape that it must have.
"""

import json
import re
import tomllib
from collections.abc import Callable
from typing import Any

DEEPEST = 100
LONGEST_BITS = 1000
NATURAL = range(1 << LONGEST_BITS)
PORT = range(1, 65536)


def parse_json(text: str | bytes) -> Any:
    """Raises ValueError for what is no JSON, and for what cannot be handled like any other: nested
    too deep, numbers of a thousand digits.
    """
    return _tame(json.loads, text)


def parse_toml(text: str) -> dict[str, Any]:
    """Raises ValueError likewise."""
    document: dict[str, Any] = _tame(tomllib.loads, text)
    return document


def whole_number(text: str) -> int | None:
    """A number as programs print it: `int` and `isdigit` understand more than that."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def fits(value: object, shape: Any) -> bool:
    """Whether a value has the shape: a type; a pattern of a text; a range of numbers; None;
    `(one, or another)`; `[of every item]`, `[of one, of two]`; `{"key": of its value}`, where a
    key that is missing is None, and further ones do not matter; `{str: of every value}`.
    """
    if isinstance(shape, tuple):
        return any(fits(value, each) for each in shape)
    if isinstance(shape, list):
        return (
            isinstance(value, list)
            and len(shape) in (1, len(value))
            and all(map(fits, value, shape * len(value) if len(shape) == 1 else shape))
        )
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            all(fits(name, str) and fits(value[name], each) for name in value)
            if key is str
            else fits(value.get(key), each)
            for key, each in shape.items()
        )
    if isinstance(shape, range):
        return type(value) is int and value in shape
    if isinstance(shape, re.Pattern):
        return isinstance(value, str) and shape.fullmatch(value) is not None
    # JSON can name halves of characters, which no encoding can write.
    return (
        value is None
        if shape is None
        else type(value) is shape
        and not (isinstance(value, str) and re.search("[\ud800-\udfff]", value))
    )


def _tame(load: Callable[[Any], Any], text: str | bytes) -> Any:
    try:
        value = load(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    level: list[Any] = [[value]]
    for _ in range(DEEPEST):
        inner = [each for one in level for each in (one.values() if isinstance(one, dict) else one)]
        if any(type(each) is int and each.bit_length() > LONGEST_BITS for each in inner):
            raise ValueError("a number in it is huge")
        level = [each for each in inner if isinstance(each, (dict, list))]
    if level:
        raise ValueError("it is nested too deep")
    return value
