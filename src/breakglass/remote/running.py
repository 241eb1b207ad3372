"""The programs that run on this host: how they were called, and since when."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A process of this mount namespace, so that the paths in its arguments are ours too. It is
    root's or our own: anybody else may call a process anything.
    """

    pid: int
    arguments: list[str]
    directory: str
    """Its working directory, for arguments that are relative paths."""
    started: float
    """Seconds since the epoch, to about a second."""


def processes_of(program: str) -> list[Process]:
    """The processes of a program, the youngest first."""
    found = []
    boot = _boot_seconds()
    for process in Path("/proc").glob("[0-9]*"):
        # What ends meanwhile, or is not ours to look at, is left out.
        with contextlib.suppress(OSError, ValueError, IndexError):
            if (process / "comm").read_text().strip() != program:
                continue
            # These links lead nowhere: their texts name the mount namespace.
            theirs = os.readlink(process / "ns/mnt")
            if theirs != os.readlink("/proc/self/ns/mnt"):
                continue
            ticks = int((process / "stat").read_text().rpartition(")")[2].split()[19])
            arguments = os.fsdecode((process / "cmdline").read_bytes()).split("\0")[:-1]
            # Without arguments it is a process that ends just now.
            if process.stat().st_uid not in (0, os.geteuid()) or not arguments:
                continue
            found.append(
                Process(
                    int(process.name),
                    arguments,
                    os.readlink(process / "cwd"),
                    boot + ticks / os.sysconf("SC_CLK_TCK"),
                )
            )
    return sorted(found, key=lambda process: -process.started)


def option(process: Process, *names: str) -> str:
    """The last value of an option such as `--config`, as `--config X` or `--config=X`; empty: it
    was not given.
    """
    value = ""
    for index, word in enumerate(process.arguments):
        for name in names:
            if word == name:
                value = "".join(process.arguments[index + 1 : index + 2])
            elif word.startswith(f"{name}="):
                value = word[len(name) + 1 :]
    return value


def path_option(process: Process, *names: str) -> str:
    """The same, as an absolute path."""
    value = option(process, *names)
    return os.path.normpath(os.path.join(process.directory, value)) if value else ""  # noqa: PTH118


def _boot_seconds() -> int:
    lines = Path("/proc/stat").read_text().splitlines()
    return int(next((line.split()[1] for line in lines if line.startswith("btime")), "0"))
