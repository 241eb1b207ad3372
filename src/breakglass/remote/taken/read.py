"""The command `taken read`: the record, its files, and where containerd finds its registries."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

from breakglass.remote.faults import Fault
from breakglass.remote.responder import RESPONDER
from breakglass.remote.taken import MARK
from breakglass.remote.taken.containerd import containerd, content
from breakglass.remote.taken.files import text_of
from breakglass.remote.taken.record import load


def read(arguments: argparse.Namespace) -> dict[str, Any]:
    record = load(arguments.directory)
    files = sorted(record["files"]) if record else []
    found: dict[str, Any] = {
        "record": record,
        "responder": any(
            os.path.lexists(arguments.directory / name) for name in (RESPONDER, f"{RESPONDER}.new")
        ),
        "now": {path: now_of(Path(path)) for path in files},
    }
    found["strays"] = [
        str(file)
        for file in sorted(arguments.certs.glob("*/hosts.toml"))
        if os.path.realpath(file) not in files and is_marked(file)
    ]
    if not arguments.registry:
        return found
    sites = {
        name: site(arguments.certs, name, record["files"] if record else {})
        for name in arguments.registry
    }
    return {
        **found,
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
    """Where containerd looks for a registry's hosts: the first of these directories that exists
    (containerd, remotes/docker/config/hosts.go).

    `default`, `ca` and `client` are what counts there without us.
    """
    made = {directory for entry in files.values() for directory in entry["made"]}
    host, colon, port = name.rpartition(":")
    own = [f"{host}_{port}_"] if colon and port.isdigit() else []
    used = next(
        (
            certs / each
            for each in (*own, name, "_default")
            if (certs / each).exists() and os.path.realpath(certs / each) not in made
        ),
        None,
    )
    directory = used if used is not None and used.name != "_default" else certs / name
    listed = Path(os.path.realpath(directory / "hosts.toml"))
    linked = listed != Path(os.path.realpath(certs)) / directory.name / "hosts.toml"
    found: dict[str, Any] = {
        "file": str(listed),
        "linked": linked,
        "text": None,
        "default": None,
        "default_file": "",
        "ca": [],
        "client": [],
        "fault": "",
    }
    try:
        found["text"] = without_us = text_of(listed)
        entry = files.get(str(listed))
        if entry is not None and without_us == entry["written"]:
            without_us = entry["original"]["text"] if entry["original"] else None
        if used is not None and used.name == "_default" and without_us is None:
            found["default_file"] = os.path.realpath(used / "hosts.toml")
            found["default"] = text_of(Path(found["default_file"]))
        if used is not None and not used.is_dir():
            found["fault"] = f"{used} is no directory"
        elif (
            used is not None
            and "[" not in re.sub("#.*", "", without_us or "")
            and not found["default"]
        ):
            found["ca"] = sorted(str(file) for file in used.glob("*.crt"))
            found["client"] = [
                [str(file), str(file.with_suffix(".key"))]
                for file in sorted(used.glob("*.cert"))
                if file.with_suffix(".key").exists()
            ]
    except (OSError, Fault) as error:
        found["fault"] = (
            error.sentence if isinstance(error, Fault) else f"{error.filename}: {error.strerror}"
        )
    return found
