"""The command `archive receive`."""

from __future__ import annotations

import argparse
import hashlib
import os
from typing import Any

from breakglass.remote import lifeline
from breakglass.remote.archive.names import (
    PRIVATE,
    Names,
    free_bytes,
    open_regular,
    put,
    read_text,
)
from breakglass.remote.archive.partial import CutShort, removing_on_failure
from breakglass.remote.archive.records import (
    is_complete,
    keep,
    new_record,
    seed_of,
    without_previous,
)
from breakglass.remote.archive.stream import chunks_of
from breakglass.remote.archive.transfer import Checker, pump
from breakglass.remote.archive.verdict import describe, judge
from breakglass.remote.arguments import PROGRAM
from breakglass.remote.faults import FAILED, INTEGRITY, NO_ROOM, REFUSED, USAGE, Fault


def receive(arguments: argparse.Namespace) -> dict[str, Any]:
    """Standard input, a tarball or the rest of one, into the partial."""
    names = Names(arguments.directory, arguments.file)
    seed = seed_of(arguments.record, arguments.file)
    # A complete record proves what arrives by its hash; without one the content is checked.
    proof = arguments.record if is_complete(arguments.record) else None
    offset = int(arguments.offset)
    size_bytes = _expected_size(arguments, proof, offset)
    _check_beginning(names, proof, offset)
    _check_room(names, size_bytes)
    names.remove(names.partial_record, names.partial_signature)
    sink = open_regular(names.partial, os.O_RDWR | os.O_CREAT | (0 if offset else os.O_TRUNC))
    with removing_on_failure(names, needed=size_bytes, resumable=proof is not None):
        if proof is not None:
            put(names.note, proof["sha256"] + "\n")
        else:
            names.remove(names.note)
        checker = None if proof else Checker(Fault(INTEGRITY, "the source's tarball is empty"))
        received_bytes, sha256 = _receive_bytes(arguments, sink, checker, size_bytes)
        if size_bytes is not None and received_bytes < size_bytes:
            raise _cut_short(arguments.file, sink, received_bytes, size_bytes, proof is not None)
        if proof is not None and sha256 != proof["sha256"]:
            raise _damaged(arguments.file, sha256, proof["sha256"], is_resumed=offset > 0)
        if checker is None:
            return keep(
                names, sink, without_previous(arguments.record), PRIVATE, arguments.signature or ""
            )
        images = judge(checker.finish(), arguments.reference + arguments.companion)
        described = describe(images, arguments.reference, arguments.companion)
        record = new_record(seed, described, size_bytes=received_bytes, sha256=sha256)
        return keep(names, sink, record, PRIVATE)


def _expected_size(
    arguments: argparse.Namespace, proof: dict[str, Any] | None, offset: int
) -> int | None:
    """Of the whole tarball in bytes; None where it is not known."""
    if proof is None and (offset or not arguments.reference or "sha256" in arguments.record):
        raise Fault(
            USAGE,
            f"{PROGRAM} archive: a record without a sha256 needs --reference and --offset 0, "
            "and one with a sha256 must be complete",
        )
    size_bytes = None if arguments.size == "unknown" else int(arguments.size)
    if proof is None:
        return size_bytes
    recorded: int = proof["size_bytes"]
    if size_bytes not in (None, recorded):
        raise Fault(
            INTEGRITY,
            f"the source's {arguments.file} has {size_bytes} bytes, its record says {recorded}",
        )
    return recorded


def _check_beginning(names: Names, proof: dict[str, Any] | None, offset: int) -> None:
    """The partial is what comes before the offset."""
    held = _held_bytes(names)
    if offset and (
        offset != held or proof is None or read_text(names.note).strip() != proof["sha256"]
    ):
        raise Fault(
            INTEGRITY,
            f"{names.partial} holds {held} bytes and is not the beginning of this tarball up "
            f"to byte {offset}; receive it from the start",
        )


def _check_room(names: Names, size_bytes: int | None) -> None:
    directory, held = names.file.parent, _held_bytes(names)
    free = free_bytes(directory)
    if size_bytes is not None and free + held < size_bytes:
        raise Fault(
            REFUSED,
            f"no room in {directory}: {size_bytes - held} bytes are needed, {free} are free",
            mark=NO_ROOM,
        )


def _held_bytes(names: Names) -> int:
    is_ours = names.partial.is_file() and not names.partial.is_symlink()
    return names.partial.stat().st_size if is_ours else 0


def _receive_bytes(
    arguments: argparse.Namespace, sink: int, checker: Checker | None, size_bytes: int | None
) -> tuple[int, str]:
    """Size and sha256 of the whole tarball, what was there before included."""
    sha256 = hashlib.sha256()
    # Leaves the descriptor at the end, where it goes on. Silent: the first sign of life is the
    # source's first byte.
    pump(chunks_of(sink), sha256=sha256, silent=True)
    quiet_seconds = lifeline.SILENCE_SECONDS if arguments.stdin_is_lifeline else None
    return pump(
        chunks_of(0, quiet_seconds),
        sink=sink,
        checker=checker,
        sha256=sha256,
        done=int(arguments.offset),
        most=size_bytes,
    )


def _cut_short(
    file: str, sink: int, received_bytes: int, size_bytes: int, is_kept: bool
) -> CutShort:
    os.fsync(sink)
    next_run = "they are kept, the next run goes on from there" if is_kept else "they were removed"
    return CutShort(
        FAILED, f"only {received_bytes} of {size_bytes} bytes of {file} arrived; {next_run}"
    )


def _damaged(file: str, sha256: str, recorded: str, *, is_resumed: bool) -> Fault:
    return Fault(
        INTEGRITY,
        f"what arrived has sha256 {sha256[:12]}..., the record of {file} says {recorded[:12]}..."
        + ("; it was removed, start again" if is_resumed else ""),
    )
