"""Whether a blob can be pulled: bytes of it are read, for HEAD can be wrong.

A registry may answer from its memory about a layer that is gone from its disk, and send no byte
(distribution/distribution#4569).
"""

from __future__ import annotations

import re

from breakglass.remote.distribution.answers import Answer, NotServed, State, part_lost
from breakglass.remote.distribution.manifests import verify
from breakglass.remote.distribution.session import Session

WHOLE_BYTES = 32 << 10
"""A blob of this size or less is read to its end and compared with its digest."""
BEGINNING_BYTES = 4 << 10
"""What is read of a larger blob if the registry does not send single bytes."""
NO_PARTS = (400, 405, 416, 501)
"""Answers to the question for a single byte, after which the blob itself is asked for."""
TRIES = 2
"""A connection that ends too early once may be an accident."""


def check_blob(session: Session, digest: str, size: int | None) -> None:
    """Raises NotServed unless bytes of the blob come, and it is there at its length: a small one
    whole, of a larger one the first and the last byte.
    """
    if size is not None and size <= WHOLE_BYTES:
        verify(_read(session, digest, size, wanted=size).body, digest)
        return
    wanted = 1 if size is None else BEGINNING_BYTES
    answer = _read(session, digest, size, wanted=wanted, at=0)
    if answer.status == 206 and size is not None:
        _read(session, digest, size, wanted=wanted, at=size - 1)


def _read(
    session: Session, digest: str, size: int | None, *, wanted: int, at: int | None = None
) -> Answer:
    """The answer with the byte at this place, or with the first bytes of the blob."""
    expected = wanted
    body = b""
    for _ in range(TRIES):
        answer = _ask(session, digest, wanted, at)
        if answer.status not in (200, 206):
            raise part_lost(answer.status, digest, digest)
        length = whole_length(answer)
        if None not in (size, length) and length != size:
            raise NotServed(State.BROKEN, f"{digest} has {length} bytes instead of {size}", digest)
        body, expected = answer.body, 1 if answer.status == 206 else wanted
        if len(body) >= expected:
            return answer
    raise NotServed(
        State.BROKEN, f"the bytes of {digest} do not come: {len(body)} of {expected}", digest
    )


def _ask(session: Session, digest: str, wanted: int, at: int | None) -> Answer:
    path, first = f"blobs/{digest}", wanted + 1
    if at is not None:
        headers = {"Range": f"bytes={at}-{at}"}
        answer = session.ask("GET", path, headers=headers, first=first)
        if answer.status not in NO_PARTS:
            return answer
    return session.ask("GET", path, first=first)


def whole_length(answer: Answer) -> int | None:
    """The length of the whole blob, where the answer says it."""
    if answer.status == 200:
        return answer.length
    matched = re.fullmatch(
        r"bytes [0-9]+-[0-9]+/([0-9]{1,18})", answer.headers["Content-Range"] or ""
    )
    return int(matched[1]) if matched else None
