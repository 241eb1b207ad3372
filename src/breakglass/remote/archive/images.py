"""An image of an archive, and its layers."""

from __future__ import annotations

import re
from typing import NamedTuple

from breakglass.remote.archive.documents import blob, strict
from breakglass.remote.archive.tar import GZIP, ZSTD, Content, Member
from breakglass.remote.faults import INTEGRITY, Fault


class Image(NamedTuple):
    image_id: str
    platform: str
    diff_ids: list[str]
    spelled: str
    """The reference, as the archive spells it."""
    configuration: str
    """The name of the configuration's file in the archive."""
    layers: list[str]
    """The names of the layers' files in the archive."""
    manifest: str = ""
    """The name of the manifest's file, where the archive has one."""
    digest: str = ""
    """What the reference means in index.json: the digest of an index or of the manifest."""


def check_layers(content: Content, paths: list[str], diff_ids: list[str]) -> None:
    """Each layer is what the configuration says. One that was not inflated has to be there, and no
    more: `judge` has the proof of it.
    """
    if len(paths) != len(diff_ids):
        raise Fault(
            INTEGRITY,
            f"the archive has {len(paths)} layers, the configuration names {len(diff_ids)}",
        )
    for position, diff_id in enumerate(diff_ids):
        path = paths[position]
        # One link deep, as docker makes them and containerd follows them.
        member = content.members.get(content.links.get(path, path))
        if member is None:
            raise Fault(
                INTEGRITY,
                f"layer {position + 1} of {len(diff_ids)}, {path}, is missing from the archive",
            )
        if diff_id in (f"sha256:{member.sha256}", f"sha256:{member.inner_sha256}"):
            continue
        if not was_inflated(member):
            continue
        why = f"is not what the configuration says: expected {diff_id}"
        if member.compression == ZSTD:
            # The standard library cannot decompress it here, so the manifest is the proof.
            if _is_zstd_layer(content, path, position, len(diff_ids)):
                continue
            why = (
                "is compressed with zstd, and no manifest in the archive has it as such a layer, "
                "so it cannot be verified"
            )
        raise Fault(INTEGRITY, f"layer {position + 1} of {len(diff_ids)}, {path}, {why}")


def was_inflated(member: Member) -> bool:
    """Whether a file's own hashes say what is in it. zstd cannot be decompressed here."""
    return member.compression != GZIP or bool(member.inner_sha256)


def _is_zstd_layer(content: Content, path: str, position: int, count: int) -> bool:
    """Whether a manifest of the archive has this blob, by its digest, as its zstd layer in this
    place. The names of blobs were compared with their content when they were read.
    """
    for name in content.documents:
        document = strict(content, name, (dict, list))
        layers = document.get("layers") if isinstance(document, dict) else None
        if name.startswith("blobs/sha256/") and isinstance(layers, list) and len(layers) == count:
            layer = layers[position] if isinstance(layers[position], dict) else {}
            if (
                blob(str(layer.get("digest"))) == path
                and re.fullmatch("blobs/sha256/[0-9a-f]{64}", path)
                and str(layer.get("mediaType")).endswith("zstd")
            ):
                return True
    return False
