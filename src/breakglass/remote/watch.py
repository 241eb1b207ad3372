"""Report how far some process has read a file: `watch FILE` prints `@progress POSITION` on stderr
twice a second, until its lifeline ends.

A pipeline that still reads the file then is ended, the import that it feeds included: nobody waits
for it any more.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import time
from pathlib import Path

from breakglass.remote.lifeline import SILENCE_SECONDS


def main(argv: list[str], lifeline: int | None) -> int:
    """Returns the exit code."""
    watch(Path(argv[0]).resolve(), lifeline or 0)
    return 0


def watch(file: Path, lifeline: int) -> None:
    reader = None
    heard = time.monotonic()
    while time.monotonic() - heard < SILENCE_SECONDS:
        # The same descriptor is asked again: looking at every process of a node is work.
        position = read_position(reader, file) if reader else None
        if position is None:
            reader, position = find_reader(file)
        if position is not None:
            print(f"@progress {position}", file=sys.stderr, flush=True)
        if select.select([lifeline], [], [], 0.5)[0]:
            if not os.read(lifeline, 4096):
                break
            heard = time.monotonic()
    end_pipeline(find_reader(file)[0], file)


def end_pipeline(reader: Path | None, file: Path) -> None:
    """End the reader and what it feeds: all that the bash of an import has started; without such a
    one nothing but a gzip is ours.
    """
    if reader is None:
        return
    process = int(reader.parent.parent.name)
    parents = {int(stat.parent.name): parent_of(stat) for stat in Path("/proc").glob("[0-9]*/stat")}
    shell, above = 0, parents.get(process)
    while above:
        # The outermost: a part of a pipeline may be another bash with the same command line.
        shell = above if is_ours(command_line(above), os.fsencode(file.name)) else shell
        above = parents.get(above)
    below = {process} if name_of(process) == b"gzip" else set()
    while shell:
        more = {
            child for child, parent in parents.items() if parent == shell or parent in below
        } - below
        if not more:
            break
        below |= more
    for each in below:
        with contextlib.suppress(OSError):
            os.kill(each, signal.SIGTERM)


def is_ours(line: bytes, file: bytes) -> bool:
    """Whether a command line is `bash --norc -o pipefail -c "gzip -dc FILE | ... import -"`, as
    the plan has it.
    """
    words = line.split(b"\0")
    return (
        words[0].rpartition(b"/")[2] == b"bash"
        and words[1:5] == [b"--norc", b"-o", b"pipefail", b"-c"]
        and words[5].startswith(b"gzip -dc ")
        and file in words[5]
        and b" images import " in words[5]
        and words[5].endswith(b" -")
    )


def parent_of(stat: Path) -> int:
    try:
        return int(stat.read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def command_line(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def name_of(process: int) -> bytes:
    return command_line(process).split(b"\0")[0].rpartition(b"/")[2]


def find_reader(file: Path) -> tuple[Path | None, int | None]:
    for process in Path("/proc").glob("[0-9]*/fd"):
        if process.parent.name == str(os.getpid()):
            continue
        try:
            descriptors = list(process.iterdir())
        except OSError:
            continue
        for descriptor in descriptors:
            position = read_position(descriptor, file)
            if position is not None:
                return descriptor, position
    return None, None


def read_position(descriptor: Path, file: Path) -> int | None:
    """How far a descriptor has come, if it has this very file open for reading only."""
    try:
        if os.readlink(descriptor) != str(file) or not descriptor.samefile(file):
            return None
        fields = dict(
            re.findall(
                r"(\w+):\s*(\w+)",
                (descriptor.parent.parent / "fdinfo" / descriptor.name).read_text(),
            )
        )
        return int(fields["pos"]) if int(fields["flags"], 8) & os.O_ACCMODE == os.O_RDONLY else None
    except (OSError, KeyError, ValueError):
        return None
