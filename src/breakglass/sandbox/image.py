"""A small image as `docker buildx` pushes it: gzip layers, configuration, manifest and index. Its
bytes are always the same.
"""

import functools
import gzip
import hashlib
import io
import json
import platform
import random
import tarfile
from dataclasses import dataclass

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIGURATION = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CREATED = "2026-04-19T09:41:00Z"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(
    platform.machine(), "amd64"
)


OTHER_ARCHITECTURE = "amd64" if ARCHITECTURE == "arm64" else "arm64"


@dataclass(frozen=True)
class Image:
    """Everything that a registry stores of an image."""

    index: str
    """The digest for a tag."""
    children: tuple[str, ...]
    """The digests of the manifests in the index: for this machine's architecture, and for the other
    one.
    """
    image_id: str
    blobs: dict[str, bytes]
    """By digest: layers, configuration, manifests, index."""


def build(content: str) -> Image:
    """An image whose last layer has `content`. The other 3 MB are the same in every image."""
    layers = [*_common_layers(), _layer({"workspace/VERSION": content.encode()})]
    diff_ids = [_digest(plain) for plain, _ in layers]
    architectures = (ARCHITECTURE, OTHER_ARCHITECTURE)
    configurations = [_configuration(diff_ids, architecture) for architecture in architectures]
    manifests = [
        _json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": _descriptor(CONFIGURATION, configuration),
                "layers": [_descriptor(LAYER, packed) for _, packed in layers],
            }
        )
        for configuration in configurations
    ]
    listed = [
        _descriptor(MANIFEST, manifest)
        | {"platform": {"architecture": architecture, "os": "linux"}}
        for manifest, architecture in zip(manifests, architectures, strict=True)
    ]
    index = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})
    blobs = (*(packed for _, packed in layers), *configurations, *manifests, index)
    return Image(
        index=_digest(index),
        children=tuple(map(_digest, manifests)),
        image_id=_digest(configurations[0]),
        blobs={_digest(blob): blob for blob in blobs},
    )


def _configuration(diff_ids: list[str], architecture: str) -> bytes:
    return _json(
        {
            "architecture": architecture,
            "os": "linux",
            "created": CREATED,
            "config": {
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
                "Cmd": ["/bin/sh"],
                "WorkingDir": "/workspace",
            },
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [
                {"created": CREATED, "created_by": f"COPY layer-{number} / # sandbox"}
                for number in range(len(diff_ids))
            ],
        }
    )


@functools.cache
def _common_layers() -> tuple[tuple[bytes, bytes], ...]:
    # Half noise and half text compress about as well as programs do.
    noise = random.Random("infra-ci")

    def program(kilobytes: int) -> bytes:
        return b"".join(
            noise.randbytes(512) + b"the quick brown fox ".ljust(512, b".")
            for _ in range(kilobytes)
        )

    base = {
        "bin/sh": program(1200),
        "bin/busybox": program(300),
        "etc/os-release": b"ID=sandbox\n",
        "etc/passwd": b"root:x:0:0::/root:/bin/sh\n",
    }
    tools = {
        f"usr/local/bin/{name}": program(kilobytes)
        for name, kilobytes in (("terraform", 1400), ("kubectl", 900), ("terragrunt", 500))
    }
    return _layer(base), _layer(tools)


def _layer(files: dict[str, bytes]) -> tuple[bytes, bytes]:
    """The tar archive, and the same with gzip."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue(), gzip.compress(buffer.getvalue(), 1, mtime=0)


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
