"""The commands of `taken` that change something."""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
from pathlib import Path
from typing import Any

from breakglass.remote.faults import FAILED, Fault
from breakglass.remote.files import sync_directory
from breakglass.remote.taken import MARK
from breakglass.remote.taken.files import make, missing, partial, replace, sha256, text_of
from breakglass.remote.taken.record import RECORD, load, require, save


def begin(arguments: argparse.Namespace) -> dict[str, Any]:
    record = load(arguments.directory)
    if record is None or record["namespace"] is None:
        record = {"schema": 1, "namespace": arguments.namespace, "files": {}}
        save(arguments.directory, record)
    return {"files": sorted(record["files"])}


def insert(arguments: argparse.Namespace) -> dict[str, Any]:
    record, path = require(arguments.directory), arguments.file
    if path.is_symlink():
        raise Fault(FAILED, f"{path} is a symbolic link now; it was not touched")
    now = text_of(path)
    source = arguments.copy or path
    base = text_of(source)
    if ("absent" if base is None else sha256(base)) != arguments.onto or (
        arguments.copy and now is not None
    ):
        raise Fault(FAILED, f"{source} has changed since it was read; nothing was touched")
    if base is not None and MARK in base:
        raise Fault(FAILED, f"{source} holds lines of breakglass already; nothing was touched")
    written = _with_lines(base or "", arguments.lines, before=arguments.before)
    entry: dict[str, Any] = {
        "original": None,
        "made": [str(directory) for directory in missing(path.parent)],
        "written": written,
    }
    mode, owner, group = 0o644, os.geteuid(), os.getegid()
    if base is not None:
        status = source.stat()
        mode, owner, group = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
    if now is not None:
        entry["original"] = {
            "text": now,
            "mode": mode,
            "uid": owner,
            "gid": group,
            "mtime_ns": status.st_mtime_ns,
        }
    else:
        # A run that was cut short has made them, and they are still to go.
        entry["made"] = [*record["files"].get(str(path), {}).get("made", []), *entry["made"]]
    record["files"][str(path)] = entry
    save(arguments.directory, record)
    make(path.parent)
    replace(path, written, mode=mode, owner=owner, group=group)
    return {"file": str(path)}


def _with_lines(text: str, added: list[str], *, before: str) -> str:
    lines = [f"{line}\n" for line in text.split("\n")]
    if lines[-1] == "\n":
        lines.pop()
    at = len(lines) if before == "end" else min(int(before) - 1, len(lines))
    return "".join([*lines[:at], *(f"{line}\n" for line in added), *lines[at:]])


def put_back(arguments: argparse.Namespace) -> dict[str, Any]:
    record, path = require(arguments.directory), arguments.file
    entry = record["files"].get(str(path))
    if entry is None:
        return {"file": str(path), "put_back": False}
    original, now = entry["original"], text_of(path)
    was = original["text"] if original else None
    ours = now == entry["written"] or (now is None and arguments.although_gone)
    if not ours and now != was:
        raise Fault(
            FAILED,
            (
                f"{path} was {'deleted' if now is None else 'edited'} after breakglass wrote it; "
                f"it was left as it is"
            ),
        )
    if ours:
        _restore(path, original)
    with contextlib.suppress(FileNotFoundError):
        partial(path).unlink()
    _remove_directories(path, record, entry["made"])
    save(arguments.directory, record)
    return {"file": str(path), "put_back": ours}


def _restore(path: Path, original: dict[str, Any] | None) -> None:
    """The file as it was before us; None: there was none."""
    if original is None:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        return
    make(path.parent)
    replace(
        path,
        original["text"],
        mode=original["mode"],
        owner=original["uid"],
        group=original["gid"],
        mtime_ns=original["mtime_ns"],
    )


def _remove_directories(path: Path, record: dict[str, Any], made: list[str]) -> None:
    """Remove the directories that were made for a file, and the file from the record."""
    for directory in reversed(made):
        # Somebody else may have put something there.
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
    if path.parent.is_dir():
        sync_directory(path.parent)
    del record["files"][str(path)]
    # A directory that another file of ours is still in goes with that file.
    left = [directory for directory in made if Path(directory).is_dir()]
    for other, entry in record["files"].items():
        inherited = [
            directory
            for directory in left
            if other.startswith(f"{directory}/") and directory not in entry["made"]
        ]
        entry["made"] = [*inherited, *entry["made"]]


def end(arguments: argparse.Namespace) -> dict[str, Any]:
    record = load(arguments.directory)
    if record and record["files"]:
        raise Fault(FAILED, f"not restored yet: {', '.join(sorted(record['files']))}")
    for name in (RECORD, f"{RECORD}.partial"):
        with contextlib.suppress(FileNotFoundError):
            (arguments.directory / name).unlink()
    sync_directory(arguments.directory)
    return {}
