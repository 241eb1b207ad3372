"""A connection that threads share: the order of what leaves, and what its loss ends as."""

import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import paramiko
import pytest
from cryptography.exceptions import InvalidTag
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
)
from paramiko.packet import Packetizer

from breakglass import config
from breakglass.errors import Unreachable
from breakglass.plan import Copy, Host, Run
from breakglass.ports import Result
from breakglass.ssh import Connections
from breakglass.ssh.command import Command
from breakglass.ssh.host_key import KNOWN_HOSTS_VARIABLE
from breakglass.ssh.transport import Sender
from tests.unit.loopback_sshd import Sshd, running_sshd

HELD_SECONDS = 0.5
ROUNDS = int(os.environ.get("BREAKGLASS_SSH_ROUNDS", "20"))
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


def run(
    sshd: Sshd,
    connections: Connections,
    *argv: str,
    quiet_seconds: float = 10,
) -> Result:
    return connections.run(Run(sshd.host(), (argv,), quiet_seconds), lambda _: None)


def within(seconds: float, act: Callable[[], Result]) -> Result:
    """What it returns or raises. Fails, and does not wait for ever, when it hangs."""
    ended: Future[Result] = Future()

    def run() -> None:
        try:
            ended.set_result(act())
        except BaseException as error:
            ended.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return ended.result(seconds)


# Jump hosts


class MeetingPlace(dict[str, str]):
    """An environment in which two connections that are being made wait for each other."""

    def __init__(self, **variables: str) -> None:
        super().__init__(**variables)
        self._both = threading.Barrier(2)

    def get(self, name: str, default: Any = None) -> Any:
        if name == KNOWN_HOSTS_VARIABLE:
            with suppress(threading.BrokenBarrierError):
                self._both.wait(1.0)
        return super().get(name, default)


def circular(tmp_path: Path, text: str) -> Connections:
    file = tmp_path / "config"
    file.write_text(text)
    return Connections(
        config.Ssh(file, tmp_path / "known_hosts", 1.0), environ=MeetingPlace(HOME=str(tmp_path))
    )


def test_jump_hosts_in_a_circle_are_named_to_two_threads_that_enter_it_at_different_hosts(
    tmp_path: Path,
) -> None:
    text = "Host inner\n ProxyJump gate\nHost gate\n ProxyJump inner\n"
    with circular(tmp_path, text) as connections, ThreadPoolExecutor(2) as threads:

        def reach(name: str) -> str:
            with pytest.raises(Unreachable, match="circle") as refused:
                within(5, lambda: connections.ask(Host(name, name), ("true",)))
            return refused.value.message

        assert [words.split(":")[0] for words in threads.map(reach, ("inner", "gate"))] == [
            "inner",
            "gate",
        ]


def test_jump_hosts_that_never_end_are_a_sentence(tmp_path: Path) -> None:
    with circular(tmp_path, "Host *\n ProxyJump x%n\n") as connections:
        with pytest.raises(Unreachable, match="more than 32 jump hosts"):
            within(5, lambda: connections.ask(Host("inner", "inner"), ("true",)))


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
    before = sshd.session(connections)
    late(monkeypatch, kind, tmp_path / "held")
    ends = script(f"until [ -e {tmp_path}/held ]; do sleep 0.02; done; exit 5")
    source, sink = Run(sshd.host(), (("echo", "data"),)), Run(sshd.host(), (ends,))
    assert connections.copy(Copy(source, sink), lambda _: None)[1].exit_status == 5
    monkeypatch.undo()
    assert sshd.session(connections) == before


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
        before = sshd.session(connections, gate)
        late(monkeypatch, MSG_CHANNEL_DATA, tmp_path / "held")
        with pytest.raises(Unreachable, match="inner: the connection was lost"):
            connections.ask(inner, script(f"sleep 0.2; kill -9 {sshd.session(connections, inner)}"))
        monkeypatch.undo()
        assert sshd.session(connections, gate) == before


def test_a_channel_sends_nothing_after_its_close() -> None:
    sent: list[int] = []
    below = SimpleNamespace(_send_user_message=lambda data: sent.append(data.asbytes()[0]))
    sender = Sender(paramiko.Channel(1), cast(Any, below))
    for kind in (MSG_CHANNEL_DATA, MSG_CHANNEL_CLOSE, MSG_CHANNEL_EOF, MSG_CHANNEL_DATA):
        sender._send_user_message(paramiko.Message(bytes((kind,)) + bytes(4)))
    assert sent == [MSG_CHANNEL_DATA, MSG_CHANNEL_CLOSE]


@pytest.mark.slow
def test_eight_threads_beside_three_busy_loops_keep_their_connection(
    sshd: Sshd,
    connections: Connections,
) -> None:
    first = sshd.session(connections)
    with ExitStack() as loops:
        for _ in range(3):
            loops.enter_context(busy())
        for number in range(ROUNDS):
            with ThreadPoolExecutor(8) as threads:
                seen = list(threads.map(lambda _: sshd.session(connections), range(8)))
            assert seen == [first] * 8, f"round {number}"
    assert "nonexistent channel" not in sshd.log


@contextmanager
def busy() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


# The loss


