"""Logins that take long, and servers that say in place of their version why nobody gets in."""

import getpass
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from breakglass.errors import Unreachable
from breakglass.plan import Host
from breakglass.ssh import Connections, pool
from breakglass.ssh.greeting import Greeting, read_greeting
from tests.signing import refusing_agent
from tests.unit.loopback_sshd import Sshd, make_key, running_sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


class Server:
    """A listener on loopback that counts its connections."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.connections = 0
        self._serve = serve
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def host(self) -> Host:
        return Host("nas", f"127.0.0.1:{self.port}")

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[Server]:
    server = Server(serve)
    try:
        yield server
    finally:
        server.listener.close()


def saying(text: bytes) -> Callable[[socket.socket], None]:
    """Sends the text, and ends the connection."""

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.sendall(text)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1000)

    return serve


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def passing_on(
    sshd: Sshd, *, after_seconds: float = 0.0, first: bytes = b""
) -> Callable[..., None]:
    """Sends the first bytes, waits, and is the sshd from then on."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(first)
        time.sleep(after_seconds)
        with connection, socket.create_connection(("127.0.0.1", sshd.port)) as behind:
            there = threading.Thread(target=pump, args=(connection, behind), daemon=True)
            there.start()
            pump(behind, connection)
            there.join()

    return serve


def connections_to(
    sshd: Sshd,
    port: int,
    tmp_path: Path,
    *,
    login_seconds: float = 20.0,
    note: Callable[[str], None] = lambda _: None,
) -> Connections:
    known = f"[127.0.0.1]:{port} {sshd.public_key('ed25519')}\n"
    settings = sshd.settings(tmp_path, known_hosts=known, timeout=0.5)
    environ = {"HOME": str(tmp_path)}
    return Connections(settings, environ=environ, login_seconds=login_seconds, note=note)


# What comes in place of the version


@pytest.mark.parametrize(
    ("lines", "is_closed", "expected"),
    [
        (["Not allowed at this time"], True, Greeting.PENALTY),
        (["Not allowed at this time "], False, Greeting.PENALTY),
        (["Exceeded MaxStartups"], True, Greeting.FULL),
        ([], True, Greeting.CLOSED),
        ([], False, Greeting.OTHER),
        (["HTTP/1.1 400 Bad Request"], True, Greeting.OTHER),
    ],
)
def test_a_greeting_has_one_meaning(lines: list[str], is_closed: bool, expected: Greeting) -> None:
    assert read_greeting(lines, is_closed=is_closed) is expected


@pytest.mark.parametrize(
    ("text", "words", "advice"),
    [
        (b"Not allowed at this time\r\n", "PerSourcePenalties", "10 min"),
        (b"Exceeded MaxStartups\r\n", "MaxStartups", "half a minute"),
        (b"", "ended the connection before", "fail2ban"),
        (b"220 mail.example ESMTP\r\n", "it says '220 mail.example ESMTP'", "ssh -v"),
    ],
)
def test_a_server_that_lets_nobody_in_is_asked_once_and_its_reason_is_named(
    sshd: Sshd, tmp_path: Path, text: bytes, words: str, advice: str
) -> None:
    with (
        serving(saying(text)) as server,
        connections_to(sshd, server.port, tmp_path) as connections,
    ):
        for _ in range(3):
            with pytest.raises(Unreachable) as refused:
                connections.ask(server.host, ("true",))
            assert words in refused.value.message
            assert advice in str(refused.value.next_step)
            # Each further attempt would look like an attack.
            assert ("ssh -v" in str(refused.value.next_step)) == (advice == "ssh -v")
        assert server.connections == 1


def test_a_connection_that_ends_during_the_key_exchange_is_named_and_may_be_tried_again(
    sshd: Sshd, tmp_path: Path
) -> None:
    with (
        serving(saying(b"SSH-2.0-busy\r\n")) as server,
        connections_to(sshd, server.port, tmp_path) as connections,
    ):
        for _ in range(2):
            with pytest.raises(Unreachable, match="ended the connection during the key exchange"):
                connections.ask(server.host, ("true",))
        assert server.connections == 2


