"""Shared by the stand-ins: the files of their host, a state that one process at a time changes, and
how they refuse arguments.
"""

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOST = Path(os.environ.get("BREAKGLASS_SANDBOX_HOST", "/nonexistent"))


class Failure(Exception):
    """The message that the real program prints before its exit 1."""


def unknown(program: str, argument: str) -> int:
    """Refuse an argument. Returns the exit status."""
    sys.stderr.write(f"{program}: the sandbox's stand-in does not know the argument {argument!r}\n")
    return 2


def options(argv: list[str], known: set[str]) -> tuple[bool, list[str]]:
    """Whether any of the known options is there, and the other arguments."""
    others = [argument for argument in argv if argument not in known]
    return len(others) < len(argv), others


def refused_option(names: list[str]) -> str:
    """The first option in a list that must be names of images; empty if it is a list of names."""
    if not names:
        return "(no image)"
    return next((name for name in names if name.startswith("-")), "")


def load(path: Path, *, empty: dict[str, Any]) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return empty
    return state


@contextmanager
def changing(path: Path, *, empty: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The state, to be changed in place. It is written if the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = load(path, empty=empty)
        yield state
        write(path, json.dumps(state, indent=1).encode())


def write(path: Path, content: bytes) -> None:
    """Write a file and then rename it into place, so that nobody reads a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.rename(path)


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(
        os.uname().machine, "amd64"
    )
