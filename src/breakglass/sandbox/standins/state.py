"""What the stand-ins share: their host's files, a state that one process at a time changes, and how
they refuse.
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
    """What the real program would print before its exit 1."""


def unknown(program: str, argument: str) -> int:
    sys.stderr.write(f"{program}: the sandbox's stand-in does not know the argument {argument!r}\n")
    return 2


def load(path: Path, *, empty: dict[str, Any]) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return empty
    return state


@contextmanager
def changing(path: Path, *, empty: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The state, to be changed in place; written when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = load(path, empty=empty)
        yield state
        write(path, json.dumps(state, indent=1).encode())


def write(path: Path, content: bytes) -> None:
    """Into place at once, so that nobody ever reads a half of it."""
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
