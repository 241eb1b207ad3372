"""Reading a whole blob, however long it takes: hashed on the way. If the connection
breaks, the rest is asked for.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeVar

from breakglass.remote.distribution.answers import NotServed, State, Unusable, part_lost
from breakglass.remote.distribution.blobs import NO_PARTS, whole_length
from breakglass.remote.distribution.session import Session

T = TypeVar("T")

SILENCE_SECONDS = 60.0
"""A registry that sends nothing for so long is gone."""
PAUSES_SECONDS = (1.0, 3.0, 10.0)
"""Before each further try. A try that brings bytes begins the row anew."""
LONGEST_PAUSE_SECONDS = 60.0
"""A registry that wants a longer pause than this is not waited for."""
PIECE_BYTES = 64 << 10


class CutShort(NotServed):
    """The connection ended before the blob did."""

    def __init__(self, digest: str, done: int, size: int) -> None:
        why = f"the bytes of {digest} do not come: {done} of {size}"
        super().__init__(State.BROKEN, why, digest)


def patiently(attempt: Callable[[], T]) -> T:
    """What the attempt returns. It is made again where the registry does not answer, or has too
    many requests.
    """
    pauses = Pauses()
    while True:
        try:
            return attempt()
        except NotServed as not_served:
            pauses.take(not_served)


class Pauses:
    """The pauses between tries."""

    def __init__(self) -> None:
        self._left = list(PAUSES_SECONDS)

    def begin_anew(self) -> None:
        self._left = list(PAUSES_SECONDS)

    def take(self, not_served: NotServed) -> None:
        """Waits; raises what came where another try would not help, or is one too many."""
        is_away = not_served.state is State.UNREACHABLE and not isinstance(not_served, Unusable)
        may_pass = is_away or isinstance(not_served, CutShort)
        wait = not_served.wait_seconds or 0.0
        if not may_pass or not self._left or wait > LONGEST_PAUSE_SECONDS:
            raise not_served
        time.sleep(max(self._left.pop(0), wait))


def pieces_of(session: Session, digest: str, size: int) -> Iterator[bytes]:
    """The bytes of a blob. Raises NotServed; at the end also where they are not those of the
    digest. A blob that is too long is left at the first byte too many.
    """
    sha256, done, pauses = hashlib.sha256(), 0, Pauses()
    while True:
        before = done
        try:
            with ExitStack() as opened:
                for piece in _open(session, digest, size, done, opened):
                    sha256.update(piece)
                    done += len(piece)
                    yield piece
            break
        except NotServed as not_served:
            if done > before:
                pauses.begin_anew()
            pauses.take(not_served)
    if f"sha256:{sha256.hexdigest()}" != digest:
        raise NotServed(State.BROKEN, f"what is served as {digest} is something else", digest)


def _open(
    session: Session, digest: str, size: int, done: int, opened: ExitStack
) -> Iterator[bytes]:
    """What is left of a blob of which so many bytes are here."""
    path, skipped = f"blobs/{digest}", 0
    part = {"Range": f"bytes={done}-{size - 1}"} if done else {}
    answer = session.ask("GET", path, headers=part, keep=opened)
    if part and answer.status in NO_PARTS:
        answer = session.ask("GET", path, keep=opened)
    if answer.status == 500:
        raise CutShort(digest, done, size)  # it may be able to the next time
    if answer.stream is None:
        raise part_lost(answer.status, digest, digest)
    length = whole_length(answer)
    if length not in (None, size):
        raise NotServed(State.BROKEN, f"{digest} has {length} bytes instead of {size}", digest)
    if answer.status == 200:
        skipped = done
    elif not re.match(f"bytes {done}-", answer.headers["Content-Range"] or ""):
        raise NotServed(State.BROKEN, f"another part of {digest} is served than was asked for")
    return _read(answer.stream, digest, size, done=done, skipped=skipped)


def _read(
    stream: http.client.HTTPResponse, digest: str, size: int, *, done: int, skipped: int
) -> Iterator[bytes]:
    while True:
        try:
            piece = stream.read(min(PIECE_BYTES, skipped or size - done + 1))
        except (OSError, http.client.HTTPException) as error:
            if done == size:
                return  # It has all come; only the end of the answer has not.
            if isinstance(error, socket.timeout) and not error.errno:
                why = f"nothing came of {digest} for {SILENCE_SECONDS:g} s"
                raise NotServed(State.UNREACHABLE, why) from error
            raise CutShort(digest, done, size) from error
        if skipped:
            skipped -= len(piece)
        elif done + len(piece) > size:
            raise NotServed(State.BROKEN, f"{digest} has more than {size} bytes", digest)
        elif piece:
            done += len(piece)
            yield piece
        if not piece:
            if done < size:
                raise CutShort(digest, done, size)
            return
