"""The command `archive receive`."""

from __future__ import annotations

import argparse
import hashlib
import os
from typing import Any

from breakglass.remote import lifeline
from breakglass.remote.archive.names import Names, free_bytes, open_regular, put, read_text
from breakglass.remote.archive.partial import CutShort, removing_on_failure
from breakglass.remote.archive.records import is_complete, keep, seed_of, without_previous
from breakglass.remote.archive.stream import chunks_of
from breakglass.remote.archive.transfer import Checker, pump
from breakglass.remote.archive.verdict import describe, judge
from breakglass.remote.arguments import PROGRAM
from breakglass.remote.faults import FAILED, INTEGRITY, REFUSED, USAGE, Fault


def receive(arguments: argparse.Namespace) -> dict[str, Any]:
    names, seed = (
        Names(arguments.directory, arguments.file),
        seed_of(arguments.record, arguments.file),
    )
    proof = arguments.record if is_complete(arguments.record) else None
    offset, size_bytes = (
        int(arguments.offset),
        None if arguments.size == "unknown" else int(arguments.size),
    )
    if proof is None and (offset or not arguments.reference or "sha256" in arguments.record):
        raise Fault(
            USAGE,
            f"{PROGRAM} archive: a record without a sha256 needs --reference and --offset 0, "
            "and one with a sha256 must be complete",
        )
    if proof is not None and size_bytes not in (None, proof["size_bytes"]):
        raise Fault(
            INTEGRITY,
            (
                f"the source's {arguments.file} has {size_bytes} bytes, its record says "
                f"{proof['size_bytes']}"
            ),
        )
    size_bytes = proof["size_bytes"] if proof else size_bytes
    held = (
        names.partial.stat().st_size
        if names.partial.is_file() and not names.partial.is_symlink()
        else 0
    )
    if offset and (
        offset != held or proof is None or read_text(names.note).strip() != proof["sha256"]
    ):
        raise Fault(
            INTEGRITY,
            (
                f"{names.partial} holds {held} bytes and is not the beginning of this tarball up "
                f"to byte {offset}; receive it from the start"
            ),
        )
    free = free_bytes(arguments.directory)
    if size_bytes is not None and free + held < size_bytes:
        raise Fault(
            REFUSED,
            (
                f"no room in {arguments.directory}: {size_bytes - held} bytes are needed, {free} "
                f"are free"
            ),
        )
    names.remove(names.partial_record)
    sink = open_regular(names.partial, os.O_RDWR | os.O_CREAT | (0 if offset else os.O_TRUNC))
    with removing_on_failure(names, needed=size_bytes, resumable=proof is not None):
        if proof is not None:
            put(names.note, proof["sha256"] + "\n")
        else:
            names.remove(names.note)
        checker = None if proof else Checker(Fault(INTEGRITY, "the source's tarball is empty"))
        sha256 = hashlib.sha256()
        # Leaves the descriptor at the end, where it goes on. Silent: the first sign of life is the
        # source's first byte.
        pump(chunks_of(sink), sha256=sha256, silent=True)
        total, found = pump(
            chunks_of(0, lifeline.SILENCE_SECONDS if arguments.stdin_is_lifeline else None),
            sink=sink,
            checker=checker,
            sha256=sha256,
            done=offset,
            most=size_bytes,
        )
        if size_bytes is not None and total < size_bytes:
            os.fsync(sink)
            raise CutShort(
                FAILED,
                f"only {total} of {size_bytes} bytes of {arguments.file} arrived; "
                + (
                    "they are kept, the next run goes on from there"
                    if proof
                    else "they were removed"
                ),
            )
        if proof is not None and found != proof["sha256"]:
            raise Fault(
                INTEGRITY,
                (
                    f"what arrived has sha256 {found[:12]}..., the record of {arguments.file} "
                    f"says {proof['sha256'][:12]}..."
                )
                + ("; it was removed, start again" if offset else ""),
            )
        if checker is not None:
            images = judge(checker.finish(), arguments.reference + arguments.companion)
            return keep(
                names,
                sink,
                {
                    "schema": 1,
                    **seed,
                    **describe(images, arguments.reference, arguments.companion),
                    "size_bytes": total,
                    "sha256": found,
                },
            )
        return keep(names, sink, without_previous(arguments.record))
