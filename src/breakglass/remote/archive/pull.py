"""The command `archive pull`: images of registries, as they are there, into a tarball.

Nothing is decompressed. The digests prove everything: that of the index or manifest, which names
the others.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Generator, Iterator
from typing import Any

from breakglass.remote.archive.documents import blob
from breakglass.remote.archive.images import Image
from breakglass.remote.archive.layout import Named, naming_files
from breakglass.remote.archive.members import end_member, is_compressed, member_of
from breakglass.remote.archive.names import READABLE, Names, open_regular
from breakglass.remote.archive.origins import docker_logins
from breakglass.remote.archive.partial import removing_on_failure
from breakglass.remote.archive.records import keep, new_record, seed_of
from breakglass.remote.archive.references import canonical
from breakglass.remote.archive.registry_image import (
    Layer,
    RegistryImage,
    faults_of,
    media_type_of,
    read_image,
)
from breakglass.remote.archive.transfer import pump
from breakglass.remote.archive.verdict import describe
from breakglass.remote.distribution.downloads import pieces_of
from breakglass.remote.faults import INTEGRITY, Fault
from breakglass.remote.limits import DOCUMENTS_BYTES, HEADERS


def pull(arguments: argparse.Namespace) -> dict[str, Any]:
    """Images from their registries into the partial."""
    names = Names(arguments.directory, arguments.file)
    seed = seed_of(arguments.record, arguments.file)
    origins = [*arguments.reference, *arguments.companion]
    logins = docker_logins(os.environ)
    images = [read_image(origin, arguments.platform, logins) for origin in origins]
    _confirm(images, {canonical(name): image_id for name, image_id in arguments.image_id})
    references, companions = (
        [origin.name for origin in each] for each in (arguments.reference, arguments.companion)
    )
    described = describe(_described(images), references, companions)
    digests = {image.origin.name: image.digest for image in images}
    needed = sum(layer.size_bytes for image in images for layer in image.layers)
    names.remove(names.partial_record, names.partial_signature, names.note)
    sink = open_regular(names.partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with removing_on_failure(names, needed=needed):
        size_bytes, sha256 = pump(_tarball(images), sink=sink)
        proof = {"size_bytes": size_bytes, "sha256": sha256}
        record = new_record(seed, {**described, "digests": digests}, **proof)
        return keep(names, sink, record, READABLE)


def _confirm(images: list[RegistryImage], wanted: dict[str, str]) -> None:
    """They are those that the caller has seen, and no more than any image is. Raises Fault. Its
    sentence begins with the image at fault: without a companion there may still be the image.
    """
    for count, image in enumerate(images, 1):
        name = image.origin.name
        expected = wanted.get(canonical(name), image.image_id)
        if expected != image.image_id:
            raise Fault(
                INTEGRITY,
                f"{name}: it is {image.image_id} at {image.origin.host}, expected {expected}: it "
                f"may have been pushed anew",
            )
        sofar = images[:count]
        if sum(map(len, _documents(sofar).values())) > DOCUMENTS_BYTES:
            raise Fault(
                INTEGRITY, f"{name}: with it there are over {DOCUMENTS_BYTES} bytes of JSON"
            )
        if sum(len(each.layers) for each in sofar) > HEADERS // 2:
            raise Fault(INTEGRITY, f"{name}: with it there are over {HEADERS // 2} layers")


def _described(images: list[RegistryImage]) -> dict[str, Image]:
    return {
        canonical(image.origin.name): Image(
            image.image_id,
            image.platform,
            image.diff_ids,
            image.origin.name,
            blob(image.image_id),
            [blob(layer.digest) for layer in image.layers],
        )
        for image in images
    }


def _tarball(images: list[RegistryImage]) -> Iterator[bytes]:
    """Raises Fault where a layer is not what it should be."""
    names = _names(images)
    # First what tells a reader that it is an OCI image layout.
    files = {"oci-layout": names["oci-layout"], **names, **_documents(images)}
    for name, data in files.items():
        yield from member_of(name, len(data), [data], stored=False)
    is_packed: dict[str, bool] = {}
    for image in images:
        for layer in image.layers:
            if layer.digest not in is_packed:
                is_packed[layer.digest] = yield from _write_layer(image, layer)
            if not is_packed[layer.digest] and layer.digest != layer.diff_id:
                raise Fault(
                    INTEGRITY,
                    f"{image.origin.name}: the layer {layer.digest} is not what the configuration "
                    f"says: expected {layer.diff_id}",
                )
    yield from end_member()


def _names(images: list[RegistryImage]) -> dict[str, bytes]:
    def named(image: RegistryImage) -> Named:
        body = image.documents[image.digest]
        descriptor = {
            "mediaType": media_type_of(body),
            "digest": image.digest,
            "size": len(body),
        }
        layers = [layer.digest for layer in image.layers]
        return Named(image.origin.name, descriptor, image.image_id, layers)

    return naming_files(list(map(named, images)))


def _documents(images: list[RegistryImage]) -> dict[str, bytes]:
    """The blobs that are JSON: of all images, each once."""
    manifests = {digest: body for image in images for digest, body in image.documents.items()}
    configurations = {image.image_id: image.configuration for image in images}
    return {blob(digest): body for digest, body in {**manifests, **configurations}.items()}


def _write_layer(image: RegistryImage, layer: Layer) -> Generator[bytes, None, bool]:
    """Returns whether it is compressed."""
    with faults_of(image.origin, image.session):
        pieces = pieces_of(image.session, layer.digest, layer.size_bytes)
        beginning = b""
        while len(beginning) < 4:
            piece = next(pieces, b"")
            if not piece:
                break
            beginning += piece
        is_packed = is_compressed(beginning)
        content = itertools.chain([beginning], pieces)
        name = blob(layer.digest)
        yield from member_of(name, layer.size_bytes, content, stored=is_packed)
        return is_packed
