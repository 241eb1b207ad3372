"""The responder as a unit of systemd."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from pathlib import Path

from breakglass.remote.faults import FAILED, Fault
from breakglass.remote.responder.programs import last_line, run
from breakglass.remote.responder.waiting import START_SECONDS, ticks

SYSTEMD = "/run/systemd/system"
UNIT = "breakglass-responder"


def start_unit(line: list[str], is_up: Callable[[], bool]) -> None:
    properties = [
        f"--property={each}" for each in ("Restart=always", "RestartSec=1", "MemoryMax=64M")
    ]
    ended = run(
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit={UNIT}",
        "--description=breakglass serves the image on loopback",
        *properties,
        *line,
    )
    if ended.returncode:
        raise Fault(
            FAILED,
            f"systemd-run failed: {last_line(ended.stderr) or f'exit code {ended.returncode}'}",
        )
    if not any(is_up() for _ in ticks(START_SECONDS)):
        raise Fault(
            FAILED,
            (
                f"{UNIT}.service does not answer after {START_SECONDS:.0f} seconds, so it was "
                f"ended; journalctl -u {UNIT} says why"
            ),
        )


def is_unit_of(script: str, processes: list[int]) -> bool:
    unit = shown()
    if unit["LoadState"] != "loaded":
        return False
    process = int(unit["MainPID"] or 0)
    return (
        process in processes
        or f" {script} responder serve " in unit["ExecStart"]
        or not (process or processes or unit["ExecStart"])
    )


def shown() -> dict[str, str]:
    properties = run(
        "systemctl", "show", "--property=LoadState,MainPID,ExecStart", f"{UNIT}.service"
    ).stdout.decode("utf-8", "replace")
    return {
        "LoadState": "",
        "MainPID": "",
        "ExecStart": "",
        **dict(line.partition("=")[::2] for line in properties.splitlines()),
    }


def has_systemd() -> bool:
    """Whether systemd runs this host, as sd_booted(3) finds out, and can be asked for a unit."""
    return Path(SYSTEMD).is_dir() and any(
        os.access(posixpath.join(each, "systemd-run"), os.X_OK) for each in os.get_exec_path()
    )
