"""An image of an archive, and its layers."""

from __future__ import annotations

from typing import NamedTuple

from breakglass.remote.archive.tar import Content
from breakglass.remote.faults import INTEGRITY, Fault


class Image(NamedTuple):
    image_id: str
    platform: str
    diff_ids: list[str]
    spelled: str
    """The reference, as the archive spells it."""


def check_layers(content: Content, paths: list[str], diff_ids: list[str]) -> None:
    if len(paths) != len(diff_ids):
        raise Fault(
            INTEGRITY,
            f"the archive has {len(paths)} layers, the configuration names {len(diff_ids)}",
        )
    for position, diff_id in enumerate(diff_ids):
        path = paths[position]
        member = content.members.get(
            content.links.get(path, path)
        )  # one link deep, as docker makes them and containerd follows them
        if member is None:
            raise Fault(
                INTEGRITY,
                f"layer {position + 1} of {len(diff_ids)}, {path}, is missing from the archive",
            )
        if diff_id not in (f"sha256:{member.sha256}", f"sha256:{member.inner_sha256}"):
            why = (
                "is compressed with zstd, which cannot be verified here"
                if member.is_zstd
                else f"is not what the configuration says: expected {diff_id}"
            )
            raise Fault(INTEGRITY, f"layer {position + 1} of {len(diff_ids)}, {path}, {why}")
