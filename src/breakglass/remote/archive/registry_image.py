"""One image of a registry, for one platform: its documents are read and proven, its layers are
described.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from breakglass.remote.archive.documents import unambiguous
from breakglass.remote.archive.origins import Origin, session_with
from breakglass.remote.distribution.answers import NotServed, State, Unusable
from breakglass.remote.distribution.downloads import patiently, pieces_of
from breakglass.remote.distribution.login_session import LoginSession
from breakglass.remote.distribution.logins import Credentials
from breakglass.remote.distribution.manifests import (
    DOCKER_MANIFEST,
    INDEX_DEPTH,
    OCI_MANIFEST,
    read_descriptor,
)
from breakglass.remote.distribution.platforms import child_for
from breakglass.remote.distribution.pull import Document, read_child, read_proven, resolve
from breakglass.remote.faults import INTEGRITY, NO_LOGIN, REFUSED, UNREACHABLE, Fault
from breakglass.remote.limits import DOCUMENT_BYTES
from breakglass.remote.shape import is_strings

LARGEST_FILE_BYTES = 0o77777777777
"""What the header of a tar has digits for."""
STATUSES = {
    State.BROKEN: INTEGRITY,
    State.LACKS: REFUSED,
    State.REFUSES: UNREACHABLE,
    State.UNREACHABLE: UNREACHABLE,
    # docker may be allowed not to look at certificates (insecure-registries).
    State.UNTRUSTED: REFUSED,
}


class Layer(NamedTuple):
    digest: str
    size_bytes: int
    diff_id: str


class RegistryImage(NamedTuple):
    origin: Origin
    session: LoginSession
    documents: dict[str, bytes]
    """Digest -> index or manifest: what the name means is the first, the manifest the last."""
    image_id: str
    configuration: bytes
    platform: str
    layers: list[Layer]

    @property
    def digest(self) -> str:
        """What the name means."""
        return next(iter(self.documents))

    @property
    def diff_ids(self) -> list[str]:
        return [layer.diff_id for layer in self.layers]


def read_image(origin: Origin, platform: str, credentials: Credentials) -> RegistryImage:
    """Everything but the layers. Raises Fault."""
    session = session_with(origin, credentials)
    with faults_of(origin, session):
        documents = _documents(session, origin.manifest, platform)
        digest, body = list(documents.items())[-1]
        (image_id, size_bytes), layers = _parts_of(digest, body)
        if size_bytes > DOCUMENT_BYTES:
            raise NotServed(State.BROKEN, f"{image_id} has {size_bytes} bytes: no configuration")
        configuration = b"".join(pieces_of(session, image_id, size_bytes))
        diff_ids, described_platform = _described(image_id, configuration)
        if len(layers) != len(diff_ids):
            why = f"{digest} has {len(layers)} layers, the configuration names {len(diff_ids)}"
            raise NotServed(State.BROKEN, why)
        return RegistryImage(
            origin,
            session,
            documents,
            image_id,
            configuration,
            described_platform,
            [Layer(*layer, diff_id) for layer, diff_id in zip(layers, diff_ids)],
        )


@contextlib.contextmanager
def faults_of(origin: Origin, session: LoginSession) -> Iterator[None]:
    """What the registry does wrong is a fault that names the image."""
    try:
        yield
    except NotServed as error:
        status = STATUSES[error.state]
        # The helper that we do not run may let docker in.
        is_let_in_elsewhere = error.state is State.REFUSES and session.has_helper
        if isinstance(error, Unusable) or is_let_in_elsewhere:
            status = REFUSED
        mark = NO_LOGIN if error.state is State.REFUSES else ""
        raise Fault(status, f"{origin.name}: {error.detail}", mark=mark) from error


def media_type_of(document: bytes) -> str:
    """Of an index or manifest. docker's have it in them."""
    content = json.loads(document)
    kind = "index" if isinstance(content.get("manifests"), list) else "manifest"
    return str(content.get("mediaType") or f"application/vnd.oci.image.{kind}.v1+json")


def _documents(session: LoginSession, manifest: str, platform: str) -> dict[str, bytes]:
    read_top = read_proven if manifest.startswith("sha256:") else resolve
    digest, body = _bytes_of(patiently(partial(read_top, session, manifest)))
    _usable({"digest": digest, "size": len(body)})
    documents = {digest: body}
    for _ in range(INDEX_DEPTH):
        content = _strict(digest, body)
        if not isinstance(content.get("manifests"), list):
            return documents
        child = child_for(content["manifests"], platform)
        del content
        _usable(child)
        description = f"its image for {platform}"
        digest, body = _bytes_of(patiently(partial(read_child, session, child, description)))
        documents[digest] = body
    raise NotServed(State.BROKEN, "its indexes are nested too deep")


def _bytes_of(document: Document) -> tuple[str, bytes]:
    """What is kept of a document: parsed it takes 35 times as much memory."""
    return document.digest, document.body


def _strict(digest: str, body: bytes) -> dict[str, Any]:
    """As those read it that verify the tarball later."""
    try:
        content = json.loads(body, object_pairs_hook=unambiguous)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise NotServed(State.BROKEN, f"{digest} is not the JSON that it should be", digest)
    return content


def _parts_of(digest: str, body: bytes) -> tuple[tuple[str, int], list[tuple[str, int]]]:
    """Digest and size of the configuration, and of each layer. Of the parsed manifest nothing else
    is kept.
    """
    manifest = _strict(digest, body)
    if manifest.get("mediaType", OCI_MANIFEST) not in (OCI_MANIFEST, DOCKER_MANIFEST):
        raise Unusable(State.BROKEN, f"{digest} is a manifest of another kind than of an image")
    return _usable(manifest["config"]), [_layer(layer) for layer in manifest["layers"]]


def _described(image_id: str, configuration: bytes) -> tuple[list[str], str]:
    """The diff_ids and the platform in a configuration."""
    content = _strict(image_id, configuration)
    rootfs, *platform = (content.get(key) for key in ("rootfs", "os", "architecture"))
    diff_ids: Any = (rootfs.get("diff_ids") or []) if isinstance(rootfs, dict) else None
    if not is_strings(diff_ids) or not is_strings(platform):
        why = f"{image_id} is no configuration of an image: rootfs, os or architecture is missing"
        raise NotServed(State.BROKEN, why, image_id)
    return list(diff_ids), "/".join(map(str, platform))


def _usable(descriptor: Any) -> tuple[str, int]:
    """Digest and size of what has to be in the tarball."""
    digest, size_bytes = read_descriptor(descriptor)
    if not digest.startswith("sha256:"):
        raise Unusable(State.BROKEN, f"{digest} is not of sha256, as the names in a tarball are")
    if size_bytes is None or isinstance(size_bytes, bool) or size_bytes < 0:
        raise NotServed(State.BROKEN, f"it names {digest} without its size", digest)
    return digest, size_bytes


def _layer(descriptor: Any) -> tuple[str, int]:
    digest, size_bytes = _usable(descriptor)
    if size_bytes > LARGEST_FILE_BYTES:
        raise Unusable(State.BROKEN, f"its layer {digest} has {size_bytes} bytes: a tar takes less")
    media_type = str(descriptor.get("mediaType"))
    if descriptor.get("urls") or "nondistributable" in media_type or "foreign" in media_type:
        why = f"its layer {digest} is a foreign one, which lies outside of the registry"
        raise Unusable(State.BROKEN, why)
    return digest, size_bytes
