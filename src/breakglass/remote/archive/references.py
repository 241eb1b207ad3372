"""Image references."""

from __future__ import annotations

WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
REFERENCE = r"[A-Za-z0-9\[][A-Za-z0-9._:/\[\]-]*"
IMAGE_ID = r"sha256:[0-9a-f]{64}"


def canonical(name: str) -> str:
    """The full form of a reference: docker writes `busybox:1` for `docker.io/library/busybox:1`,
    and containerd the other way round.
    """
    name = name if ":" in name.rpartition("/")[2] else name + ":latest"
    host, slash, rest = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = "docker.io", name
    if host in ("docker.io", "index.docker.io"):
        return "docker.io/" + (rest if "/" in rest else "library/" + rest)
    return f"{host}/{rest}"
