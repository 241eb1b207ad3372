"""A daemon of a host: what is run, and how one sees that it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Daemon:
    """One command that keeps running; ready when its port listens, its socket exists and its probe exits 0."""

    name: str
    argv: tuple[str, ...]
    port: int | None = None
    socket: str | None = None
    probe: tuple[str, ...] = ()
    leftover: str | None = None
    """What it leaves behind when it is killed, and stumbles over."""
    env: Mapping[str, str] = field(default_factory=dict)

    def ready(self, root: Path, listening: frozenset[int]) -> bool:
        """True when port and socket are there; the probe is the host's to run."""
        return (self.port is None or self.port in listening) and (self.socket is None or (root / self.socket.lstrip("/")).is_socket())
