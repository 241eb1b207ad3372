"""The tar format, read strictly from the front."""

from __future__ import annotations

import hashlib
import posixpath
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from breakglass.remote.archive.stream import Inflated, inflate
from breakglass.remote.faults import INTEGRITY, Fault
from breakglass.remote.limits import (
    DOCUMENT_BYTES,
    DOCUMENTS_BYTES,
    EXTRA_BYTES,
    HEADERS,
    NAME_BYTES,
    PADDING_BYTES,
)

GZIP, ZSTD = "gzip", "zstd"
COMPRESSIONS = {b"\x1f\x8b": GZIP, b"\x28\xb5\x2f\xfd": ZSTD}
"""The first bytes of a file -> how it is compressed."""


class Member(NamedTuple):
    """The size of a file in the archive, and its hashes: as it is, and of what is in it if that is
    gzip and was inflated.
    """

    size_bytes: int
    sha256: str
    inner_sha256: str
    compression: str
    """gzip, zstd or nothing."""

    @property
    def digest(self) -> str:
        return f"sha256:{self.sha256}"


class Entry(NamedTuple):
    """A header of the archive. Whoever takes an entry of a file reads `size_bytes` behind it."""

    name: str
    size_bytes: int
    link: str | None
    """Where a symbolic link leads; None: it is a file."""


class Content(NamedTuple):
    members: dict[str, Member]
    links: dict[str, str]
    documents: dict[str, bytes]


class Tar:
    """The bytes of an uncompressed archive, taken from the front."""

    def __init__(self, compressed: Iterable[bytes], empty: Fault) -> None:
        self.inflated = Inflated()
        self.source = self.unpacked(compressed)
        self.buffer = memoryview(b"")
        self.tail = b""
        if not self.more():
            raise empty

    def unpacked(self, compressed: Iterable[bytes]) -> Iterator[bytes]:
        try:
            yield from inflate(self.inflated.read(compressed), self.inflated)
        except zlib.error as error:
            raise Fault(INTEGRITY, f"the compressed data is damaged: {error}") from error

    def more(self) -> bool:
        chunk = next(self.source, None)
        if chunk is None:
            return False
        self.tail = (self.tail + chunk[-4096:])[-4096:]
        self.buffer = memoryview(b"".join((self.buffer, chunk)) if self.buffer else chunk)
        return True

    def peek(self, size: int) -> bytes:
        while len(self.buffer) < size and self.more():
            pass
        return bytes(self.buffer[:size])

    def take(self, size: int, what: str) -> bytes:
        taken = self.peek(size)
        if len(taken) < size:
            raise self.broken(f"it ends in {what}")
        self.buffer = self.buffer[size:]
        return taken

    def parts(self, size: int, sha256: Any, what: str) -> Iterator[memoryview]:
        while size:
            if not self.buffer and not self.more():
                raise self.broken(f"it ends in {what}")
            part, self.buffer = self.buffer[:size], self.buffer[size:]
            size -= len(part)
            sha256.update(part)
            yield part

    def broken(self, why: str) -> Fault:
        """docker that fails half-way may write its reason, as JSON, where the archive should go
        on.
        """
        for _ in range(16):
            self.buffer = memoryview(b"")
            if not self.more():
                break
        said = re.search(
            rb'\{"(?:message|error|errorDetail)":.{1,2000}\}\s*\Z', self.tail, re.DOTALL
        )
        return Fault(
            INTEGRITY,
            f"the archive is not whole: {why}"
            + (f"; docker wrote into it: {said[0].decode('utf-8', 'replace')}" if said else ""),
        )


def read_archive(tar: Tar, content: Content, *, inflates: bool = True) -> None:
    """Take in what the verdict needs. `inflates`: the files that are gzip, to hash what is in
    them.
    """
    for entry in entries(tar):
        if entry.link is None:
            read_member(tar, content, entry.name, entry.size_bytes, inflates=inflates)
        elif entry.name in content.members or (
            content.links.setdefault(entry.name, entry.link) != entry.link
        ):
            raise tar.broken(f"{entry.name} is in it twice, with different content")


def entries(tar: Tar) -> Iterator[Entry]:
    """The files and links, strictly from the first header to the two zero blocks and the zeros
    behind them (POSIX ustar and pax, GNU long names).
    """
    extra: dict[str, str] = {}
    headers = 0
    while True:
        block = tar.take(512, "the place of a header")
        if block.count(0) == 512:
            break
        headers += 1
        if headers > HEADERS:
            raise tar.broken(f"it has more than {HEADERS} headers")
        try:
            name, kind, size, link = parse_header(block)
        except ValueError:
            raise tar.broken("there is no header where one should be") from None
        if kind in b"LKx":
            extra.update(long_names(tar, kind, size))
            if sum(map(len, extra)) + sum(map(len, extra.values())) > EXTRA_BYTES:
                raise tar.broken("a file in it has too many extended headers")
            continue
        name, link = extra.get("path", name), extra.get("linkpath", link)
        size = int(extra.get("size", size))
        extra = {}
        plain = posixpath.normpath(name)
        is_outside = name.startswith("/") or plain.startswith("..")
        if is_outside or kind not in b"0\x0025":
            raise tar.broken(f"{name!r} of type {kind!r} does not belong into it")
        if kind == b"2":
            target = posixpath.normpath(posixpath.join(posixpath.dirname(plain), link))
            yield Entry(plain, 0, target)
        elif kind in b"0\0" and not name.endswith("/"):
            yield Entry(plain, size, None)
    if extra or tar.take(512, "its end").count(0) != 512:
        raise tar.broken("its end is damaged")
    check_end(tar)


