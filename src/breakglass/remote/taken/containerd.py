"""containerd's configuration and content store: what the running process was started with."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from breakglass.remote.running import Process, option, path_option, processes_of

DEFAULT_FILE = "/etc/containerd/config.toml"
MOST = 4


def containerd(certs: Path) -> list[dict[str, Any]]:
    """The configuration of each containerd that runs here, and of one that may be started with the
    file beside `certs`. The caller knows by the content store which one is meant.
    """
    found: list[dict[str, Any]] = []
    files: set[str] = set()
    for process in processes_of("containerd"):
        file = path_option(process, "--config", "-c") or DEFAULT_FILE
        if file not in files and len(found) < MOST:
            files.add(file)
            found.append(_configuration(Path(file), process))
    beside = certs.parent / "config.toml"
    if str(beside) not in files:
        found.append(_configuration(beside, None))
    return found


def _configuration(file: Path, process: Process | None) -> dict[str, Any]:
    """What containerd makes of the file and its drop-ins, else the file's own text."""
    options = ["--config", str(file)] if file.is_file() else []
    text, fault = _ask(process, [*options, "config", "dump"])
    if not text and file.is_file():
        text, fault = file.read_text("utf-8", "replace"), ""
    version = re.search(r"\bv?(\d+\.\d+\.\d+\S*)", _ask(process, ["--version"])[0])
    return {
        "configuration": text,
        "fault": fault,
        "file": str(file),
        "version": version[1] if version else "",
        "root": option(process, "--root") if process else "",
        "newer": newer_file(file, text, process.started) if process else "",
    }


def _ask(process: Process | None, arguments: list[str]) -> tuple[str, str]:
    """(what containerd prints, why it prints nothing)."""
    # The program that runs, which need not be on PATH, called as it was: it may be one of many
    # names of a program (k3s).
    program = f"/proc/{process.pid}/exe" if process else None
    name = process.arguments[0] if process else "containerd"
    try:
        ended = subprocess.run(
            [name, *arguments],
            executable=program,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return "", str(error)
    said = ended.stderr.decode("utf-8", "replace").strip()[-300:]
    return ended.stdout.decode("utf-8", "replace"), said if ended.returncode else ""


def newer_file(file: Path, configuration: str, started: float) -> str:
    """A file of the configuration that was changed after containerd started; empty: none was."""
    files = [str(file)]
    # From containerd 2.2 on the default is /etc/containerd/conf.d/*.toml.
    for imported in _imports(configuration):
        path = os.path.join(file.parent, imported)  # noqa: PTH118 (with an absolute one, that one)
        # A drop-in that is gone has changed its directory.
        files += [*sorted(glob.glob(path)), *([os.path.dirname(path)] if "*" in path else [])]  # noqa: PTH207, PTH120
    for each in files:
        with contextlib.suppress(OSError):
            # The clock of processes and that of files differ by up to a second.
            if os.stat(each).st_mtime > started + 2:  # noqa: PTH116
                return each
    return ""


def _imports(configuration: str) -> list[str]:
    listed = re.search(r"^imports\s*=\s*\[([^\]]*)\]", configuration, re.MULTILINE)
    return re.findall(r"""["']([^"']+)["']""", listed[1]) if listed else []


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
