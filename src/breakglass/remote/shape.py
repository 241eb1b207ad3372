"""The shape of JSON from elsewhere."""

from __future__ import annotations

from typing import Any


def is_strings(value: Any) -> bool:
    """Whether it is a list of strings."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
