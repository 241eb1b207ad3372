"""Makes archives with what readers of tar take differently: a good archive, and tricks played with
its headers. What a trick may cost is that the archive is refused; never that other bytes or names
are read.
"""

import gzip
import io
import json
import random
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tests import archives
from tests.archives import Entries, Image

NAMES = ("index.json", "oci-layout", "manifest.json")
"""The files of a canonical archive beside the blobs, in their order."""
EVIL = b'{"evil": true}'
SMALL = Image(layers=(archives.layer(seed=1, kilobytes=3), archives.layer(seed=2, kilobytes=2)))


@dataclass(frozen=True)
class Piece:
    """One header with its data, as they lie in the archive."""

    name: bytes
    data: bytes = b""
    kind: bytes = b"0"
    link: bytes = b""
    prefix: bytes = b""
    magic: bytes = b"ustar\x0000"
    size: bytes | None = None
    """The field as it is written; None: the size of the data."""

    def packed(self) -> bytes:
        size = b"%011o\0" % len(self.data) if self.size is None else self.size
        block = bytearray(512)
        fields = (
            (0, self.name[:100]),
            (100, b"0000644\0" + b"0000000\0" * 2),
            (124, size),
            (136, b"%011o\0" % 0),
            (148, b" " * 8),
            (156, self.kind),
            (157, self.link[:100]),
            (257, self.magic),
            (345, self.prefix[:155]),
        )
        for position, value in fields:
            block[position : position + len(value)] = value
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block) + self.data + bytes(-len(self.data) % 512)


Pieces = list[Piece]
Trick = Callable[[Pieces, random.Random], Pieces]


def pieces_of(entries: Entries) -> Pieces:
    return [
        Piece(
            entry.name.encode(),
            entry.content,
            kind=b"2" if entry.link else b"0",
            link=entry.link.encode(),
        )
        for entry in entries
    ]


def made(seed: int) -> bytes:
    """A tarball from a seed: gzip over tar."""
    random_ = random.Random(seed)
    layout = random_.choice((archives.classic, archives.oci, with_gzip_layers))
    pieces = pieces_of(layout(SMALL))
    for trick in random_.choices(TRICKS, k=random_.choice((1, 1, 1, 2, 3))):
        pieces = trick(pieces, random_)
    data = b"".join(piece.packed() for piece in pieces)
    data = random_.choice(ENDS)(data, random_)
    return random_.choice(PACKINGS)(data)


def with_gzip_layers(*images: Image) -> Entries:
    return archives.oci(
        *images,
        pack=packed,
        layer_type="application/vnd.oci.image.layer.v1.tar+gzip",
    )


# Tricks with one header


def pax(records: dict[bytes, bytes]) -> Piece:
    lines = b""
    for key, value in records.items():
        rest = b" " + key + b"=" + value + b"\n"
        length = len(rest) + 1
        while len(b"%d" % length) + len(rest) != length:
            length += 1
        lines += b"%d" % length + rest
    return Piece(b"PaxHeaders/0", lines, kind=b"x")


def before(pieces: Pieces, at: int, *more: Piece) -> Pieces:
    return [*pieces[:at], *more, *pieces[at:]]


def instead(pieces: Pieces, at: int, **changes: object) -> Pieces:
    return [*pieces[:at], replace(pieces[at], **changes), *pieces[at + 1 :]]  # type: ignore[arg-type]


def pax_size(pieces: Pieces, random_: random.Random) -> Pieces:
    at = random_.randrange(len(pieces))
    size = len(pieces[at].data) + random_.choice((-512, -1, 0, 0, 1, 512, 1 << 40))
    value = random_.choice((b"%d", b"%d", b"0%d", b"+%d", b" %d", b"%d.0")) % max(size, 0)
    return before(pieces, at, pax({b"size": value}))


def pax_path(pieces: Pieces, random_: random.Random) -> Pieces:
    """The header or the record before it has the name that counts."""
    at = random_.randrange(len(pieces))
    name = pieces[at].name
    evil = random_.choice((name, b"evil", b"index.json", b"manifest.json", b"", b"a\0b", b"../x"))
    shown, said = random_.choice(((evil, name), (name, evil)))
    return before(instead(pieces, at, name=shown), at, pax({b"path": said}))


