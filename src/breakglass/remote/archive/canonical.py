"""The command `archive canonical`: a verified tarball, written anew for containerd and docker.

The headers, links and indexes of the tarball stay behind: readers may take them differently. What
is written is an OCI image layout in a tar: the blobs of the images, each a plain file that is named
by its sha256, then `index.json`, `oci-layout` and docker's `manifest.json` with the names that the
caller has given. The names come last: a reader of a stream that breaks off has no image.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

from breakglass.remote.archive.documents import blob, strict
from breakglass.remote.archive.images import Image
from breakglass.remote.archive.index import documents_of, is_manifest
from breakglass.remote.archive.layout import (
    STDOUT,
    Named,
    to_json,
    write_file,
    write_header,
    write_names,
    write_padding,
)
from breakglass.remote.archive.names import open_regular
from breakglass.remote.archive.references import canonical
from breakglass.remote.archive.stream import chunks_of, widen_pipe, write_all
from breakglass.remote.archive.tar import GZIP, Content, Member, Tar, entries, read_archive
from breakglass.remote.archive.transfer import reporting
from breakglass.remote.archive.verdict import judge
from breakglass.remote.distribution.manifests import DOCKER_MANIFEST, OCI_MANIFEST
from breakglass.remote.faults import INTEGRITY, Fault

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar"
CHANGED = "the tarball was changed while it was read"


def write_canonical(arguments: argparse.Namespace) -> None:
    """The tarball's images to standard output, under the names that were given and no others.

    Raises Fault where the tarball is not whole, or has other images or other names.
    """
    source = open_regular(arguments.file, os.O_RDONLY)
    size_bytes = os.fstat(source).st_size
    empty = Fault(INTEGRITY, f"{arguments.file} is empty: there is no archive in it")
    # The file is read twice: what belongs to an image is known only at its end.
    content = Content({}, {}, {})
    digests = dict(arguments.digest)
    chunks = reporting(chunks_of(source), shown=lambda done: done // 2)
    read_archive(Tar(chunks, empty), content, inflates=not digests)
    expected = {canonical(name): image_id for name, image_id in arguments.images}
    named = judge(content, list(expected), digests)
    for name, image in named.items():
        if image.image_id != expected[name]:
            raise Fault(
                INTEGRITY,
                f"{name} in the archive is {image.image_id}, expected {expected[name]}",
            )
    widen_pipe(STDOUT)
    written: set[str] = set()
    tops = {name: _write_documents(content, image, written) for name, image in named.items()}
    if digests:
        tops = {name: _write_indexes(content, image, written) for name, image in named.items()}
    os.lseek(source, 0, os.SEEK_SET)
    chunks = reporting(chunks_of(source), shown=lambda done: (size_bytes + done) // 2)
    _write_layers(content, named.values(), Tar(chunks, empty))
    write_names(
        [
            Named(name, tops[name], image.image_id, _digests(content, image))
            for name, image in named.items()
        ]
    )


def _write_documents(content: Content, image: Image, written: set[str]) -> dict[str, Any]:
    """Write configuration and manifest, unless they are; returns the manifest's descriptor."""
    configuration = content.documents[image.configuration]
    _write_once(blob(image.image_id), configuration, written)
    media_type, manifest = DOCKER_MANIFEST, _new_manifest(content, image, len(configuration))
    if image.manifest:
        document = strict(content, image.manifest, dict)
        media_type = document.get("mediaType", OCI_MANIFEST)
        if media_type not in (OCI_MANIFEST, DOCKER_MANIFEST) or "manifests" in document:
            raise Fault(INTEGRITY, f"{image.manifest} is no manifest of an image")
        if [layer["digest"] for layer in document["layers"]] != _digests(content, image):
            raise Fault(INTEGRITY, f"{image.manifest} and manifest.json differ about the layers")
        manifest = content.documents[image.manifest]
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
    _write_once(blob(digest), manifest, written)
    return {"mediaType": media_type, "digest": digest, "size": len(manifest)}


def _write_once(path: str, content: bytes, written: set[str]) -> None:
    if path not in written:
        written.add(path)
        write_file(path, content)


def _write_indexes(content: Content, image: Image, written: set[str]) -> dict[str, Any]:
    """Write the indexes that lead from what the image's name means to its manifest, which is
    written; returns the descriptor of what the name means.
    """
    for path, document in documents_of(content, image.digest):
        if not is_manifest(document):
            _write_once(path, content.documents[path], written)
    top = strict(content, blob(image.digest), dict)
    kind = OCI_MANIFEST if is_manifest(top) else OCI_INDEX
    size_bytes = len(content.documents[blob(image.digest)])
    media_type = top.get("mediaType", kind)
    return {"mediaType": media_type, "digest": image.digest, "size": size_bytes}


def _new_manifest(content: Content, image: Image, configuration_bytes: int) -> bytes:
    """The manifest that containerd makes for an archive without one."""
    configuration = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "digest": image.image_id,
        "size": configuration_bytes,
    }
    layers = [
        {
            "mediaType": LAYER + (".gzip" if layer.compression == GZIP else ""),
            "digest": layer.digest,
            "size": layer.size_bytes,
        }
        for layer in _layers(content, image)
    ]
    head = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST}
    return to_json({**head, "config": configuration, "layers": layers})


def _layers(content: Content, image: Image) -> list[Member]:
    return [content.members[content.links.get(path, path)] for path in image.layers]


def _digests(content: Content, image: Image) -> list[str]:
    return [layer.digest for layer in _layers(content, image)]


def _write_layers(content: Content, images: Iterable[Image], tar: Tar) -> None:
    """Write each layer once, in the order of the archive."""
    wanted = {layer.sha256 for image in images for layer in _layers(content, image)}
    for entry in entries(tar):
        if not wanted:
            return
        member = content.members.get(entry.name)
        hashed = hashlib.sha256()
        parts = tar.parts(entry.size_bytes, hashed, entry.name)
        if entry.link is None and member is not None and member.sha256 in wanted:
            wanted.remove(member.sha256)
            write_header(blob(member.digest), entry.size_bytes)
            for part in _proven(parts, hashed, member.sha256):
                write_all(STDOUT, part)
            write_padding(entry.size_bytes)
        for _ in parts:
            pass
        tar.take(-entry.size_bytes % 512, entry.name)
    if wanted:
        raise Fault(INTEGRITY, CHANGED)


def _proven(parts: Iterable[Any], hashed: Any, sha256: str) -> Iterator[Any]:
    """The same parts. The last one comes only when all of them have the right hash, so that the
    reader never gets the whole of a file that is wrong.
    """
    held: Any = b""
    for part in parts:
        yield held
        held = part
    if hashed.hexdigest() != sha256:
        raise Fault(INTEGRITY, CHANGED)
    yield held
