"""Reads what other programs print. Whatever they print, the result is a value or a ValueError, and
`fits` checks a value before it is used.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

DEEPEST = 100
"""How many lists and mappings may be inside each other."""
LONGEST_BITS = 1000
NATURAL = range(1 << LONGEST_BITS)
PORT = range(1, 65536)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError if it is not JSON, is nested too deep, or has a
    number of hundreds of digits.
    """
    return _bounded(json.loads, text)


def parse_toml(text: str) -> dict[str, Any]:
    """The value of a TOML text. Raises ValueError as `parse_json` does."""
    document: dict[str, Any] = _bounded(tomllib.loads, text)
    return document


def whole_number(text: str) -> int | None:
    """The number in a text of 1 to 18 digits, or None."""
    # int() and isdigit() also accept signs, underscores and other scripts' digits.
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def fits(value: object, shape: Any) -> bool:
    """Whether a value has a shape.

    A shape is a type, a pattern for a text, a range for a number, None, or made of shapes:
    `(A, B)` is either; `[A]` is a list of any length, `[A, B]` a list of two; `{"key": A}` is a
    mapping in which a missing key counts as None and further keys do not matter; `{str: A}` is a
    mapping of any keys.
    """
    if isinstance(shape, tuple):
        return any(fits(value, alternative) for alternative in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and _list_fits(value, shape)
    if isinstance(shape, dict):
        return isinstance(value, dict) and _mapping_fits(value, shape)
    if isinstance(shape, range):
        return type(value) is int and value in shape
    if isinstance(shape, re.Pattern):
        return isinstance(value, str) and shape.fullmatch(value) is not None
    if shape is None:
        return value is None
    # JSON can name halves of characters, which no encoding can write.
    if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        return False
    return type(value) is shape


def _list_fits(values: list[Any], shapes: list[Any]) -> bool:
    if len(shapes) == 1:
        return all(fits(value, shapes[0]) for value in values)
    return len(shapes) == len(values) and all(map(fits, values, shapes))


def _mapping_fits(mapping: dict[Any, Any], shapes: dict[Any, Any]) -> bool:
    for key, shape in shapes.items():
        if key is str:
            if not all(fits(name, str) and fits(mapping[name], shape) for name in mapping):
                return False
        elif not fits(mapping.get(key), shape):
            return False
    return True


def _bounded(load: Callable[[Any], Any], text: str | bytes) -> Any:
    try:
        value = load(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    containers: list[Any] = [[value]]
    for _ in range(DEEPEST):
        values = list(chain.from_iterable(map(_values, containers)))
        if any(type(each) is int and each.bit_length() > LONGEST_BITS for each in values):
            raise ValueError("a number in it is huge")
        containers = [each for each in values if isinstance(each, (dict, list))]
    if containers:
        raise ValueError("it is nested too deep")
    return value


def _values(container: dict[Any, Any] | list[Any]) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container
