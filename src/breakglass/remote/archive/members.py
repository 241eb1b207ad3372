"""Files of a tar as gzip members: each a member of its own, so that it can be read by itself."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from breakglass.remote.archive.layout import END, header_of, padding_of
from breakglass.remote.archive.tar import COMPRESSIONS

HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""Of a gzip member (RFC 1952): no name and no time, so that the same content gives the same
bytes.
"""
BLOCK_BYTES = 65535
"""The most that a stored block of deflate can hold (RFC 1951, 3.2.4)."""
LEVEL = 6


def member_of(
    name: str, size_bytes: int, pieces: Iterable[bytes], *, stored: bool
) -> Iterator[bytes]:
    """A file of the archive, from its header to its padding. `stored`: it is compressed already."""
    return _gzip(_entry(name, size_bytes, pieces), stored=stored)


def end_member() -> Iterator[bytes]:
    """The end of the archive."""
    return _gzip([END], stored=False)


def is_compressed(beginning: bytes) -> bool:
    """Whether content that begins like this is gzip or zstd."""
    return beginning.startswith(tuple(COMPRESSIONS))


def _entry(name: str, size_bytes: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    yield header_of(name, size_bytes)
    yield from pieces
    yield padding_of(size_bytes)


def _gzip(pieces: Iterable[bytes], *, stored: bool) -> Iterator[bytes]:
    yield HEAD
    crc, size = 0, 0

    def counted() -> Iterator[bytes]:
        nonlocal crc, size
        for piece in pieces:
            crc, size = zlib.crc32(piece, crc), size + len(piece)
            yield piece

    yield from _stored(counted()) if stored else _deflated(counted())
    yield struct.pack("<II", crc, size & 0xFFFFFFFF)


def _deflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    for piece in pieces:
        data = compressor.compress(piece)
        if data:
            yield data
    yield compressor.flush()


def _stored(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks of one size: zlib's own depend on how the pieces are cut, and on its version."""
    waiting = b""
    for piece in pieces:
        waiting += piece
        while len(waiting) > BLOCK_BYTES:
            yield _block(waiting[:BLOCK_BYTES], is_last=False)
            waiting = waiting[BLOCK_BYTES:]
    yield _block(waiting, is_last=True)


def _block(data: bytes, *, is_last: bool) -> bytes:
    return struct.pack("<BHH", is_last, len(data), len(data) ^ 0xFFFF) + data
