"""The commands `archive publish` and `archive discard`."""

from __future__ import annotations

import argparse
import os
import stat
from typing import Any

from breakglass.remote.archive.names import Names, open_regular, read_text
from breakglass.remote.archive.records import put_sidecars, records_of
from breakglass.remote.archive.stream import chunks_of
from breakglass.remote.archive.transfer import pump
from breakglass.remote.faults import INTEGRITY, REFUSED, Fault
from breakglass.remote.files import sync_directory


def publish(arguments: argparse.Namespace) -> dict[str, Any]:
    """The partial and its record get their names."""
    names = Names(arguments.directory, arguments.file)
    for path in (names.file, names.checksum, names.record, names.signature):
        if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            raise Fault(REFUSED, f"{path} is not a regular file, so it is not ours to replace")
    held = None
    if names.file.exists():
        _, held = pump(chunks_of(open_regular(names.file, os.O_RDONLY)))
    record = _rename(names, held) if names.partial.exists() else _published(names, held)
    is_new = record in records_of(names.partial_record)
    put_sidecars(names, record, read_text(names.partial_signature) if is_new else None)
    names.remove(names.partial_record, names.partial_signature, names.note)
    return record


def _rename(names: Names, held: str | None) -> dict[str, Any]:
    """The partial takes the place of the file with the sha256 `held`; returns its record."""
    records = records_of(names.partial_record)
    if (
        not records
        or records[0]["size_bytes"] != names.partial.lstat().st_size
        or not stat.S_ISREG(names.partial.lstat().st_mode)
    ):
        raise Fault(
            INTEGRITY,
            f"{names.partial} is not whole, or has no complete record; it was not published",
        )
    record, known = records[0], records_of(names.record)
    # A file that no record fits is somebody else's, or was never verified: there is no record
    # that could vouch for it while it is replaced, and to leave it would mean that this tag
    # never gets a verified tarball.
    replaced = next((old for old in known if old["sha256"] == held != record["sha256"]), None)
    put_sidecars(names, record, read_text(names.partial_signature), replaced)
    names.partial.replace(names.file)
    sync_directory(names.file.parent)
    return record


def _published(names: Names, held: str | None) -> dict[str, Any]:
    """The record of the file, which an earlier publish has renamed."""
    if held is None:
        raise Fault(
            REFUSED, f"there is nothing to publish: neither {names.partial} nor {names.file} exists"
        )
    for record in records_of(names.partial_record) + records_of(names.record):
        if record["sha256"] == held:
            return record
    raise Fault(
        INTEGRITY,
        f"there is no partial of {names.file} to publish, and the file has sha256 "
        f"{held}, which no record beside it names",
    )


def discard(arguments: argparse.Namespace) -> dict[str, Any]:
    names = Names(arguments.directory, arguments.file)
    return {"removed": names.remove(*names.hidden())}
