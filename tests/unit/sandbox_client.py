"""Commands over SSH to hosts of the sandbox: with OpenSSH's client, and with paramiko's."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import paramiko

from breakglass.sandbox.environment import Environment
from breakglass.sandbox.ports import ADDRESS

SSH = shutil.which("ssh")


@dataclass(frozen=True)
class Ended:
    status: int
    stdout: bytes
    stderr: bytes


def ssh_argv(
    environment: Environment, host: str, *options: str, user: str | None = None
) -> list[str]:
    target = environment.hosts[host]
    return [
        str(SSH),
        "-F",
        str(environment.ssh_config),
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        *options,
        "-p",
        str(target.port),
        "--",
        f"{user or target.user}@{ADDRESS}",
    ]


def openssh(environment: Environment, host: str, command: str, stdin: bytes = b"") -> Ended:
    ended = subprocess.run(
        [*ssh_argv(environment, host), command],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=30,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def with_paramiko(environment: Environment, host: str, command: str, stdin: bytes = b"") -> Ended:
    with connection(environment, host) as transport:
        return on_channel(transport, command, stdin)


def on_channel(transport: paramiko.Transport, command: str, stdin: bytes = b"") -> Ended:
    """One command; its three streams are served at the same time, or one that is full stops the
    others.
    """
    channel = transport.open_session(timeout=10)
    channel.exec_command(command)
    collected: dict[str, bytes] = {}

    def collect(name: str, receive: str) -> None:
        collected[name] = b"".join(iter(lambda: getattr(channel, receive)(1 << 16), b""))

    readers = [
        threading.Thread(target=collect, args=arguments, daemon=True)
        for arguments in (("out", "recv"), ("err", "recv_stderr"))
    ]
    for reader in readers:
        reader.start()
    with suppress(OSError):  # a command that reads nothing may be over by now
        channel.sendall(stdin)
        channel.shutdown_write()
    for reader in readers:
        reader.join(30)
    return Ended(channel.recv_exit_status(), collected["out"], collected["err"])


@contextmanager
def connection(
    environment: Environment,
    host: str,
    *,
    user: str | None = None,
    key: paramiko.PKey | None = None,
) -> Iterator[paramiko.Transport]:
    target = environment.hosts[host]
    dialled = socket.create_connection((ADDRESS, target.port), timeout=10)
    dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(dialled)
    try:
        transport.connect(
            username=user or target.user,
            pkey=key or paramiko.ECDSAKey.from_private_key_file(str(environment.key)),
        )
        yield transport
    finally:
        transport.close()


def bring_up(environment: Environment) -> None:
    """Every part up and no registry refusing, whatever a test has done to it."""
    for name, state in environment.status().items():
        if state == "down":
            environment.start(name)
    for registry in environment.registries.values():
        registry.refuses_with = None
