"""Builds docker-save archives, whole and damaged, as real bytes: the layouts of docker 20.10 and of
docker 25 and later.

An archive is a list of members; a damage is done to the members or to the bytes before they are
compressed, so that `gzip -t` has nothing to say.
"""

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

REFERENCE = "registry.viktorbarzin.me:5050/infra-ci:0a1b2c3d"
USTAR: Literal[0] = 0
GNU: Literal[1] = 1
PAX: Literal[2] = 2
"""The formats of a tar archive, as tarfile numbers them."""

IMAGE_NAME = "io.containerd.image.name"


def hexadecimal(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def dumps(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def layer(*, seed: int, kilobytes: int = 64) -> bytes:
    """A layer: an uncompressed tar archive of one file, half noise and half text."""
    noise = random.Random(seed)
    content = b"".join(
        noise.randbytes(512) + b"the quick brown fox ".ljust(512, b".") for _ in range(kilobytes)
    )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo(f"usr/bin/program-{seed}")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@dataclass(frozen=True)
class Image:
    """What is saved: layers as uncompressed tar archives, and a configuration over them."""

    references: tuple[str, ...] = (REFERENCE,)
    layers: tuple[bytes, ...] = field(
        default_factory=lambda: (layer(seed=1), layer(seed=2), layer(seed=3, kilobytes=4))
    )
    architecture: str = "amd64"
    command: str = "/bin/sh"

    @property
    def configuration(self) -> bytes:
        rootfs = {
            "type": "layers",
            "diff_ids": [f"sha256:{hexadecimal(each)}" for each in self.layers],
        }
        return dumps(
            {
                "architecture": self.architecture,
                "os": "linux",
                "config": {"Cmd": [self.command]},
                "rootfs": rootfs,
            }
        )

    @property
    def image_id(self) -> str:
        return f"sha256:{hexadecimal(self.configuration)}"


@dataclass(frozen=True)
class Entry:
    """A member of an archive: a file, or a symbolic link where `link` is given."""

    name: str
    content: bytes = b""
    link: str = ""


Entries = list[Entry]


def classic(*images: Image) -> Entries:
    """The layout of docker 20.10: `<id>/layer.tar`, a link where the same layer was written before,
    `<image ID>.json`, manifest.json last.
    """
    entries: Entries = []
    manifest: list[dict[str, Any]] = []
    written: dict[str, str] = {}
    for image in images or (Image(),):
        paths: list[str] = []
        chain = ""
        for each in image.layers:
            chain = hexadecimal(chain.encode() + each + image.configuration)
            path = f"{chain}/layer.tar"
            paths.append(path)
            entries += [
                Entry(f"{chain}/VERSION", b"1.0"),
                Entry(f"{chain}/json", dumps({"id": chain})),
            ]
            known = written.setdefault(hexadecimal(each), path)
            entries.append(Entry(path, each) if known == path else Entry(path, link=f"../{known}"))
        entries.append(Entry(f"{image.image_id[7:]}.json", image.configuration))
        manifest.append(
            {
                "Config": f"{image.image_id[7:]}.json",
                "RepoTags": [familiar(name) for name in image.references],
                "Layers": paths,
            }
        )
    return [*entries, Entry("manifest.json", dumps(manifest)), Entry("repositories", dumps({}))]


def oci(
    *images: Image,
    pack: Callable[[bytes], bytes] = bytes,
    layer_type: str = "application/vnd.oci.image.layer.v1.tar",
    with_indexes: bool = False,
) -> Entries:
    """The layout of docker 25 and later: blobs by their digest, index.json and manifest.json.
    `pack` compresses layers, as containerd's store keeps them; `layer_type` says so.
    """
    blobs: dict[str, bytes] = {}
    index: list[dict[str, Any]] = []
    manifest: list[dict[str, Any]] = []

    def blob(content: bytes, media_type: str) -> dict[str, Any]:
        blobs[hexadecimal(content)] = content
        return {
            "mediaType": media_type,
            "digest": f"sha256:{hexadecimal(content)}",
            "size": len(content),
        }

    for image in images or (Image(),):
        configuration = blob(image.configuration, "application/vnd.oci.image.config.v1+json")
        layers = [blob(pack(each), layer_type) for each in image.layers]
        top = blob(
            dumps({"schemaVersion": 2, "config": configuration, "layers": layers}),
            "application/vnd.oci.image.manifest.v1+json",
        )
        if with_indexes:
            absent = {
                "mediaType": top["mediaType"],
                "digest": f"sha256:{hexadecimal(b'another platform')}",
                "size": 9,
            }
            top = blob(
                dumps({"schemaVersion": 2, "manifests": [absent, top]}),
                "application/vnd.oci.image.index.v1+json",
            )
        index += [{**top, "annotations": {IMAGE_NAME: full(name)}} for name in image.references]
        paths = [f"blobs/sha256/{each['digest'][7:]}" for each in layers]
        manifest.append(
            {
                "Config": f"blobs/sha256/{configuration['digest'][7:]}",
                "RepoTags": [familiar(name) for name in image.references],
                "Layers": paths,
            }
        )
    return [
        *(Entry(f"blobs/sha256/{name}", content) for name, content in sorted(blobs.items())),
        Entry("index.json", dumps({"schemaVersion": 2, "manifests": index})),
        Entry("manifest.json", dumps(manifest)),
        Entry("oci-layout", dumps({"imageLayoutVersion": "1.0.0"})),
    ]


def top_digest(entries: Entries) -> str:
    """What docker with containerd's store calls the ID of the image: the digest that index.json
    names.
    """
    index = json.loads(next(entry.content for entry in entries if entry.name == "index.json"))
    return str(index["manifests"][0]["digest"])


def familiar(name: str) -> str:
    """As docker writes a reference into RepoTags."""
    return name.removeprefix("docker.io/").removeprefix("library/")


def full(name: str) -> str:
    """As docker writes a reference into index.json."""
    return (
        name
        if "." in name.partition("/")[0] or ":" in name.partition("/")[0]
        else f"docker.io/{name if '/' in name else 'library/' + name}"
    )


def tar(entries: Entries, *, format: Literal[0, 1, 2] = GNU) -> bytes:
    """The archive as docker writes it: two zero blocks at its end, and no more."""
    buffer = io.BytesIO()
    for entry in entries:
        member = tarfile.TarInfo(entry.name)
        member.size = len(entry.content)
        if entry.link:
            member.type, member.linkname = tarfile.SYMTYPE, entry.link
        buffer.write(
            member.tobuf(format, "utf-8", "surrogateescape")
            + entry.content
            + bytes(-len(entry.content) % 512)
        )
    return buffer.getvalue() + bytes(1024)


def tarball(entries: Entries | None = None) -> bytes:
    """What is on disk when nothing went wrong."""
    return gzip.compress(tar(classic() if entries is None else entries), 1, mtime=0)


def pigz(data: bytes, *, member_bytes: int = 100_000) -> bytes:
    """Gzip of many members, one after the other."""
    return b"".join(
        gzip.compress(data[start : start + member_bytes], 1, mtime=0)
        for start in range(0, len(data), member_bytes)
    )


# Damages


def is_layer(entry: Entry) -> bool:
    return len(entry.content) > 2048


def flipped_bit(entries: Entries) -> Entries:
    """One bit of the first layer, in the middle of a file in it."""
    position = next(number for number, entry in enumerate(entries) if is_layer(entry))
    content = bytearray(entries[position].content)
    content[len(content) // 2] ^= 1
    return [
        replace(entry, content=bytes(content)) if number == position else entry
        for number, entry in enumerate(entries)
    ]


def edited_configuration(entries: Entries) -> Entries:
    return [
        replace(entry, content=entry.content.replace(b"/bin/sh", b"/bin/no")) for entry in entries
    ]


def renamed_configuration(entries: Entries) -> Entries:
    """The same, by somebody who knows what the name has to be: only docker and the registry can
    tell.
    """
    edited = Image(command="/bin/no")
    old = Image().image_id[7:]
    return [
        replace(
            entry,
            name=entry.name.replace(old, edited.image_id[7:]),
            content=entry.content.replace(b"/bin/sh", b"/bin/no").replace(
                old.encode(), edited.image_id[7:].encode()
            ),
        )
        for entry in entries
    ]


def without_layer(entries: Entries) -> Entries:
    position = next(number for number, entry in enumerate(entries) if is_layer(entry))
    return entries[:position] + entries[position + 1 :]


def without_member(name: str) -> Callable[[Entries], Entries]:
    return lambda entries: [entry for entry in entries if entry.name != name]


def with_manifest(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Entries], Entries]:
    """`change` edits the parsed manifest.json in place."""

    def edit(entries: Entries) -> Entries:
        manifest = json.loads(
            next(entry.content for entry in entries if entry.name == "manifest.json")
        )
        change(manifest)
        return [
            replace(entry, content=dumps(manifest)) if entry.name == "manifest.json" else entry
            for entry in entries
        ]

    return edit


def with_tags(*names: str) -> Callable[[Entries], Entries]:
    return with_manifest(lambda manifest: manifest[0].update(RepoTags=list(names) or None))


def cut_at_a_header(data: bytes) -> bytes:
    """Whole members, then nothing: tarfile and GNU tar read it without a word."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return data[: archive.getmembers()[-3].offset]


def cut_mid_member(data: bytes) -> bytes:
    return data[: len(data) // 2]


def cut_before_the_second_zero_block(data: bytes) -> bytes:
    return data[:-512]


def docker_error(data: bytes) -> bytes:
    """A newer dockerd that fails answers 200 first, and then writes the reason where the archive
    should go on.
    """
    return (
        cut_at_a_header(data)
        + b'{"message":"write /var/lib/docker/tmp: no space left on device"}\n'
    )


def docker_error_behind_the_end(data: bytes) -> bytes:
    return data + b'{"message":"layer does not exist"}\n'
