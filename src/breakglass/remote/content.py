"""The script `content`: whether containerd's content store has images whole; changes nothing.

`look` compares the sizes of layers, `verify` reads every blob and compares its digest.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from breakglass.remote.arguments import at_divider, matching, parser_for
from breakglass.remote.distribution.answers import NotServed
from breakglass.remote.distribution.platforms import child_for
from breakglass.remote.faults import FAILED, INTEGRITY, Fault, run_command
from breakglass.remote.lifeline import SILENCE_SECONDS, wait_for_silence
from breakglass.remote.responder.arguments import DIGEST, NAME
from breakglass.remote.responder.images import images_of
from breakglass.remote.responder.store import (
    INDEXES,
    descriptors_of,
    document_of,
    json_of,
    open_blob,
    open_store,
    pieces,
)
from breakglass.remote.taken.containerd import content

REFERENCE = "REGISTRY/REPOSITORY:TAG"
DEEPEST = 3
"""So many indexes may lead to a manifest."""


class Image(NamedTuple):
    """An image for one platform, as its manifest describes it."""

    image_id: str
    blobs: dict[str, int]
    """Digest -> size, of the configuration and the layers."""


def main(argv: list[str], lifeline: int | None) -> int:
    """Returns the exit code."""
    if lifeline is not None:
        threading.Thread(target=end_with_the_caller, args=(lifeline,), daemon=True).start()

    def command() -> dict[str, Any]:
        arguments = parse(argv)
        return look(arguments) if arguments.command == "look" else verify(arguments)

    return run_command(command)


def parse(argv: list[str]) -> argparse.Namespace:
    """Raises Fault."""
    parser = parser_for("content", "Whether containerd's content store has an image whole.")
    commands = parser.add_subparsers(dest="command", required=True)
    looking = _add(commands, "look", "what the store has of each image, by the sizes of the blobs")
    looking.add_argument("name", nargs="+", type=matching(NAME, REFERENCE), metavar="NAME")
    verifying = _add(commands, "verify", "read every blob of an image, and compare its digest")
    verifying.add_argument("name", type=matching(NAME, REFERENCE), metavar="NAME")
    verifying.add_argument("image_id", type=matching(DIGEST, "an image ID"), metavar="IMAGE_ID")
    ours, ctr = at_divider(argv)
    arguments = parser.parse_args(ours)
    arguments.ctr = ctr
    if not ctr:
        parser.error("it needs `-- CTR...`")
    return arguments


def _add(commands: Any, name: str, description: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=description, description=description, allow_abbrev=False
    )
    added.add_argument(
        "--platform",
        required=True,
        type=matching("[a-z0-9]+/[a-z0-9_]+", "OS/ARCHITECTURE"),
        metavar="OS/ARCHITECTURE",
    )
    added.epilog = "After `--`: how ctr is called."
    return added


def look(arguments: argparse.Namespace) -> dict[str, Any]:
    """What there is of each name that containerd has."""
    images = images_of(arguments.ctr)
    names = [name for name in dict.fromkeys(arguments.name) if name in images]
    store = store_of(arguments.ctr) if names else -1
    return {"images": {name: seen(store, images[name], arguments.platform) for name in names}}


def verify(arguments: argparse.Namespace) -> dict[str, Any]:
    """Raises Fault unless the name is this image, and whole."""
    name, images = arguments.name, images_of(arguments.ctr)
    if name not in images:
        raise Fault(INTEGRITY, f"containerd has no image called {name}")
    store = store_of(arguments.ctr)
    image = image_of(store, images[name], arguments.platform)
    if image.image_id != arguments.image_id:
        raise Fault(
            INTEGRITY, f"{name} is image ID {image.image_id}, expected {arguments.image_id}"
        )
    try:
        size_bytes = read_through(store, image.blobs)
    except Fault as fault:
        raise Fault(fault.status, f"{name} is not whole: {fault.sentence}") from fault
    return {"blobs": len(image.blobs), "size_bytes": size_bytes}


def store_of(ctr: list[str]) -> int:
    """The descriptor of the content store's directory of blobs."""
    directory = content(ctr)
    if directory is None:
        raise Fault(
            FAILED, f"{' '.join(ctr)} plugins ls does not report where containerd keeps its content"
        )
    return open_store(directory)


