"""A connection that threads share: the order of what leaves."""

import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import paramiko
import pytest
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
)

from breakglass.plan import Copy, Host, Run
from breakglass.ssh import Connections
from breakglass.ssh.transport import Sender
from tests.unit.loopback_sshd import Sshd, running_sshd

HELD_SECONDS = 0.5
ROUNDS = int(os.environ.get("BREAKGLASS_SSH_ROUNDS", "150"))
"""Of the test under load."""


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def connections(sshd: Sshd, tmp_path: Path) -> Iterator[Connections]:
    with Connections(sshd.settings(tmp_path), environ={"HOME": str(tmp_path)}) as made:
        yield made


def script(text: str) -> tuple[str, str, str]:
    return ("sh", "-c", text)


def session(sshd: Sshd, connections: Connections) -> bytes:
    """The process of sshd that serves this connection."""
    result = connections.ask(sshd.host(), script("echo $PPID"))
    assert result.ok, result.lost
    return result.stdout


# The order


def late(monkeypatch: pytest.MonkeyPatch, kind: int, held: Path) -> None:
    """Messages of this kind leave after the CLOSE of their channel, where nothing prevents it."""
    send = paramiko.Transport._send_user_message  # type: ignore[attr-defined]
    closed: dict[bytes, threading.Event] = defaultdict(threading.Event)

    def send_late(transport: paramiko.Transport, data: paramiko.Message) -> None:
        sent = data.asbytes()
        if sent[0] == kind and threading.current_thread() is not transport:
            held.touch()
            closed[sent[1:5]].wait(HELD_SECONDS)
        send(transport, data)
        if sent[0] == MSG_CHANNEL_CLOSE:
            closed[sent[1:5]].set()

    monkeypatch.setattr(paramiko.Transport, "_send_user_message", send_late)


@pytest.mark.parametrize("kind", [MSG_CHANNEL_EOF, MSG_CHANNEL_DATA])
def test_a_message_for_a_command_that_has_ended_costs_nobody_the_connection(
    sshd: Sshd,
    connections: Connections,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: int,
) -> None:
    before = session(sshd, connections)
    late(monkeypatch, kind, tmp_path / "held")
    ends = script(f"until [ -e {tmp_path}/held ]; do sleep 0.02; done; exit 5")
    source, sink = Run(sshd.host(), (("echo", "data"),)), Run(sshd.host(), (ends,))
    assert connections.copy(Copy(source, sink), lambda _: None)[1].exit_status == 5
    monkeypatch.undo()
    assert session(sshd, connections) == before


def test_a_host_that_goes_away_costs_nobody_the_connection_to_its_jump_host(
    sshd: Sshd,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    everywhere = f"HostName 127.0.0.1\nPort {sshd.port}\nIdentityFile {sshd.identity}\n"
    text = f"Host inner\nProxyJump gate\nHost *\n{everywhere}"
    settings = sshd.settings(tmp_path, ssh_config=text)
    gate, inner = Host("gate", "gate"), Host("inner", "inner")
    with Connections(settings, environ={"HOME": str(tmp_path)}) as connections:
        assert connections.ask(inner, ("true",)).ok
        before = connections.ask(gate, script("echo $PPID")).stdout
        late(monkeypatch, MSG_CHANNEL_DATA, tmp_path / "held")
        assert not connections.ask(inner, script("sleep 0.2; kill -9 $PPID")).ok
        monkeypatch.undo()
        assert connections.ask(gate, script("echo $PPID")).stdout == before


def test_a_channel_sends_nothing_after_its_close() -> None:
    sent: list[int] = []
    below = SimpleNamespace(_send_user_message=lambda data: sent.append(data.asbytes()[0]))
    sender = Sender(cast(Any, below))
    for kind in (MSG_CHANNEL_DATA, MSG_CHANNEL_CLOSE, MSG_CHANNEL_EOF, MSG_CHANNEL_DATA):
        sender._send_user_message(paramiko.Message(bytes((kind,)) + bytes(4)))
    assert sent == [MSG_CHANNEL_DATA, MSG_CHANNEL_CLOSE]


@pytest.mark.slow
def test_eight_threads_beside_three_busy_loops_keep_their_connection(
    sshd: Sshd,
    connections: Connections,
) -> None:
    first = session(sshd, connections)
    with ExitStack() as loops:
        for _ in range(3):
            loops.enter_context(busy())
        for number in range(ROUNDS):
            with ThreadPoolExecutor(8) as threads:
                seen = list(threads.map(lambda _: session(sshd, connections), range(8)))
            assert seen == [first] * 8, f"round {number}"
    assert "nonexistent channel" not in sshd.log


@contextmanager
def busy() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()
