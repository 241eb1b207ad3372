"""What may be asked for, and the user that answers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from typing import NamedTuple

from breakglass.remote.responder.arguments import Answer
from breakglass.remote.responder.processes import NOBODY
from breakglass.remote.responder.store import Blob, open_blob, pieces


class Response(NamedTuple):
    status: int
    media_type: str
    size: int
    body: bytes = b""
    descriptor: int | None = None
    digest: str = ""


class Shelf:
    """What may be asked for, and what is answered. Requests are looked up in it; no path is ever
    made of one.
    """

    def __init__(self, store: int, closures: dict[Answer, dict[str, Blob]]) -> None:
        self.store = store
        self.tags = {
            (each.registry, each.repository, each.tag): blobs[each.digest]
            for each, blobs in closures.items()
        }
        self.blobs: dict[tuple[str, str], dict[str, Blob]] = {}
        for each, blobs in closures.items():
            self.blobs.setdefault((each.registry, each.repository), {}).update(blobs)

    def find(self, registry: str | None, repository: str, kind: str, reference: str) -> Response:
        places = [
            place for place in self.blobs if place[1] == repository and registry in (None, place[0])
        ]
        if not places:
            return failure(404, "NAME_UNKNOWN")
        unknown = failure(404, "MANIFEST_UNKNOWN" if kind == "manifests" else "BLOB_UNKNOWN")
        if kind == "manifests" and ":" not in reference:
            found = {
                self.tags[(*place, reference)]
                for place in places
                if (*place, reference) in self.tags
            }
        else:
            found = {
                self.blobs[place][reference] for place in places if reference in self.blobs[place]
            }
        found = {blob for blob in found if blob.is_manifest == (kind == "manifests")}
        if len({blob.digest for blob in found}) != 1:
            return unknown
        blob = min(found)
        descriptor = open_blob(self.store, blob.digest)
        if descriptor is None:
            return unknown
        if not is_whole(descriptor, blob):
            os.close(descriptor)
            return unknown
        return Response(200, blob.media_type, blob.size, descriptor=descriptor, digest=blob.digest)


def is_whole(descriptor: int, blob: Blob) -> bool:
    """By size, and a manifest by its hash: that a name leads to it is our word, and nobody else
    compares it.
    """
    if os.fstat(descriptor).st_size != blob.size:
        return False
    if not blob.is_manifest:
        return True
    sha256 = hashlib.sha256()
    for piece in pieces(descriptor, blob.size):
        sha256.update(piece)
    return f"sha256:{sha256.hexdigest()}" == blob.digest


def become_nobody(shelf: Shelf) -> None:
    """Gives up root, where all that is to be served can be read without."""
    if os.geteuid() != 0 or not os.fstat(shelf.store).st_mode & stat.S_IXOTH:
        return
    for digest in {digest for blobs in shelf.blobs.values() for digest in blobs}:
        descriptor = open_blob(shelf.store, digest)
        if descriptor is not None:
            mode = os.fstat(descriptor).st_mode
            os.close(descriptor)
            if not mode & stat.S_IROTH:
                return
    with contextlib.suppress(OSError):  # a user namespace may have no such user
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def failure(status_code: int, code: str) -> Response:
    body = json.dumps(
        {"errors": [{"code": code, "message": "not answered here", "detail": None}]}
    ).encode()
    return Response(status_code, "application/json", len(body), body)