def test_lines_before_the_version_are_allowed(sshd: Sshd, tmp_path: Path) -> None:
    lines = b"".join(b"notice %d\r\n" % number for number in range(30))
    with (
        serving(passing_on(sshd, first=lines)) as server,
        connections_to(sshd, server.port, tmp_path) as connections,
    ):
        assert connections.ask(server.host, ("true",)).ok


# Time


def test_a_login_may_take_longer_than_connecting_and_is_announced(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "NOTICE_SECONDS", 0.3)
    notes: list[str] = []
    with (
        serving(passing_on(sshd, after_seconds=1.5)) as server,
        connections_to(sshd, server.port, tmp_path, note=notes.append) as connections,
    ):
        assert connections.ask(server.host, ("true",)).ok
        assert notes == ["waiting for the login to nas"]
        assert connections.ask(server.host, ("true",)).ok
    assert len(notes) == 1


def test_a_host_that_looks_up_keys_for_longer_than_connecting_may_take_lets_us_in(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("slow")
    slow = (
        f'AuthorizedKeysCommand /bin/sh -c "sleep 1.5; cat {directory}/identity.pub"',
        f"AuthorizedKeysCommandUser {getpass.getuser()}",
        "AuthorizedKeysFile none",
    )
    with running_sshd(directory, *slow) as sshd:
        with connections_to(sshd, sshd.port, tmp_path) as connections:
            assert connections.ask(sshd.host(), ("true",)).ok
        with (
            connections_to(sshd, sshd.port, tmp_path, login_seconds=1) as connections,
            pytest.raises(Unreachable, match="got no answer within 1 s") as late,
        ):
            connections.ask(sshd.host(), ("true",))
        assert "journalctl" in str(late.value.next_step)


@pytest.mark.slow
def test_a_login_of_nine_seconds_is_waited_for(sshd: Sshd, tmp_path: Path) -> None:
    with (
        serving(passing_on(sshd, after_seconds=9)) as server,
        connections_to(sshd, server.port, tmp_path, login_seconds=60) as connections,
    ):
        assert connections.ask(server.host, ("true",)).ok


def test_a_server_without_an_answer_is_waited_for_once(sshd: Sshd, tmp_path: Path) -> None:
    given_up = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            given_up.wait(20)

    with (
        serving(serve) as server,
        connections_to(sshd, server.port, tmp_path, login_seconds=1) as connections,
    ):
        started = time.monotonic()
        for _ in range(5):
            with pytest.raises(Unreachable, match="not as an SSH server within 1 s"):
                connections.ask(server.host, ("true",))
        # Five times one second, and each connection with it.
        assert server.connections == 1
        assert time.monotonic() - started < 20
        given_up.set()


# Refused keys


def test_a_refused_login_is_not_tried_again_at_once(sshd: Sshd, tmp_path: Path) -> None:
    wrong = make_key(tmp_path / "wrong")
    lines = f"IdentityFile {wrong}\nIdentitiesOnly yes\nGlobalKnownHostsFile none\n"
    settings = sshd.settings(tmp_path, ssh_config=lines)
    before = sshd.log.count("Failed publickey")
    with Connections(settings, environ={"HOME": str(tmp_path)}) as connections:
        for _ in range(3):
            with pytest.raises(Unreachable, match="was refused"):
                connections.ask(sshd.host(), ("true",))
    assert sshd.log.count("Failed publickey") == before + 1


def test_a_key_that_sshd_does_not_read_names_the_rights_of_the_home_directory(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The key is in authorized_keys. StrictModes: the file is writable for others."""
    with running_sshd(tmp_path_factory.mktemp("strict"), "StrictModes yes") as sshd:
        (sshd.directory / "authorized_keys").chmod(0o666)
        with (
            Connections(sshd.settings(tmp_path), environ={"HOME": str(tmp_path)}) as connections,
            pytest.raises(Unreachable, match="was refused") as refused,
        ):
            connections.ask(sshd.host(), ("true",))
        assert "bad ownership or modes" in sshd.log
    assert "ls -ld ~ ~/.ssh ~/.ssh/authorized_keys" in str(refused.value.next_step)
    assert "chmod go-w ~ ~/.ssh ~/.ssh/authorized_keys" in str(refused.value.next_step)


def test_an_agent_that_does_not_sign_is_named_and_not_the_host(sshd: Sshd, tmp_path: Path) -> None:
    lines = "IdentityFile none\nGlobalKnownHostsFile none\n"
    with refusing_agent(tmp_path, sshd.identity) as agent:
        settings = sshd.settings(tmp_path, ssh_config=f"IdentityAgent {agent}\n{lines}")
        with (
            Connections(settings, environ={"HOME": str(tmp_path)}) as connections,
            pytest.raises(Unreachable, match="the agent did not sign with agent key") as refused,
        ):
            connections.ask(sshd.host(), ("true",))
    assert refused.value.next_step.typed_commands[0] == "ssh-add -l"
    assert "node ended the connection" not in refused.value.message


def test_only_after_several_keys_one_key_is_advised(tmp_path: Path) -> None:
    for count in (1, 2):
        directory = tmp_path / str(count)
        directory.mkdir()
        with running_sshd(directory, f"MaxAuthTries {count}") as sshd:
            keys = [make_key(directory / f"wrong{number}") for number in range(3)]
            lines = "".join(f"IdentityFile {key}\n" for key in keys[:count])
            settings = sshd.settings(directory, ssh_config=lines + "IdentityAgent none\n")
            with (
                Connections(settings, environ={"HOME": str(directory)}) as connections,
                pytest.raises(Unreachable, match="ended the connection") as refused,
            ):
                connections.ask(sshd.host(), ("true",))
        assert ("IdentitiesOnly" in str(refused.value.next_step)) == (count > 1)


@pytest.mark.parametrize(
    ("line", "words", "advice"),
    [
        ("AuthenticationMethods publickey,publickey", "needs more than a key", "AuthenticationM"),
        ("PubkeyAuthentication no", "is not possible with a key", "PubkeyAuthentication"),
        ("MaxSessions 0", "opens no session", "MaxSessions"),
    ],
)
def test_what_the_same_command_again_does_not_help_against_is_named_with_its_remedy(
    tmp_path: Path, line: str, words: str, advice: str
) -> None:
    extra = "PasswordAuthentication yes" if line.startswith("Pubkey") else "LogLevel VERBOSE"
    with running_sshd(tmp_path, line, extra) as sshd:
        settings = sshd.settings(tmp_path)
        with (
            Connections(settings, environ={"HOME": str(tmp_path)}) as connections,
            pytest.raises(Unreachable, match=words) as refused,
        ):
            connections.ask(sshd.host(), ("true",))
    assert advice in refused.value.next_step.advice
    assert refused.value.next_step.typed_commands[0].startswith("ssh -v ")


def test_what_the_server_announces_is_shown_where_it_refuses(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    banner = tmp_path / "banner"
    banner.write_text("Maintenance until noon\x1b[31m\n")
    with running_sshd(tmp_path_factory.mktemp("banner"), f"Banner {banner}") as sshd:
        shutil.copy(make_key(tmp_path / "other").with_name("other.pub"), sshd.directory / "x.pub")
        (sshd.directory / "authorized_keys").write_text((sshd.directory / "x.pub").read_text())
        with (
            Connections(sshd.settings(tmp_path), environ={"HOME": str(tmp_path)}) as connections,
            pytest.raises(Unreachable, match="it says: Maintenance until noon") as refused,
        ):
            connections.ask(sshd.host(), ("true",))
    assert "\x1b" not in refused.value.message
