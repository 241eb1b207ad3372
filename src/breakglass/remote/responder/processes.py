"""The responder's processes: started, recognised and ended."""

from __future__ import annotations

import argparse
import contextlib
import os
import posixpath
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from breakglass.remote.faults import FAILED, Fault
from breakglass.remote.responder.arguments import Answer, parse
from breakglass.remote.responder.loopback import ask
from breakglass.remote.responder.programs import last_line
from breakglass.remote.responder.units import end_unit, has_systemd
from breakglass.remote.responder.waiting import START_SECONDS, STOP_SECONDS, ticks

NOBODY = 65534


def start_process(line: list[str], is_up: Callable[[], bool]) -> None:
    # Its standard error is ours until it listens; then it lets go of it itself. Nothing of it is
    # the SSH channel's, which would not end otherwise.
    process = subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath)},
        start_new_session=True,
    )
    for _ in ticks(START_SECONDS):
        if process.poll() is not None:
            raise Fault(
                FAILED,
                (
                    f"the responder ended at once: "
                    f"{last_line(process.communicate()[1]) or f'exit code {process.returncode}'}"
                ),
            )
        if is_up():
            return
    raise Fault(
        FAILED, f"the responder does not answer after {START_SECONDS:.0f} seconds, so it was ended"
    )


def answers_all(script: str, number: int, answers: list[Answer]) -> bool:
    return bool(running(script)) and all(ask(number, each) == each.digest for each in answers)


def end(script: str) -> list[int]:
    """Ends the responder of this file and removes the file; returns the process IDs."""
    processes = sorted(running(script))
    if has_systemd():
        end_unit(script, processes)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for each in running(script):
            with contextlib.suppress(ProcessLookupError):
                try:
                    os.kill(each, number)
                except PermissionError as error:
                    raise Fault(
                        FAILED,
                        f"the responder, process {each}, is another user's: it was not ended",
                    ) from error
        if any(not running(script) for _ in ticks(STOP_SECONDS)):
            break
    else:
        raise Fault(
            FAILED, f"the responder, process {min(running(script), default=0)}, does not end"
        )
    # Last: where the responder can not be ended, its file shows that it is there.
    remove(script)
    return processes


def remove(file: str) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(file)  # noqa: PTH108


def running(script: str) -> dict[int, argparse.Namespace | None]:
    """The processes that serve from this file, with the arguments that they were given; None where
    these are another version's.
    """
    processes: dict[int, argparse.Namespace | None] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if entry.isdigit():
            with contextlib.suppress(OSError):
                line = os.fsdecode(Path("/proc", entry, "cmdline").read_bytes()).split("\0")[:-1]
                # All of it is compared: an editor that has the file open is none of ours.
                if (
                    line[1:5] == ["-IS", script, "responder", "serve"]
                    and posixpath.basename(line[0]).startswith("python")
                    and is_of_us(entry)
                ):
                    processes[int(entry)] = None
                    with contextlib.suppress(Fault):
                        processes[int(entry)] = parse(line[4:])
    return processes


def is_of_us(entry: str) -> bool:
    """Anybody may write such a command line: it has to be root's or nobody's (or our own, where we
    are not root), and not in a container.
    """
    uids = re.search(
        r"^Uid:\s+(\d+)\s+(\d+)", Path("/proc", entry, "status").read_text(), re.MULTILINE
    )
    here, there = (os.stat(f"/proc/{each}/ns/mnt") for each in ("self", entry))  # noqa: PTH116
    return (
        uids is not None
        and {int(uids[1]), int(uids[2])} <= {os.geteuid(), 0, NOBODY}
        and os.path.samestat(here, there)
    )
