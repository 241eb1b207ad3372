"""containerd's content store, and what a manifest in it leads to."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

from breakglass.remote.faults import FAILED, INTEGRITY, Fault
from breakglass.remote.limits import DOCUMENT_BYTES
from breakglass.remote.responder.arguments import DIGEST, MEDIA_TYPE
from breakglass.remote.responder.loopback import PIECE_BYTES

DOCUMENTS = 1000
"""How many manifests and indexes one name may lead to. Real ones lead to ten or so."""
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
BYTES = "application/octet-stream"


class Blob(NamedTuple):
    """A file of the content store that may be served."""

    digest: str
    size: int
    media_type: str
    is_manifest: bool


def open_store(content: str) -> int:
    try:
        return os.open(
            posixpath.join(content, "blobs", "sha256"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        )
    except OSError as error:
        raise Fault(
            FAILED,
            f"{content} is not containerd's content store: {error.filename}: {error.strerror}",
        ) from error


def closure(store: int, media_type: str, digest: str) -> dict[str, Blob]:
    """All that a manifest or an index leads to. Of an index only the children that are there: an
    archive holds one platform.
    """
    blobs: dict[str, Blob] = {}
    waiting: list[tuple[str, str, int | None]] = [(media_type, digest, None)]
    manifests = 0
    while waiting:
        media_type, digest, size = waiting.pop()
        if digest in blobs:
            continue
        data = document_of(store, digest)
        if data is None and size is None:
            raise Fault(
                INTEGRITY, f"the content store lacks {digest}, which containerd lists as an image"
            )
        if data is None:
            continue
        manifests += 1
        if size not in (None, len(data)) or manifests > DOCUMENTS:
            raise Fault(
                INTEGRITY,
                f"{digest} in the content store has {len(data)} bytes, its index says {size}"
                if size != len(data)
                else f"{digest} is one of too many manifests",
            )
        blobs[digest] = Blob(digest, len(data), media_type, is_manifest=True)
        document = json_of(data, digest)
        if media_type in INDEXES:
            waiting += [
                child
                for child in descriptors_of(document, "manifests", digest)
                if child[1] not in blobs
            ]
        else:
            for _, blob, blob_size in descriptors_of(
                {"config": [document["config"]] if "config" in document else []}, "config", digest
            ) + descriptors_of(document, "layers", digest):
                blobs.setdefault(blob, Blob(blob, blob_size, BYTES, is_manifest=False))
    return blobs


def descriptors_of(document: dict[str, Any], key: str, where: str) -> list[tuple[str, str, int]]:
    values = document.get(key, [])
    descriptors = []
    for each in values if isinstance(values, list) else [None]:
        media_type, digest, size = (
            (each.get(name) for name in ("mediaType", "digest", "size"))
            if isinstance(each, dict)
            else (None, None, None)
        )
        if type(size) is not int or not isinstance(media_type, str) or not isinstance(digest, str):
            raise Fault(INTEGRITY, f"{where} in the content store has no usable {key}")
        # Another hash or an odd media type is legal, and not to be had from us.
        if re.fullmatch(DIGEST, digest) and re.fullmatch(MEDIA_TYPE, media_type):
            descriptors.append((media_type, digest, size))
    return descriptors


def json_of(data: bytes, digest: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Fault(INTEGRITY, f"{digest} in the content store is no manifest")
    return document


def document_of(store: int, digest: str) -> bytes | None:
    """A manifest or an index, verified; nothing where it is not there."""
    descriptor = open_blob(store, digest)
    if descriptor is None:
        return None
    try:
        size = os.fstat(descriptor).st_size
        if size > DOCUMENT_BYTES:
            raise Fault(
                INTEGRITY,
                f"{digest} in the content store is too large for a manifest: {size} bytes",
            )
        data = b"".join(pieces(descriptor, size))
    finally:
        os.close(descriptor)
    if hashlib.sha256(data).hexdigest() != digest.rpartition(":")[2]:
        raise Fault(
            INTEGRITY, f"the content store is damaged: the file of {digest} has another sha256"
        )
    return data


def open_blob(store: int, digest: str) -> int | None:
    """A descriptor of a regular file, found through the directory's descriptor: it outlives our
    right to come there by name.
    """
    try:
        descriptor = os.open(
            digest.rpartition(":")[2],
            os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
            dir_fd=store,
        )
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def pieces(descriptor: int, size: int) -> Iterator[bytes]:
    done = 0
    while done < size:
        piece = os.pread(descriptor, min(PIECE_BYTES, size - done), done)
        if not piece:
            return
        done += len(piece)
        yield piece
