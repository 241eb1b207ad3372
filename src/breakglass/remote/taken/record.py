"""The record, .breakglass.json."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from breakglass.remote.faults import FAILED, Fault
from breakglass.remote.files import sync_directory
from breakglass.remote.limits import STATE_BYTES
from breakglass.remote.taken import MARK

RECORD = ".breakglass.json"


def load(directory: Path) -> dict[str, Any] | None:
    try:
        content = _read(directory)
        if len(content) > STATE_BYTES:
            raise ValueError("too large")
        record = json.loads(content)
        if (
            record["schema"] != 1
            or not isinstance(record["namespace"], str)
            or not all(
                path.startswith("/") and is_entry(entry) for path, entry in record["files"].items()
            )
        ):
            raise ValueError("unknown")
    except (FileNotFoundError, NotADirectoryError):
        # One that was cut short in its very first writing: nothing had been taken yet.
        return (
            {"schema": 1, "namespace": None, "files": {}}
            if os.path.lexists(directory / f"{RECORD}.partial")
            else None
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Fault(
            FAILED,
            (
                f"{directory / RECORD} cannot be read: it is damaged, or of another version of "
                f"breakglass"
            ),
        ) from None
    loaded: dict[str, Any] = record
    return loaded


def _read(directory: Path) -> bytes:
    """What the record says is written as root: whoever else may write it does not decide that."""
    try:
        descriptor = os.open(directory / RECORD, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise Fault(FAILED, f"{directory / RECORD} is a link: it is not followed") from None
    with os.fdopen(descriptor, "rb") as file:
        login = os.environ.get("SUDO_UID", "")
        trusted = {0, os.geteuid(), *({int(login)} if login.isdigit() else ())}
        for path, status in (
            (directory / RECORD, os.fstat(descriptor)),
            (directory, directory.stat()),
        ):
            if status.st_uid not in trusted or status.st_mode & stat.S_IWOTH:
                raise Fault(
                    FAILED,
                    f"{path} may have been written by others (UID {status.st_uid}, mode "
                    f"{stat.S_IMODE(status.st_mode):04o}), so what it says is not done",
                )
        return file.read(STATE_BYTES + 1)


def is_entry(entry: dict[str, Any]) -> bool:
    original = entry["original"]
    kinds = {"text": str, "mode": int, "uid": int, "gid": int, "mtime_ns": int}
    is_original = original is None or (
        original.keys() == kinds.keys()
        and all(type(original[key]) is kind for key, kind in kinds.items())
    )
    return (
        is_original
        and MARK in entry["written"]
        and isinstance(entry["made"], list)
        and all(isinstance(each, str) and each.startswith("/") for each in entry["made"])
    )


def require(directory: Path) -> dict[str, Any]:
    record = load(directory)
    if record is None:
        raise Fault(FAILED, f"{directory / RECORD} is gone: nothing was changed")
    return record


def save(directory: Path, record: dict[str, Any]) -> None:
    """On the disk before whatever it speaks of."""
    hidden = directory / f"{RECORD}.partial"
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(record, indent=1, sort_keys=True) + "\n")
        file.flush()
        os.fsync(descriptor)
    hidden.replace(directory / RECORD)
    sync_directory(directory)