def failing_once(monkeypatch: pytest.MonkeyPatch, kind: int, error: Exception) -> None:
    """The next message of this kind finds the connection lost."""
    send = paramiko.Transport._send_message  # type: ignore[attr-defined]
    errors = [error]

    def fail(transport: paramiko.Transport, data: paramiko.Message) -> None:
        if data.asbytes()[0] == kind and errors:
            raise errors.pop()
        send(transport, data)

    monkeypatch.setattr(paramiko.Transport, "_send_message", fail)


SILENT = script("sleep 20")
MANY_BYTES = script("head -c 1000000 /dev/zero; sleep 20")
HELD_LOCK = ("python3", "breakglass-remote.pyz", "lock", "/none/lock", "me")


KEY_EXCHANGE = paramiko.SSHException("Key-exchange timed out")


@pytest.mark.parametrize(
    ("kind", "argv", "error"),
    [
        (MSG_CHANNEL_REQUEST, SILENT, EOFError()),
        (MSG_CHANNEL_DATA, HELD_LOCK, EOFError()),
        (MSG_CHANNEL_EOF, SILENT, EOFError()),
        (MSG_CHANNEL_EOF, SILENT, KEY_EXCHANGE),
        (MSG_CHANNEL_CLOSE, SILENT, EOFError()),
        (MSG_CHANNEL_WINDOW_ADJUST, MANY_BYTES, EOFError()),
    ],
)
def test_a_command_whose_connection_is_lost_while_it_sends_has_an_unknown_outcome(
    sshd: Sshd,
    connections: Connections,
    monkeypatch: pytest.MonkeyPatch,
    kind: int,
    argv: tuple[str, ...],
    error: Exception,
) -> None:
    before = sshd.session(connections)
    failing_once(monkeypatch, kind, error)
    quiet_seconds = 0.5 if kind == MSG_CHANNEL_CLOSE else 10
    result = within(10, lambda: run(sshd, connections, *argv, quiet_seconds=quiet_seconds))
    assert result.exit_status is None
    assert "connection was lost" in result.lost or kind == MSG_CHANNEL_CLOSE
    assert sshd.session(connections) != before


def test_a_connection_that_turns_out_to_be_lost_is_made_anew(
    sshd: Sshd,
    connections: Connections,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = sshd.session(connections)
    failing_once(monkeypatch, MSG_CHANNEL_OPEN, EOFError())
    assert sshd.session(connections) != before


def test_a_connection_lost_just_before_a_command_is_sent_is_noticed_at_once(
    sshd: Sshd,
    connections: Connections,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clear = paramiko.Channel._event_pending  # type: ignore[attr-defined]

    def lose_and_clear(channel: paramiko.Channel) -> None:
        channel.get_transport().close()
        clear(channel)

    monkeypatch.setattr(paramiko.Channel, "_event_pending", lose_and_clear)
    result = within(5, lambda: run(sshd, connections, "true"))
    assert "connection was lost" in result.lost


@pytest.mark.parametrize("count", range(12))
def test_a_packet_that_can_not_be_read_is_a_lost_connection(
    sshd: Sshd,
    connections: Connections,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    """Of the packets of a login and one command each in turn."""
    read = Packetizer.read_message
    left = [InvalidTag()]
    seen = 0

    def read_damaged(packetizer: Packetizer) -> object:
        nonlocal seen
        packet = read(packetizer)
        seen += 1
        if seen > count and left:
            raise left.pop()
        return packet

    monkeypatch.setattr(Packetizer, "read_message", read_damaged)

    with suppress(Unreachable):
        result = within(10, lambda: run(sshd, connections, "true"))
        assert result.ok or "connection was lost" in result.lost
    assert connections.ask(sshd.host(), ("true",)).ok


def test_an_output_that_is_cut_short_is_no_success_whatever_the_status(
    sshd: Sshd,
    connections: Connections,
) -> None:
    parent = sshd.session(connections)
    first, rest = "echo begun; exit 0", f"while kill -9 {parent}; do sleep 0.1; done; echo rest"
    argv = script(f"{{ sleep 0.5; {rest}; }} & {first}")
    result = run(sshd, connections, *argv)
    assert (result.exit_status, result.stdout) == (None, b"begun\n")
    assert "connection was lost" in result.lost


def test_a_question_whose_answer_was_lost_is_unreachable(
    sshd: Sshd,
    connections: Connections,
) -> None:
    parent = sshd.session(connections)
    with pytest.raises(Unreachable, match="node: the connection was lost"):
        connections.ask(sshd.host(), script(f"echo half; kill -9 {parent}; sleep 5"))


def test_a_server_that_goes_away_before_the_login_is_unreachable(
    sshd: Sshd,
    connections: Connections,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged = paramiko.Transport.get_remote_server_key

    def lost(transport: paramiko.Transport) -> paramiko.PKey:
        transport.close()
        return judged(transport)

    monkeypatch.setattr(paramiko.Transport, "get_remote_server_key", lost)
    with pytest.raises(Unreachable, match="ended the connection during the login"):
        connections.ask(sshd.host(), ("true",))


def test_an_input_that_has_ended_takes_no_more() -> None:
    answers = iter((0,))
    channel = SimpleNamespace(recv=None, recv_stderr=None, send=lambda _: next(answers))
    assert not Command(cast(Any, channel), quiet_seconds=1).write(b"data")
