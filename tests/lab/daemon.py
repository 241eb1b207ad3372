"""A daemon of a host: what is run, and how one sees that it answers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Daemon:
    """One command that keeps running; ready when its port listens, its socket exists and its probe
    exits 0.
    """

    name: str
    argv: tuple[str, ...]
    unit: str = ""
    """Its systemd unit where it is not called as the daemon is."""
    port: int | None = None
    socket: str | None = None
    probe: tuple[str, ...] = ()
    leftover: str | None = None
    """What it leaves behind when it is killed, and stumbles over."""
    env: Mapping[str, str] = field(default_factory=dict)

    def ready(self, root: Path, listening: frozenset[int]) -> bool:
        """True when port and socket are there; the probe is the host's to run."""
        return (self.port is None or self.port in listening) and (
            self.socket is None or (root / self.socket.lstrip("/")).is_socket()
        )

    @property
    def unit_name(self) -> str:
        return f"{self.unit or self.name}.service"

    def unit_file(self, environment: Mapping[str, str], after: Sequence["Daemon"] = ()) -> str:
        """The systemd unit of this daemon; it writes its PID where other hosts have it. One that
        fails is started again: a kubelet may be faster than its containerd. One that a test kills
        stays away.
        """
        order = " ".join(each.unit_name for each in after)
        shell = f"echo $$ >/run/lab/{self.name}.pid; exec"
        if self.leftover:
            shell = f"rm -f {self.leftover}; {shell}"
        argv = ("/bin/sh", "-c", f'{shell} "$@"', "lab", *self.argv)
        settings = "".join(
            f"Environment={quoted(f'{key}={value}')}\n" for key, value in environment.items()
        )
        return f"""[Unit]
Description={self.name} of the lab
After={order}
StartLimitIntervalSec=0
[Service]
{settings}ExecStart={" ".join(map(quoted, argv))}
StandardOutput=append:/var/log/lab/{self.name}.log
StandardError=inherit
Delegate=yes
KillMode=process
Restart=on-failure
RestartSec=1
RestartPreventExitStatus=SIGKILL SIGTERM
TasksMax=infinity
LimitNOFILE=1048576
[Install]
WantedBy=multi-user.target
"""


def quoted(word: str) -> str:
    """A word of a unit file as systemd.service(5) reads it: variables and specifiers are not
    replaced.
    """
    return json.dumps(word).replace("$", "$$").replace("%", "%%")
