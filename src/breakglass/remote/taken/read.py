"""The command `taken read`: the record, its files, and where containerd finds its registries."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

from breakglass.remote.faults import Fault
from breakglass.remote.responder import RESPONDER
from breakglass.remote.responder.units import unit_files
from breakglass.remote.taken import MARK
from breakglass.remote.taken.containerd import containerd, content
from breakglass.remote.taken.files import text_of
from breakglass.remote.taken.record import load


def read(arguments: argparse.Namespace) -> dict[str, Any]:
    record = load(arguments.directory)
    files = sorted(record["files"]) if record else []
    state: dict[str, Any] = {
        "record": record,
        "responder": any(
            os.path.lexists(arguments.directory / name) for name in (RESPONDER, f"{RESPONDER}.new")
        )
        or bool(unit_files(str(arguments.directory / RESPONDER))),
        "now": {path: now_of(Path(path)) for path in files},
    }
    state["strays"] = [
        str(file)
        # Spegel moves what it finds into _backup, and later brings it back.
        for pattern in ("*/hosts.toml", "_backup/*/hosts.toml")
        for file in sorted(arguments.certs.glob(pattern))
        if os.path.realpath(file) not in files and is_marked(file)
    ]
    if not (arguments.registry or arguments.rest):
        return state
    sites = {
        name: site(arguments.certs, name, record["files"] if record else {})
        for name in arguments.registry
    }
    return {
        **state,
        "sites": sites,
        "containerd": containerd(arguments.certs),
        "content": content(arguments.rest),
    }


def is_marked(path: Path) -> bool:
    try:
        return MARK in (text_of(path) or "")
    except (OSError, Fault):
        return False


def now_of(path: Path) -> str | None:
    """A file that cannot be read is not as we wrote it: it counts as edited."""
    try:
        return text_of(path)
    except (OSError, Fault):
        return MARK


def site(certs: Path, name: str, files: dict[str, Any]) -> dict[str, Any]:
    """Where containerd looks for a registry's hosts (containerd, remotes/docker/config/hosts.go).

    `default`, `ca` and `client` are what counts there without us.
    """
    used = _used_directory(certs, name, files)
    is_default = used is not None and used.name == "_default"
    directory = certs / name if used is None or is_default else used
    listed = Path(os.path.realpath(directory / "hosts.toml"))
    result: dict[str, Any] = {
        "file": str(listed),
        "linked": listed != Path(os.path.realpath(certs)) / directory.name / "hosts.toml",
        "text": None,
        "default": None,
        "default_file": "",
        "ca": [],
        "client": [],
        "fault": "",
    }
    try:
        result["text"] = text_of(listed)
        without_us = _without_us(result["text"], files.get(str(listed)))
        if used is not None and is_default and without_us is None:
            result["default_file"] = os.path.realpath(used / "hosts.toml")
            result["default"] = text_of(Path(result["default_file"]))
        if used is not None and not used.is_dir():
            result["fault"] = f"{used} is no directory"
        elif used is not None and not _lists_hosts(without_us) and not result["default"]:
            result.update(_certificates(used))
    except (OSError, Fault) as error:
        result["fault"] = (
            error.sentence if isinstance(error, Fault) else f"{error.filename}: {error.strerror}"
        )
    return result


def _used_directory(certs: Path, name: str, files: dict[str, Any]) -> Path | None:
    """The first of a registry's directories that exists, but for those that we have made."""
    made = {directory for entry in files.values() for directory in entry["made"]}
    host, colon, port = name.rpartition(":")
    with_port = [f"{host}_{port}_"] if colon and port.isdigit() else []
    for each in (*with_port, name, "_default"):
        directory = certs / each
        if directory.exists() and os.path.realpath(directory) not in made:
            return directory
    return None


def _without_us(text: str | None, entry: dict[str, Any] | None) -> str | None:
    """What was in the file before us; the entry is that of the record."""
    if entry is None or text != entry["written"]:
        return text
    original: str | None = entry["original"]["text"] if entry["original"] else None
    return original


def _lists_hosts(text: str | None) -> bool:
    return "[" in re.sub("#.*", "", text or "")


def _certificates(directory: Path) -> dict[str, list[Any]]:
    """What containerd takes from a directory whose hosts.toml lists no host."""
    pairs = [(file, file.with_suffix(".key")) for file in sorted(directory.glob("*.cert"))]
    return {
        "ca": sorted(str(file) for file in directory.glob("*.crt")),
        "client": [[str(file), str(key)] for file, key in pairs if key.exists()],
    }
