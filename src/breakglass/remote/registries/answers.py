"""Answers of registries, and why a pull would not succeed."""

from __future__ import annotations

import http.client
import unicodedata
from typing import NamedTuple

DETAIL_CHARACTERS = 299


class Ended(Exception):
    """The look at one tag, or one part of it, ended with this."""

    def __init__(self, state: str, detail: str, *missing: str) -> None:
        super().__init__(detail)
        self.state, self.detail, self.missing = state, detail, missing


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    url: str
    """Where it came from, after redirects."""


def inert(text: str) -> str:
    """Text from elsewhere is data: one line, no control characters, no megabytes."""
    line = " ".join(
        "".join(
            character if character.isprintable() else " "
            for character in text
            if unicodedata.category(character) != "Cf"
        ).split()
    )
    return line if len(line) <= DETAIL_CHARACTERS else line[: DETAIL_CHARACTERS - 1] + "…"
