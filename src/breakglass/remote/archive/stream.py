"""Bytes from a pipe or a file: hashed, written and inflated."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

CHUNK_BYTES = 1 << 20
"""Also the most that a pipe may hold for a user other than root."""
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


def inflate(chunks: Iterable[Any]) -> Iterator[bytes]:
    """Gzip of one or several members (pigz), to its very end; raises zlib.error for anything else,
    also behind it.
    """
    member = zlib.decompressobj(31)
    begun = False
    for chunk in chunks:
        begun = True
        while chunk:
            if member.eof:
                member = zlib.decompressobj(31)
            data = member.decompress(chunk, CHUNK_BYTES)
            chunk = member.unused_data if member.eof else member.unconsumed_tail
            if data:
                yield data
    if begun and not member.eof:
        raise zlib.error("it is cut short")
