"""Answers of registries, and why a pull would not succeed."""

from __future__ import annotations

import http.client
import re
from enum import Enum
from typing import NamedTuple


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    url: str
    """Where it came from, after redirects."""

    @property
    def length(self) -> int | None:
        """The announced number of bytes."""
        length = self.headers.get("Content-Length", "")
        return int(length) if re.fullmatch("[0-9]{1,18}", length) else None


class State(str, Enum):
    """What a registry does when an image is pulled from it."""

    SERVES = "serves"
    UNREACHABLE = "unreachable"
    REFUSES = "refuses"
    """It wants a login."""
    LACKS = "lacks the tag"
    UNTRUSTED = "not trusted"
    """It shows a certificate that is not trusted here."""
    BROKEN = "broken"
    """It answers, but a part of the image is gone or not what its digest says."""

    def __str__(self) -> str:
        return self.value


class NotServed(Exception):
    """A pull, or one part of it, would not succeed."""

    def __init__(self, state: State, detail: str, *missing: str, digest: str | None = None) -> None:
        super().__init__(detail)
        self.state, self.detail = state, detail
        self.missing = missing
        """Digests of what is gone, or not what its digest and size say."""
        self.digest = digest
        """What the tag means, where that is known."""


def part_lost(status: int, description: str, *missing: str, digest: str | None = None) -> NotServed:
    """A part of an image is answered with this status."""
    # 502 to 504 speak of the server in front, not of the image.
    if status in (502, 503, 504):
        return NotServed(State.UNREACHABLE, f"HTTP {status} for {description}", digest=digest)
    return NotServed(State.BROKEN, f"HTTP {status} for {description}", *missing, digest=digest)
