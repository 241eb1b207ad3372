"""The record beside a tarball, its signature and its checksum file."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import time
from pathlib import Path
from typing import Any

from breakglass.remote.archive.names import Names, put, read_text
from breakglass.remote.archive.references import IMAGE_ID
from breakglass.remote.arguments import PROGRAM
from breakglass.remote.faults import USAGE, Fault
from breakglass.remote.shape import is_strings

KEYS = (
    "schema",
    "tag",
    "references",
    "image_id",
    "companions",
    "digests",
    "platform",
    "size_bytes",
    "sha256",
    "sequence",
    "created_at",
    "version",
)
SHAPES = {
    "tag": r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}",
    "created_at": r"\d{4}-\d\d-\d\d[Tt ][0-9:.]+([Zz]|[+-]\d\d:\d\d)",
    "version": r".{1,100}",
}
PROOF_SHAPES = {
    "image_id": IMAGE_ID,
    "platform": r"[a-z0-9]+/[a-z0-9_]+",
    "sha256": r"[0-9a-f]{64}",
}


def put_sidecars(
    names: Names,
    record: dict[str, Any],
    signature: str | None,
    replaced: dict[str, Any] | None = None,
) -> None:
    """The record, its signature and the checksum file of a tarball, with the tarball's mode.
    `signature`: None: what is there stays.

    While it replaces another tarball they name both, so that either file has its proof.
    """
    records = [record, replaced] if replaced else [record]
    tarball = names.partial if os.path.lexists(names.partial) else names.file
    mode = stat.S_IMODE(tarball.lstat().st_mode)
    if signature is not None:
        _put_signature(names, signature, mode=mode, keeps_others=replaced is not None)
    for path, text in (
        (
            names.record,
            json.dumps(
                {**record, "previous": replaced} if replaced else record, separators=(",", ":")
            )
            + "\n",
        ),
        (names.checksum, "".join(f"{each['sha256']}  {names.file.name}\n" for each in records)),
    ):
        if read_text(path) != text:
            put(path, text, mode)


def _put_signature(names: Names, signature: str, *, mode: int, keeps_others: bool) -> None:
    there = read_text(names.signature)
    others = there.replace(signature, "") if keeps_others else ""
    if signature + others == there:
        return
    if signature + others:
        put(names.signature, signature + others, mode)
    else:
        names.remove(names.signature)


def keep(
    names: Names, sink: int, record: dict[str, Any], mode: int, signature: str = ""
) -> dict[str, Any]:
    """A verified partial is made ready for `publish`. A record that was received stays as it is,
    to the byte: it may be signed.
    """
    os.fchmod(sink, mode)
    os.fsync(sink)
    if signature:
        put(names.partial_signature, signature)
    put(names.partial_record, json.dumps(record, separators=(",", ":")) + "\n", mode)
    names.remove(names.note)
    return record


def new_record(seed: dict[str, Any], description: dict[str, Any], **proof: Any) -> dict[str, Any]:
    """`description`: of the archive; `proof`: its size_bytes and sha256."""
    record = {"schema": 1, **seed, **description, **proof}
    return {key: record[key] for key in KEYS if key in record}


def records_of(path: Path) -> list[dict[str, Any]]:
    """The complete records in a sidecar: the tarball's, then that of the tarball it replaces."""
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(read_text(path))
        records = (document, document.get("previous")) if isinstance(document, dict) else ()
        return [
            without_previous(record)
            for record in records
            if record is not None and is_complete(record)
        ]
    return []


def without_previous(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "previous"}


def is_complete(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and record.get("schema") == 1
        and all(
            re.fullmatch(shape, str(record.get(key))) and isinstance(record[key], str)
            for key, shape in {**SHAPES, **PROOF_SHAPES}.items()
        )
        and all(
            type(record.get(key)) is int and record[key] >= 0 for key in ("size_bytes", "sequence")
        )
        and is_strings(record.get("references"))
        and len(record["references"]) > 0
        and is_digests(record.get("companions"))
        and (record.get("digests") is None or is_digests(record["digests"]))
    )


def is_digests(value: Any) -> bool:
    """Whether it is a mapping to digests."""
    return isinstance(value, dict) and all(
        isinstance(digest, str) and re.fullmatch(IMAGE_ID, digest) for digest in value.values()
    )


def seed_of(record: dict[str, Any], file: str) -> dict[str, Any]:
    """The part of a record that the caller gives. Raises Fault.

    The time is filled in here: a plan must not differ from minute to minute.
    """
    record = {"created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **record}
    seed = {key: record.get(key) for key in ("tag", "sequence", "created_at", "version")}
    bad = [
        key
        for key, shape in SHAPES.items()
        if not (isinstance(record.get(key), str) and re.fullmatch(shape, record[key]))
    ]
    bad += [] if type(seed["sequence"]) is int and seed["sequence"] >= 0 else ["sequence"]
    if bad or not file.endswith(f"-{seed['tag']}.tar.gz"):
        raise Fault(
            USAGE,
            f"{PROGRAM} archive: the record is not usable: "
            f"{', '.join(bad) or 'its tag'} does not fit",
        )
    return seed