def two_long_names(pieces: Pieces, random_: random.Random) -> Pieces:
    """GNU's and pax's at once, in either order."""
    at = random_.randrange(len(pieces))
    name = pieces[at].name
    names = [name, random_.choice((name, b"evil", b"index.json"))]
    random_.shuffle(names)
    more = [Piece(b"././@LongLink", names[0] + b"\0", kind=b"L"), pax({b"path": names[1]})]
    random_.shuffle(more)
    return before(pieces, at, *more)


def gnu_long_name(pieces: Pieces, random_: random.Random) -> Pieces:
    at = random_.randrange(len(pieces))
    name = pieces[at].name
    text = random_.choice((name, name + b"\0", name + b"\0evil", b"\0" + name, name + b"\n", b""))
    kind = random_.choice((b"L", b"L", b"K"))
    return before(pieces, at, Piece(b"././@LongLink", text, kind=kind))


def sparse(pieces: Pieces, random_: random.Random) -> Pieces:
    at = random_.randrange(len(pieces))
    name = pieces[at].name
    ways: tuple[dict[bytes, bytes], ...] = (
        {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": name},
        {b"GNU.sparse.map": b"0,1", b"GNU.sparse.size": b"9", b"GNU.sparse.numblocks": b"1"},
        {b"GNU.sparse.name": b"manifest.json"},
        {b"SCHILY.realsize": b"1"},
    )
    if random_.random() < 0.3:
        return instead(pieces, at, kind=b"S", magic=b"ustar  \0")
    return before(pieces, at, pax(random_.choice(ways)))


def link_to_a_file(pieces: Pieces, random_: random.Random) -> Pieces:
    at = random_.randrange(len(pieces))
    target = random_.choice((pieces[at].name, b"evil", b"/etc/passwd", b"../../x", b"."))
    name = random_.choice((b"link", pieces[at].name, b"manifest.json", b"index.json"))
    link = Piece(name, kind=random_.choice((b"1", b"2", b"2")), link=target)
    return before(pieces, random_.choice((0, at, len(pieces))), link)


def twice(pieces: Pieces, random_: random.Random) -> Pieces:
    at = random_.randrange(len(pieces))
    data = random_.choice((pieces[at].data, EVIL, pieces[at].data[:-1] + b"!"))
    name = random_.choice((pieces[at].name, b"./" + pieces[at].name, b"x/../" + pieces[at].name))
    return before(pieces, random_.choice((at, len(pieces))), Piece(name, data))


def strange_name(pieces: Pieces, random_: random.Random) -> Pieces:
    at = random_.randrange(len(pieces))
    name = pieces[at].name
    ways = (b"", b".", b"/" + name, b"../" + name, b"./" + name, name + b"/", b"\xff\xfe", b"a/..")
    if random_.random() < 0.5:
        return instead(pieces, at, name=random_.choice(ways))
    return before(pieces, at, Piece(random_.choice(ways), EVIL))


def split_name(pieces: Pieces, random_: random.Random) -> Pieces:
    """The front of the name in the field that only some formats have."""
    at = random_.randrange(len(pieces))
    front, slash, rest = pieces[at].name.rpartition(b"/")
    magic = random_.choice((b"ustar\x0000", b"ustar  \0", bytes(8), b"ustar\0  "))
    name = rest if slash else pieces[at].name
    return instead(pieces, at, name=name, prefix=front or b"evil", magic=magic)


def strange_size(pieces: Pieces, random_: random.Random) -> Pieces:
    at = random_.randrange(len(pieces))
    size = len(pieces[at].data)
    ways = (
        b"\x80" + size.to_bytes(11, "big"),
        b"\xff" * 12,
        b"\xff" + (-size - 1).to_bytes(11, "big", signed=True),
        b"\x80" + b"\xff" * 11,
        b"%12o" % size,
        b"%o " % size,
        b"0o%o\0" % size,
        b"-%010o\0" % size,
        b"+%010o\0" % size,
        b"%o\0%o" % (size, 7),
        b"%o_0\0" % size,
        b"",
        b"7" * 12,
    )
    return instead(pieces, at, size=random_.choice(ways))


def strange_kind(pieces: Pieces, random_: random.Random) -> Pieces:
    at = random_.randrange(len(pieces))
    kind = random_.choice((b"\0", b"1", b"3", b"5", b"6", b"7", b"A", b"D", b"g", b"V", b"M", b"x"))
    if random_.random() < 0.5:
        return instead(pieces, at, kind=kind)
    return before(pieces, at, Piece(b"other", random_.choice((b"", EVIL)), kind=kind))


def zeros_in_the_middle(pieces: Pieces, random_: random.Random) -> Pieces:
    at = random_.randrange(len(pieces))
    blank = Piece(b"", kind=b"", magic=b"", size=b"")
    return before(pieces, at, *[_Zeros(blank.name)] * random_.choice((1, 2, 3)))


class _Zeros(Piece):
    def packed(self) -> bytes:
        return bytes(512)


def json_with_two_keys(pieces: Pieces, random_: random.Random) -> Pieces:
    """Go does not regard case in keys, and takes the last of two."""
    documents = [at for at, piece in enumerate(pieces) if piece.data.startswith((b"{", b"[{"))]
    at = random_.choice(documents)
    data = pieces[at].data
    keys = (b'"config"', b'"layers"', b'"manifests"', b'"Config"', b'"Layers"', b'"RepoTags"')
    key = random_.choice(keys)
    other = random_.choice((key, key.upper(), key.replace(b"s", "\u017f".encode())))
    value = random_.choice((b'""', b"[]", b'["evil"]', b"{}"))
    opened = data.index(b"{") + 1
    if random_.random() < 0.5:
        return instead(pieces, at, data=data[:opened] + other + b":" + value + b"," + data[opened:])
    closed = data.rindex(b"}")
    return instead(pieces, at, data=data[:closed] + b"," + other + b":" + value + data[closed:])


def further_name(pieces: Pieces, random_: random.Random) -> Pieces:
    """manifest.json or index.json names the image once more."""
    shown = random_.choice((archives.REFERENCE.encode(), SMALL.image_id.encode()))
    return [
        replace(piece, data=piece.data.replace(shown, b"evil.example/" + shown[-8:]))
        if piece.name in (b"manifest.json", b"index.json") and random_.random() < 0.5
        else piece
        for piece in pieces
    ]


def nothing(pieces: Pieces, _: random.Random) -> Pieces:
    return pieces


TRICKS: tuple[Trick, ...] = (
    nothing,
    pax_size,
    pax_path,
    two_long_names,
    gnu_long_name,
    sparse,
    link_to_a_file,
    twice,
    strange_name,
    split_name,
    strange_size,
    strange_kind,
    zeros_in_the_middle,
    json_with_two_keys,
    further_name,
)


# Tricks with the end of the archive, and with gzip


def whole(data: bytes, _: random.Random) -> bytes:
    return data + bytes(1024)


def second_archive(data: bytes, random_: random.Random) -> bytes:
    evil = Piece(b"manifest.json", EVIL).packed()
    return data + bytes(random_.choice((512, 1024, 10240))) + evil + bytes(1024)


def half_an_end(data: bytes, _: random.Random) -> bytes:
    return data + bytes(512)


def long_tail(data: bytes, random_: random.Random) -> bytes:
    return data + bytes(random_.choice((10240, 1 << 20, 5 << 20)))


def cut(data: bytes, random_: random.Random) -> bytes:
    return data[: random_.randrange(len(data))]


ENDS = (whole, whole, whole, whole, second_archive, half_an_end, long_tail, cut)


def in_one(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def in_many(data: bytes) -> bytes:
    return archives.pigz(data, member_bytes=5000) + gzip.compress(b"", mtime=0)


def with_garbage(data: bytes) -> bytes:
    return in_one(data) + b"garbage"


PACKINGS = (in_one, in_one, in_one, in_many, with_garbage)


def read_strictly(data: bytes) -> dict[str, bytes]:
    """The files of an archive that has nothing but plain files, each once."""
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert member.isreg(), member
            assert member.name not in files, member
            assert content is not None
            assert (member.mode, member.mtime, member.uid, member.pax_headers) == (0o644, 0, 0, {})
            files[member.name] = content.read()
    return files


def blobs_of(image: Image, pack: Callable[[bytes], bytes] = bytes) -> dict[str, bytes]:
    """Configuration and layers, as the archive has to have them."""
    contents = [image.configuration, *map(pack, image.layers)]
    return {f"blobs/sha256/{archives.hexadecimal(content)}": content for content in contents}


def manifests_of(files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """By name, through index.json, as containerd finds them. Each is in the archive, whole."""
    manifests = {}
    for entry in json.loads(files["index.json"])["manifests"]:
        content = files[f"blobs/sha256/{entry['digest'][7:]}"]
        assert archives.hexadecimal(content) == entry["digest"][7:]
        assert len(content) == entry["size"]
        manifests[entry["annotations"][archives.IMAGE_NAME]] = json.loads(content)
    return manifests


def packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)
