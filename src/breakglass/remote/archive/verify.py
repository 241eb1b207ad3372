"""The command `archive verify`."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from breakglass.remote.archive.names import Names, open_regular
from breakglass.remote.archive.records import records_of
from breakglass.remote.archive.references import canonical
from breakglass.remote.archive.stream import chunks_of
from breakglass.remote.archive.transfer import Checker, pump
from breakglass.remote.archive.verdict import describe, judge
from breakglass.remote.faults import INTEGRITY, Fault


def verify(arguments: argparse.Namespace) -> dict[str, Any]:
    """A tarball by its content, and against its record. Raises Fault."""
    path: Path = arguments.file
    names = Names(path.parent, path.name)
    source = open_regular(path, os.O_RDONLY)
    records = records_of(names.record)
    # The registry's digests prove compressed layers as they are.
    inflates = not (records and all(record.get("digests") for record in records))
    empty = Fault(INTEGRITY, f"{path} is empty: there is no archive in it")
    checker = Checker(empty, inflates=inflates)
    size_bytes, sha256 = pump(chunks_of(source), checker=checker)
    content = checker.finish()
    if not records and os.path.lexists(names.record):
        raise Fault(INTEGRITY, f"{names.record}, the record beside the tarball, is not complete")
    record = next(
        (record for record in records if record["sha256"] == sha256), records[0] if records else {}
    )
    references = arguments.reference or record.get("references", [])
    companions = arguments.companion or sorted(record.get("companions", {}))
    images = judge(content, references + companions, record.get("digests"))
    facts = {**describe(images, references, companions), "size_bytes": size_bytes, "sha256": sha256}
    expected = {"image_id": arguments.image_id} if arguments.image_id else {}
    wrong = [
        f"{key} is {facts[key]}, expected {value}"
        for key, value in expected.items()
        if facts[key] != value
    ]
    wrong += [
        f"{key} is {as_text(facts[key])}, its record says {as_text(record[key])}"
        for key in facts
        if key in record and normal(facts[key]) != normal(record[key])
    ]
    if wrong:
        raise Fault(INTEGRITY, f"{path}: " + "; ".join(wrong))
    return {**facts, "recorded": bool(record)}


def normal(value: Any) -> Any:
    """For comparison: references in any order and either spelling."""
    if isinstance(value, list):
        return sorted(map(canonical, value))
    return (
        {canonical(name): digest for name, digest in value.items()}
        if isinstance(value, dict)
        else value
    )


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
