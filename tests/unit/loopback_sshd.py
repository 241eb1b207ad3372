"""A real sshd on loopback, with its own host keys, for one test or one file of tests."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from breakglass import config
from breakglass.plan import Host, Run
from breakglass.ssh import Connections

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
KEY_TYPES = ("ed25519", "ecdsa", "rsa")


@dataclass(frozen=True)
class Sshd:
    directory: Path
    port: int
    pid: int

    def public_key(self, kind: str) -> str:
        """`type base64` of one of its host keys."""
        return " ".join((self.directory / f"host_{kind}.pub").read_text().split()[:2])

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    @property
    def identity(self) -> Path:
        return self.directory / "identity"

    def known_hosts(self, *kinds: str) -> str:
        return "".join(
            f"[127.0.0.1]:{self.port} {self.public_key(kind)}\n" for kind in kinds or KEY_TYPES
        )

    def host(self, *, sudo: bool = False) -> Host:
        return Host("node", f"127.0.0.1:{self.port}", sudo=sudo)

    def session(self, connections: Connections, host: Host | None = None) -> int:
        """The process of sshd that serves this connection: the parent of a login shell's command.
        An answer to a question has more shells around it.
        """
        step = Run(host or self.host(), (("sh", "-c", "echo $PPID"),))
        result = connections.run(step, lambda _: None)
        assert result.ok, result.lost
        return int(result.stdout)

    def settings(
        self,
        directory: Path,
        *,
        known_hosts: str | None = None,
        ssh_config: str | None = None,
        timeout: float = 5.0,
    ) -> config.Ssh:
        """Settings that find this sshd, its host keys and a key that it accepts."""
        (directory / "ssh_config").write_text(
            ssh_config
            if ssh_config is not None
            else f"IdentityFile {self.identity}\nIdentitiesOnly yes\nGlobalKnownHostsFile none\n"
        )
        (directory / "known_hosts").write_text(
            self.known_hosts() if known_hosts is None else known_hosts
        )
        return config.Ssh(
            config=directory / "ssh_config",
            known_hosts=directory / "known_hosts",
            connect_timeout_seconds=timeout,
        )


def make_key(path: Path, kind: str = "ed25519", *, passphrase: str = "", pem: bool = False) -> Path:
    arguments = [
        "ssh-keygen",
        "-q",
        "-t",
        kind,
        "-N",
        passphrase,
        "-f",
        str(path),
        *(("-m", "PEM") if pem else ()),
    ]
    subprocess.run(arguments, check=True, stdin=subprocess.DEVNULL)
    return path


@contextmanager
def running_sshd(directory: Path, *first_lines: str) -> Iterator[Sshd]:
    """`first_lines` of its configuration count more than the ones here."""
    if SSHD is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no sshd on this machine")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for kind in KEY_TYPES:
        make_key(directory / f"host_{kind}", kind)
    make_key(directory / "identity")
    shutil.copy(directory / "identity.pub", directory / "authorized_keys")
    (directory / "bin").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    lines = [
        *first_lines,
        f"ListenAddress 127.0.0.1:{port}",
        *(f"HostKey {directory}/host_{kind}" for kind in KEY_TYPES),
        f"PidFile {directory}/pid",
        f"AuthorizedKeysFile {directory}/authorized_keys",
        "StrictModes no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "LogLevel VERBOSE",
        "MaxStartups 100",
        "MaxSessions 50",
        f"AllowUsers {getpass.getuser()}",
        # A home of its own: what the start-up files of this machine's user do, often a lot, is done
        # for every command otherwise. And no shim for python3.
        (
            f"SetEnv HOME={directory} "
            f"PATH={directory}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
        ),
    ]
    (directory / "sshd_config").write_text("\n".join(lines) + "\n")
    process = subprocess.Popen(
        [SSHD, "-D", "-f", str(directory / "sshd_config"), "-E", str(directory / "log")],
        stdin=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10
        while not (directory / "pid").exists():
            assert process.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield Sshd(directory, port, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)
