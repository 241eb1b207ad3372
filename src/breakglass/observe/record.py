"""The record of a tarball: the sidecar `NAME-TAG.json`, specified in docs/files.md."""

import json
import re
from dataclasses import dataclass
from typing import Any

from breakglass.observe.listing import TAG
from breakglass.shape import NATURAL, fits, parse_json

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+")
LARGEST_SEQUENCE = 10**9
"""A larger one was not written by counting snapshots: it says nothing about the order."""
HASH = re.compile(r"[0-9a-f]{64}")
_RECORD = {
    "tag": TAG,
    "references": [str],
    "image_id": DIGEST,
    "companions": (None, {str: DIGEST}),
    "digests": (None, {str: DIGEST}),
    "platform": PLATFORM,
    "size_bytes": NATURAL,
    "sha256": HASH,
    "sequence": NATURAL,
    "created_at": str,
    "version": str,
}


@dataclass(frozen=True)
class Record:
    """What the sidecar `NAME-TAG.json` says of its tarball. Sizes in bytes, hashes in hex."""

    tag: str
    references: tuple[str, ...]
    image_id: str
    companions: tuple[tuple[str, str], ...]
    platform: str
    size_bytes: int
    sha256: str
    sequence: int
    created_at: str
    version: str
    text: str
    """The record itself, as one line of JSON without `previous`."""
    digests: tuple[tuple[str, str], ...] = ()
    """(reference, what it meant at its registry), where the registry's own bytes were saved."""

    @property
    def image_ids(self) -> dict[str, str]:
        """Name -> image ID, of every name in the tarball."""
        return {**dict.fromkeys(self.references, self.image_id), **dict(self.companions)}

    @property
    def signed_bytes(self) -> bytes:
        """What a signature is of: the sidecar as it is stored."""
        return self.text.encode() + b"\n"


def parse_records(content: bytes) -> list[Record]:
    """The records of a sidecar: the current one, and while a tarball is being replaced the previous
    one; [] for anything else.
    """
    try:
        data = parse_json(content)
    except ValueError:
        return []
    records: list[Record] = []
    while isinstance(data, dict) and len(records) < 2:
        previous = data.pop("previous", None)
        record = _record(data)
        if record is None:
            return []
        records.append(record)
        data = previous
    return records


def _record(data: dict[str, Any]) -> Record | None:
    if not fits(data, _RECORD) or not data["references"]:
        return None
    return Record(
        tag=data["tag"],
        references=tuple(data["references"]),
        image_id=data["image_id"],
        companions=tuple(sorted((data.get("companions") or {}).items())),
        digests=tuple(sorted((data.get("digests") or {}).items())),
        platform=data["platform"],
        size_bytes=data["size_bytes"],
        sha256=data["sha256"],
        sequence=data["sequence"],
        created_at=data["created_at"],
        version=data["version"],
        text=json.dumps(data, separators=(",", ":")),
    )
