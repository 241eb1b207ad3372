"""Answers of registries, and why a pull would not succeed."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import time
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import NamedTuple


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    url: str
    """Where it came from, after redirects."""
    stream: http.client.HTTPResponse | None = None
    """What the body is still to be read from."""

    @property
    def length(self) -> int | None:
        """The announced number of bytes."""
        length = self.headers.get("Content-Length", "")
        return int(length) if re.fullmatch("[0-9]{1,18}", length) else None


class State(str, Enum):
    """What a registry does when an image is pulled from it."""

    SERVES = "serves"
    UNREACHABLE = "unreachable"
    UNTRUSTED = "not trusted"
    """What answers there shows a certificate that is not trusted here."""
    REFUSES = "refuses"
    """It wants a login."""
    LACKS = "lacks the tag"
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
        self.wait_seconds: float | None = None
        """How long it wants us to wait."""


class Unusable(NotServed):
    """It may be served to docker: in this form, or on this host, it cannot be read by us."""


def part_lost(status: int, description: str, *missing: str, digest: str | None = None) -> NotServed:
    """A part of an image is answered with this status."""
    # 502 to 504 speak of the server in front, not of the image.
    if status in (502, 503, 504):
        return NotServed(State.UNREACHABLE, f"HTTP {status} for {description}", digest=digest)
    return NotServed(State.BROKEN, f"HTTP {status} for {description}", *missing, digest=digest)


def too_many(answer: Answer, where: str) -> NotServed:
    """An answer of HTTP 429. `where`: what the sentence begins with."""
    refusal = NotServed(State.UNREACHABLE, where + _rate_limit(answer))
    refusal.wait_seconds = _wait_seconds(answer.headers.get("Retry-After", ""))
    return refusal


def _wait_seconds(value: str) -> float | None:
    """Retry-After is a number of seconds or a date (RFC 9110, 10.2.3)."""
    if re.fullmatch("[0-9]{1,9}", value):
        return float(value)
    with contextlib.suppress(TypeError, ValueError, IndexError, OverflowError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _rate_limit(answer: Answer) -> str:
    """What a registry says together with HTTP 429."""
    with contextlib.suppress(ValueError, RecursionError, LookupError, TypeError):
        message = json.loads(answer.body)["errors"][0]["message"]
        if isinstance(message, str) and message:
            return f"a rate limit, it says: {message}"
    return "a rate limit: too many requests"