def check_end(tar: Tar) -> None:
    """Nothing but zeros follows, and not many."""
    left = PADDING_BYTES
    while tar.buffer or tar.more():
        left -= len(tar.buffer)
        if left < 0:
            raise tar.broken(f"more than {PADDING_BYTES} bytes follow its end")
        if tar.buffer.tobytes().strip(b"\0"):
            raise tar.broken("something follows its end")
        tar.buffer = memoryview(b"")


def parse_header(block: bytes) -> tuple[str, bytes, int, str]:
    """Raises ValueError for a block that is no header."""
    if octal(block[148:156]) != sum(block) - sum(block[148:156]) + 8 * 32:
        raise ValueError("checksum")
    fields = [
        block[start:end].split(b"\0", 1)[0].decode("utf-8", "replace")
        for start, end in ((0, 100), (157, 257), (345, 500))
    ]
    name = f"{fields[2]}/{fields[0]}" if block[257:263] == b"ustar\0" and fields[2] else fields[0]
    size = int.from_bytes(block[125:136], "big") if block[124] == 0x80 else octal(block[124:136])
    return name, block[156:157], size, fields[1]


def octal(field: bytes) -> int:
    """A number in a header. Raises ValueError for what other readers may read as another number."""
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise ValueError("number")
    return int(digits or b"0", 8)


def long_names(tar: Tar, kind: bytes, size: int) -> dict[str, str]:
    """What the header after this one is to be read with."""
    if size > NAME_BYTES:
        raise tar.broken("a name in it is too long")
    data = tar.take(size + -size % 512, "a long name")[:size]
    if kind != b"x":
        return {
            "path" if kind == b"L" else "linkpath": data.rstrip(b"\0").decode("utf-8", "replace")
        }
    names = {}
    while data:
        length = re.match(rb"([1-9][0-9]{0,5}) ", data)
        entry = data[: int(length[1])] if length else b""
        key, equals, value = (
            entry[length.end() if length else 0 : -1].decode("utf-8", "replace").partition("=")
        )
        if (
            not entry.endswith(b"\n")
            or not equals
            or key.startswith("GNU.sparse")
            or (key == "size" and not re.fullmatch("[0-9]{1,18}", value))
        ):
            raise tar.broken("an extended header in it is damaged")
        names[key] = value
        data = data[len(entry) :]
    return names


def read_member(tar: Tar, content: Content, name: str, size: int, *, inflates: bool) -> None:
    """Hashes a file as it streams by; keeps it only where it is JSON that the verdict needs."""
    whole, inner = hashlib.sha256(), hashlib.sha256()
    magic = tar.peek(4) if size >= 4 else b""
    parts = tar.parts(size, whole, name)
    is_index = name in ("manifest.json", "index.json", "oci-layout")
    if is_index and size > DOCUMENT_BYTES:
        raise tar.broken(f"{name} has {size} bytes, which is no {name}")
    if is_index or (magic[:1] == b"{" and size <= DOCUMENT_BYTES):
        data = b"".join(parts)
        if is_index or b'"diff_ids"' in data or b'"schemaVersion"' in data:
            if (
                name not in content.documents
                and sum(map(len, content.documents.values())) + size > DOCUMENTS_BYTES
            ):
                raise tar.broken("there is more JSON in it than any image has")
            content.documents[name] = data
    compression = COMPRESSIONS.get(magic, COMPRESSIONS.get(magic[:2], ""))
    if compression == GZIP and inflates:
        try:
            for data in inflate(parts, tar.inflated):
                inner.update(data)
        except zlib.error:
            compression = ""  # then it is judged by the bytes as they are
    for _ in parts:
        pass
    tar.take(-size % 512, name)
    was_inflated = compression == GZIP and inflates
    member = Member(size, whole.hexdigest(), inner.hexdigest() if was_inflated else "", compression)
    if name in content.links or content.members.setdefault(name, member) != member:
        raise tar.broken(f"{name} is in it twice, with different content")
    if re.fullmatch("blobs/sha256/[0-9a-f]{64}", name) and not name.endswith(member.sha256):
        raise Fault(INTEGRITY, f"{name} in the archive is damaged: its sha256 is {member.sha256}")
