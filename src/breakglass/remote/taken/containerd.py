"""containerd's configuration and content store."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path
from typing import Any


def containerd(certs: Path) -> dict[str, Any]:
    """Its configuration: what it makes of the file beside its config_path, else of its default one;
    and whether that file is newer than the process.
    """
    file = certs.parent / "config.toml"
    options = ["--config", str(file)] if file.is_file() else []
    try:
        ended = subprocess.run(
            ["containerd", *options, "config", "dump"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
        )
        text, fault = (
            ended.stdout.decode("utf-8", "replace"),
            ended.stderr.decode("utf-8", "replace").strip()[-300:] if ended.returncode else "",
        )
    except (OSError, subprocess.SubprocessError) as error:
        text, fault = "", str(error)
    if not text and file.is_file():
        text, fault = file.read_text("utf-8", "replace"), ""
    return {
        "configuration": text,
        "fault": fault,
        "file": str(file),
        "newer": bool(options) and newer_than_containerd(file),
    }


def newer_than_containerd(file: Path) -> bool:
    """Whether a file was changed after the last containerd of this mount namespace has started."""
    started = []
    boot = int(
        next(
            (
                line.split()[1]
                for line in Path("/proc/stat").read_text().splitlines()
                if line.startswith("btime")
            ),
            "0",
        )
    )
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            is_containerd = (process / "comm").read_text().strip() == "containerd"
            # These links lead nowhere: their texts name the mount namespace.
            theirs = os.readlink(process / "ns/mnt")
            if is_containerd and theirs == os.readlink("/proc/self/ns/mnt"):
                ticks = int((process / "stat").read_text().rpartition(")")[2].split()[19])
                started.append(boot + ticks / os.sysconf("SC_CLK_TCK"))
    # The clock of processes and that of files differ by up to a second.
    return bool(started) and file.stat().st_mtime > max(started) + 2


def content(ctr: list[str]) -> str | None:
    """Where the content store is, as the running containerd reports."""
    if not ctr:
        return None
    try:
        ended = subprocess.run(
            [*ctr, "plugins", "ls", "-d", "id==content"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    root = re.search(
        r"^\s+root\s+(/.*\S)\s*$", ended.stdout.decode("utf-8", "replace"), re.MULTILINE
    )
    return root[1] if root else None
