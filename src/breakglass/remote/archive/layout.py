"""An OCI image layout in a tar: plain files with headers that are ours."""

from __future__ import annotations

import json
import tarfile
from typing import Any, NamedTuple

from breakglass.remote.archive.documents import blob
from breakglass.remote.archive.stream import write_all
from breakglass.remote.faults import INTEGRITY, Fault

STDOUT = 1
"""Where everything here that writes writes to."""
END = bytes(1024)


class Named(NamedTuple):
    name: str
    manifest: dict[str, Any]
    """Its descriptor."""
    configuration: str
    """Its digest, as those of the layers."""
    layers: list[str]


def write_file(name: str, data: bytes) -> None:
    write_header(name, len(data))
    write_all(STDOUT, data)
    write_padding(len(data))


def write_header(name: str, size_bytes: int) -> None:
    write_all(STDOUT, header_of(name, size_bytes))


def write_padding(size_bytes: int) -> None:
    write_all(STDOUT, padding_of(size_bytes))


def write_names(images: list[Named]) -> None:
    """The files that name the images, and the end of the archive."""
    for name, data in naming_files(images).items():
        write_file(name, data)
    write_all(STDOUT, END)


def header_of(name: str, size_bytes: int) -> bytes:
    """Of a file that belongs to root, of no particular time."""
    header = tarfile.TarInfo(name)
    header.size, header.mode = size_bytes, 0o644
    try:
        return header.tobuf(tarfile.USTAR_FORMAT)
    except ValueError as error:
        raise Fault(INTEGRITY, f"{name} has {size_bytes} bytes: no layer is so large") from error


def padding_of(size_bytes: int) -> bytes:
    return bytes(-size_bytes % 512)


def naming_files(images: list[Named]) -> dict[str, bytes]:
    """The files that name the images, in the order in which they are written."""
    index = [
        {
            **image.manifest,
            "annotations": {
                "io.containerd.image.name": image.name,
                "org.opencontainers.image.ref.name": image.name.rpartition(":")[2],
            },
        }
        for image in images
    ]
    saved = [
        {
            "Config": blob(image.configuration),
            "RepoTags": [image.name],
            "Layers": [blob(digest) for digest in image.layers],
        }
        for image in images
    ]
    return {
        "index.json": to_json({"schemaVersion": 2, "manifests": index}),
        "oci-layout": to_json({"imageLayoutVersion": "1.0.0"}),
        "manifest.json": to_json(saved),
    }


def to_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
