"""The commands of `responder`."""

from __future__ import annotations

import argparse
import contextlib
import os
import posixpath
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from breakglass.remote.arguments import PROGRAM
from breakglass.remote.faults import FAILED, REFUSED, USAGE, Fault
from breakglass.remote.files import sync_directory
from breakglass.remote.responder import RESPONDER
from breakglass.remote.responder.arguments import Answer, answer
from breakglass.remote.responder.images import images_of
from breakglass.remote.responder.loopback import BACKLOG, ask, free_port, listen, wait_for_port
from breakglass.remote.responder.processes import answers_all, end, remove, running, start_process
from breakglass.remote.responder.shelf import Shelf, become_nobody
from breakglass.remote.responder.store import closure, open_store
from breakglass.remote.responder.units import (
    foreign_unit,
    has_systemd,
    refuse_foreign_unit,
    start_unit,
    survives_reboot,
)
from breakglass.remote.responder.waiting import STOP_SECONDS


def start(arguments: argparse.Namespace) -> dict[str, Any]:
    source = own_archive().read_bytes()
    if not os.path.isdir(arguments.directory):  # noqa: PTH112 (directories are text here: they are compared with command lines)
        raise Fault(REFUSED, f"{arguments.directory} is not a directory")
    if not sys.executable:
        raise Fault(
            REFUSED, "this Python does not know its own path, so nothing could be started with it"
        )
    answers = _answers(arguments)
    store = open_store(arguments.content)
    for each in answers:
        # A fault is reported here and now, not by a process that nobody listens to.
        closure(store, each.media_type, each.digest)
    script = script_of(arguments.directory)
    line = _serve_line(arguments, script, answers)
    if has_systemd():
        refuse_foreign_unit(script, sorted(running(script)))
    stage(source, script)
    try:
        ended = end(script)
        wait_for_port(arguments.port, seconds=STOP_SECONDS if ended else 0)
        os.rename(f"{script}.new", script)  # noqa: PTH104
        sync_directory(arguments.directory)
        _start(script, line, lambda: answers_all(script, arguments.port, answers))
    except BaseException:
        with contextlib.suppress(Fault):
            end(script)
        remove(f"{script}.new")
        raise
    return status(arguments)


def _start(script: str, line: list[str], is_up: Callable[[], bool]) -> None:
    if has_systemd():
        start_unit(script, line, is_up)
    else:
        start_process(line, is_up)


def _answers(arguments: argparse.Namespace) -> list[Answer]:
    """What each name is answered with, from the images of containerd."""
    images = images_of(arguments.ctr)
    missing = [name for _, name in arguments.answer if name not in images]
    if missing:
        raise Fault(
            FAILED,
            f"containerd has no image called {', '.join(missing)}, so there is nothing to "
            f"answer with",
        )
    return [answer(f"{name}={'@'.join(images[kept])}") for name, kept in arguments.answer]


def _serve_line(arguments: argparse.Namespace, script: str, answers: list[Answer]) -> list[str]:
    # Isolated: a file called json.py beside the script is not to be run by root.
    line = [sys.executable, "-IS", script, "responder", "serve"]
    line += ["--port", str(arguments.port), "--content", arguments.content]
    for each in answers:
        line += ["--answer", f"{each.name}={each.media_type}@{each.digest}"]
    return line


def serve(arguments: argparse.Namespace) -> dict[str, Any]:
    # asyncio takes longer to load than all the rest, and only this command needs it.
    from breakglass.remote.responder.server import serve_until_the_end

    script = os.open(own_archive(), os.O_RDONLY | os.O_CLOEXEC)
    store = open_store(arguments.content)
    shelf = Shelf(
        store, {each: closure(store, each.media_type, each.digest) for each in arguments.answer}
    )
    listening = listen(arguments.port, backlog=BACKLOG)
    become_nobody(shelf)
    serve_until_the_end(listening, shelf, script)
    sys.exit(0)


def stop(arguments: argparse.Namespace) -> dict[str, Any]:
    script = script_of(arguments.directory)
    ended = end(script)
    remove(f"{script}.new")
    return {"ended": ended}


def status(arguments: argparse.Namespace) -> dict[str, Any]:
    script = script_of(arguments.directory)
    processes = running(script)
    is_under_systemd = has_systemd()
    served = next(filter(None, processes.values()), None)
    answers = (
        {each.name: each.digest for each in served.answer if ask(served.port, each) == each.digest}
        if served
        else {}
    )
    return {
        "pids": sorted(processes),
        "port": served.port if served else None,
        "answers": answers,
        "free_port": served.port if served else free_port(arguments.directory),
        "survives_reboot": is_under_systemd and survives_reboot(script),
        "foreign_unit": foreign_unit(script, sorted(processes)) if is_under_systemd else "",
    }


def script_of(directory: str) -> str:
    return posixpath.join(directory, RESPONDER)


def own_archive() -> Path:
    """The zipapp that this runs from: on disk, or in memory as the wire has brought it."""
    archive = getattr(__spec__.loader, "archive", None)
    if archive is None:
        raise Fault(USAGE, f"{PROGRAM} responder: it does not run from {PROGRAM}")
    return Path(archive)


def stage(source: bytes, script: str) -> None:
    """The file beside its place, on the disk."""
    remove(f"{script}.new")
    descriptor = os.open(
        f"{script}.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(source)
        file.flush()
        os.fsync(descriptor)
