"""The requests of a pull, as containerd makes them."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from breakglass.remote.distribution.answers import Answer, NotServed, State, Unusable, part_lost
from breakglass.remote.distribution.manifests import DIGEST, read_descriptor, read_manifest
from breakglass.remote.distribution.session import Session

SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"


class Document(NamedTuple):
    """An index or a manifest, proven by its digest."""

    digest: str
    body: bytes
    content: dict[str, Any]
    """`manifests`, or `config` and `layers`."""


def resolve(session: Session, tag: str) -> Document:
    """What a tag means.

    HEAD by tag (GET where HEAD is refused), then GET by the digest that came back.
    """
    name = f"{session.repository}:{tag}"
    head = session.ask("HEAD", f"manifests/{tag}")
    if head.status != 200:
        state = State.LACKS if head.status == 404 else State.UNREACHABLE
        raise NotServed(state, f"HTTP {head.status} for {name}")
    promised = head.headers.get("Docker-Content-Digest")
    if promised and not DIGEST.fullmatch(promised):
        raise NotServed(State.BROKEN, f"what it announces as the digest of {name} is none")
    answer = session.ask("GET", f"manifests/{promised or tag}")
    if answer.status != 200:
        raise part_lost(
            answer.status,
            f"{promised or name}, which it announced for {name}",
            *([promised] if promised else []),
            digest=promised,
        )
    digest = promised or f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
    document = _document(answer, digest)
    if head.length is not None and head.length != len(answer.body):
        raise NotServed(
            State.BROKEN,
            f"{digest} has {len(answer.body)} bytes, announced were {head.length}",
            digest,
            digest=digest,
        )
    return document


def read_child(session: Session, descriptor: Any, description: str) -> Document:
    """A child of an index: an index or a manifest."""
    digest, size = read_descriptor(descriptor)
    answer = session.ask("GET", f"manifests/{digest}")
    if answer.status != 200:
        raise part_lost(answer.status, f"{digest}, {description}", digest)
    if size is not None and len(answer.body) != size:
        raise NotServed(
            State.BROKEN,
            f"{digest}, {description}, has {len(answer.body)} bytes instead of {size}",
            digest,
        )
    return _document(answer, digest)


def read_proven(session: Session, digest: str) -> Document:
    """The index or manifest of this digest."""
    answer = session.ask("GET", f"manifests/{digest}")
    if answer.status != 200:
        state = State.LACKS if answer.status == 404 else State.UNREACHABLE
        raise NotServed(state, f"HTTP {answer.status} for {session.repository}@{digest}")
    return _document(answer, digest)


def _document(answer: Answer, digest: str) -> Document:
    # Its digest leaves out the signatures in it, so it cannot be proven as the others are.
    if answer.headers.get("Content-Type", "").startswith(SCHEMA_1):
        why = f"{digest} is a manifest of schema 1, which containerd does not read either"
        raise Unusable(State.BROKEN, why, digest, digest=digest)
    return Document(digest, answer.body, read_manifest(answer.body, digest))
