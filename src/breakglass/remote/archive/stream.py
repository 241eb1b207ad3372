"""Bytes from a pipe or a file: hashed, written and inflated."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from breakglass.remote.faults import INTEGRITY, Fault
from breakglass.remote.limits import INFLATED_BYTES, INFLATED_RATIO

CHUNK_BYTES = 1 << 20
"""Also the most that a pipe may hold for a user other than root."""
PIECE_BYTES = 16 << 10
SET_PIPE_SIZE = 1031
"""Linux's F_SETPIPE_SZ, which Python has a name for from 3.10 on."""


def chunks_of(descriptor: int, quiet_seconds: float | None = None) -> Iterator[bytes]:
    """Read chunks until the end of the stream, or until nothing came for `quiet_seconds`."""
    widen_pipe(descriptor)
    while quiet_seconds is None or select.select([descriptor], [], [], quiet_seconds)[0]:
        chunk = os.read(descriptor, CHUNK_BYTES)
        if not chunk:
            return
        yield chunk


def widen_pipe(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # no pipe, or no room for a larger one
        # While we hash, the writer of a pipe of 64 KiB waits: a fetch of 195 MB took 1.4 s,
        # and takes 0.9 s like this.
        fcntl.fcntl(descriptor, SET_PIPE_SIZE, CHUNK_BYTES)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class Inflated:
    """How much was read of an archive, and how much came out of it: a gzip bomb is found before it
    has cost much time.
    """

    def __init__(self) -> None:
        self._read_bytes = self._inflated_bytes = 0

    def read(self, chunks: Iterable[Any]) -> Iterator[Any]:
        """The same chunks, counted."""
        for chunk in chunks:
            self._read_bytes += len(chunk)
            yield chunk

    def add(self, size: int) -> None:
        """Raises Fault where it is too much."""
        self._inflated_bytes += size
        most = INFLATED_RATIO * self._read_bytes + INFLATED_BYTES
        if self._inflated_bytes > most:
            raise Fault(
                INTEGRITY,
                f"the archive inflates to more than {most} bytes, {INFLATED_RATIO} times its own "
                f"size: no image does",
            )


def inflate(chunks: Iterable[Any], inflated: Inflated) -> Iterator[bytes]:
    """Gzip of one or several members (pigz), to its very end; raises zlib.error for anything else,
    also behind it. What comes out is counted.
    """
    member = zlib.decompressobj(31)
    begun = False
    for piece in _pieces(chunks):
        begun = True
        while piece:
            if member.eof:
                member = zlib.decompressobj(31)
            data = member.decompress(piece, CHUNK_BYTES)
            piece = member.unused_data if member.eof else member.unconsumed_tail
            if data:
                inflated.add(len(data))
                yield data
    if begun and not member.eof:
        raise zlib.error("it is cut short")


def _pieces(chunks: Iterable[Any]) -> Iterator[Any]:
    """A member's end copies the rest of its piece: many empty members in a large one cost hours."""
    for chunk in chunks:
        for at in range(0, len(chunk), PIECE_BYTES):
            yield chunk[at : at + PIECE_BYTES]