def seen(store: int, target: tuple[str, str], platform: str) -> dict[str, Any]:
    """An image of containerd: what its manifest needs, and what of it is not there."""
    try:
        image = image_of(store, target, platform)
    except Fault as fault:
        return {"image_id": None, "size_bytes": 0, "blobs": 0, "missing": [], "fault": str(fault)}
    missing = [digest for digest, size in image.blobs.items() if size_of(store, digest) != size]
    return {
        "image_id": image.image_id,
        "size_bytes": sum(image.blobs.values()),
        "blobs": len(image.blobs),
        "missing": missing,
        "fault": "",
    }


def image_of(store: int, target: tuple[str, str], platform: str) -> Image:
    """Manifests and the configuration are compared with their digests. Raises Fault."""
    media_type, digest = target
    for _ in range(DEEPEST):
        document = document_at(store, digest)
        if media_type not in INDEXES:
            break
        media_type, digest = _fitting(document, digest, platform)
    else:
        raise Fault(INTEGRITY, f"{digest} in the content store is an index below too many others")
    described = {"config": [document["config"]]} if "config" in document else {}
    configurations = descriptors_of(described, "config", digest)
    layers = descriptors_of(document, "layers", digest)
    if len(configurations) != 1 or len(layers) != len(document.get("layers", [])):
        raise Fault(INTEGRITY, f"{digest} in the content store is no manifest of an image")
    image_id = configurations[0][1]
    configuration = document_at(store, image_id)
    try:
        child_for([{"platform": configuration}], platform)
    except NotServed as error:
        raise Fault(INTEGRITY, f"{image_id} in the content store is not for {platform}") from error
    return Image(image_id, {each: size for _, each, size in [*configurations, *layers]})


def document_at(store: int, digest: str) -> dict[str, Any]:
    data = document_of(store, digest)
    if data is None:
        raise Fault(INTEGRITY, f"the content store lacks {digest}")
    return json_of(data, digest)


def _fitting(index: dict[str, Any], digest: str, platform: str) -> tuple[str, str]:
    """Media type and digest of the child that containerd takes."""
    children = index.get("manifests")
    try:
        child = child_for(children if isinstance(children, list) else [], platform)
    except NotServed as error:
        raise Fault(INTEGRITY, f"{digest} in the content store: {error.detail}") from error
    usable = descriptors_of({"manifests": [child]}, "manifests", digest)
    if not usable:
        raise Fault(INTEGRITY, f"{digest} in the content store has no usable manifests")
    return usable[0][:2]


def size_of(store: int, digest: str) -> int | None:
    descriptor = open_blob(store, digest)
    if descriptor is None:
        return None
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def read_through(store: int, blobs: dict[str, int]) -> int:
    """Read and hash every blob; returns how many bytes they have. Raises Fault."""
    done, reported_at = 0, 0.0
    for digest, size in blobs.items():
        sha256 = hashlib.sha256()
        for piece in pieces_of(store, digest, size):
            sha256.update(piece)
            done += len(piece)
            if time.monotonic() - reported_at > 0.5:
                reported_at = time.monotonic()
                with contextlib.suppress(OSError):
                    print(f"@progress {done}", file=sys.stderr, flush=True)
        if f"sha256:{sha256.hexdigest()}" != digest:
            raise Fault(INTEGRITY, f"the file of {digest} in the content store has another sha256")
    return done


def pieces_of(store: int, digest: str, size: int) -> Iterator[bytes]:
    """Raises Fault where the blob is not there, or has another size."""
    descriptor = open_blob(store, digest)
    if descriptor is None:
        raise Fault(INTEGRITY, f"the content store lacks {digest}")
    try:
        actual = os.fstat(descriptor).st_size
        if actual != size:
            raise Fault(
                INTEGRITY, f"{digest} in the content store has {actual} bytes, expected {size}"
            )
        yield from pieces(descriptor, size)
    finally:
        os.close(descriptor)


def end_with_the_caller(lifeline: int) -> None:
    """Nobody waits for the answer any more."""
    with contextlib.suppress(OSError):
        wait_for_silence(lifeline, SILENCE_SECONDS)
    os._exit(FAILED)
