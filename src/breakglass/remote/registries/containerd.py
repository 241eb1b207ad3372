"""The proxies through which this host's containerd pulls: those of its environment."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def proxies_of_containerd(processes: Path = Path("/proc")) -> dict[str, str]:
    """HTTPS_PROXY, NO_PROXY and their like in the environment of the running containerd; empty
    where none is seen, or it may not be read.

    Containers may run a containerd of their own. Their processes are in another PID namespace.
    """
    with contextlib.suppress(OSError):
        namespace = os.readlink(processes / "self/ns/pid")
        for process in sorted(_numbered(processes), key=lambda path: int(path.name)):
            with contextlib.suppress(OSError):  # it may have ended by now
                if (process / "comm").read_bytes() != b"containerd\n":
                    continue
                if os.readlink(process / "ns/pid") == namespace:
                    return _parsed((process / "environ").read_bytes())
    return {}


def _numbered(processes: Path) -> list[Path]:
    return [path for path in processes.iterdir() if path.name.isdigit()]


def _parsed(environ: bytes) -> dict[str, str]:
    entries = (entry.partition("=") for entry in environ.decode("utf-8", "replace").split("\0"))
    return {name: value for name, _, value in entries if name.lower().endswith("_proxy")}
