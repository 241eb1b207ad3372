"""Login shells that print on every command, that do not run commands, or that are no sh."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from breakglass.errors import Unreachable
from breakglass.observe.shelf import read_shelf
from breakglass.plan import Copy, Lock, Run
from breakglass.ssh import Connections
from breakglass.ssh.frame import Frame
from tests.unit.loopback_sshd import Sshd, running_sshd
from tests.unit.strategies import examples

ROOT = Path(__file__).resolve().parents[2]
NOISE = {
    "silent": "",
    "a greeting": "echo Welcome to the NAS",
    "without a line end": "printf '50%% of the quota is used'",
    "the line itself": 'echo "running $BASH_EXECUTION_STRING"',
    "on both streams": "echo on stdout; echo on stderr >&2",
    "after the command": "echo hello; trap 'echo goodbye' EXIT",
    "many bytes": "head -c 3000000 /dev/zero",
}
SHELLS = ("bash", "fish", "tcsh", "zsh", "mksh", "dash")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def connections(sshd: Sshd, tmp_path: Path) -> Iterator[Connections]:
    with Connections(sshd.settings(tmp_path), environ={"HOME": str(tmp_path)}) as made:
        yield made


@contextmanager
def bashrc(sshd: Sshd, text: str) -> Iterator[None]:
    """bash reads this file for every command of SSH."""
    file = sshd.directory / ".bashrc"
    file.write_text(f"{text}\n")
    try:
        yield
    finally:
        file.unlink()


@pytest.fixture(params=list(NOISE.values()), ids=list(NOISE))
def noisy(request: pytest.FixtureRequest, sshd: Sshd) -> Iterator[None]:
    with bashrc(sshd, request.param):
        yield


@contextmanager
def forced(sshd: Sshd, command: str) -> Iterator[None]:
    """sshd runs this command whatever is sent."""
    keys = sshd.directory / "authorized_keys"
    before = keys.read_text()
    keys.write_text(f'command="{command}" {before}')
    try:
        yield
    finally:
        keys.write_text(before)


def script(text: str) -> tuple[str, str, str]:
    return ("sh", "-c", text)


def nothing(_: int) -> None:
    pass


# Noise


@pytest.mark.usefixtures("noisy")
def test_an_answer_is_what_the_command_printed_and_its_status(
    sshd: Sshd, connections: Connections
) -> None:
    for _ in range(2):
        result = connections.ask(sshd.host(), script("printf 'a\\nb'; printf err >&2; exit 3"))
        assert (result.exit_status, result.stdout) == (3, b"a\nb")
        assert result.stderr.endswith(b"err")
    assert connections.ask(sshd.host(), ("true",)).stdout == b""
    # bash would read its file for a part of the command, too.
    assert connections.ask(sshd.host(), ("echo", "b\na"), ("sort",)).stdout == b"a\nb\n"


@pytest.mark.usefixtures("noisy")
def test_what_changes_a_host_and_what_is_streamed_from_it_is_free_of_noise(
    sshd: Sshd, connections: Connections, tmp_path: Path
) -> None:
    """After the first question: the question finds out that the shell prints."""
    connections.ask(sshd.host(), ("true",))
    data = os.urandom(1_000_000) * 3
    (tmp_path / "in").write_bytes(data)
    source, sink = connections.copy(
        Copy(
            Run(sshd.host(), (("cat", str(tmp_path / "in")),)),
            Run(sshd.host(), (script(f"cat > {tmp_path}/out; echo done"),)),
        ),
        nothing,
    )
    assert (source.exit_status, sink.exit_status, sink.stdout) == (0, 0, b"done\n")
    assert hashlib.sha256((tmp_path / "out").read_bytes()).digest() == hashlib.sha256(data).digest()
    ended = connections.run(Run(sshd.host(), (script("cat; echo x; exit 5"),)), nothing)
    assert (ended.exit_status, ended.stdout) == (5, b"x\n")


@pytest.mark.usefixtures("noisy")
def test_a_lock_is_taken_and_held(sshd: Sshd, connections: Connections, tmp_path: Path) -> None:
    connections.ask(sshd.host(), ("true",))
    lock = tmp_path / "lock"
    with connections.hold(Lock(sshd.host(), str(lock), "me")) as held:
        assert lock.exists()
        assert not held.lost()
    assert not lock.exists()


def test_on_a_quiet_host_a_step_is_sent_as_a_dry_run_shows_it(
    sshd: Sshd, connections: Connections
) -> None:
    step = Run(sshd.host(), (("printf", "%s", "a b"), ("cat", "-")))
    connections.ask(sshd.host(), ("true",))
    with bashrc(sshd, 'printf %s "$BASH_EXECUTION_STRING" >&2'):
        assert f"node$ {connections.run(step, nothing).stderr.decode()}" == str(step)


def test_a_source_that_fails_on_a_noisy_host_hands_on_its_status(
    sshd: Sshd, connections: Connections
) -> None:
    with bashrc(sshd, "echo hello"):
        connections.ask(sshd.host(), ("true",))
        source, sink = connections.copy(
            Copy(
                Run(sshd.host(), (script("echo half; exit 2"),)),
                Run(sshd.host(), (("wc", "-c"),)),
            ),
            nothing,
        )
    assert (source.exit_status, sink.exit_status, sink.stdout.strip()) == (2, 0, b"5")


BYTES = some.binary(max_size=80)


@examples(100)
@given(before=BYTES, content=BYTES, after=BYTES, sizes=some.lists(some.integers(1, 40)))
def test_what_stands_between_the_marks_arrives_however_it_is_cut_into_pieces(
    before: bytes, content: bytes, after: bytes, sizes: list[int]
) -> None:
    frame, arrived = Frame(), bytearray()
    halves = frame.around(())[4:6]
    mark = "".join(halves).encode() + b"\n"
    # A mark that was begun and not ended is content.
    content += mark[: len(content) % len(mark)]
    stream = before + mark + content + mark + after
    for size in sizes:
        if stream[:size]:
            frame.feed(stream[:size], arrived.extend)
        stream = stream[size:]
    if stream:
        frame.feed(stream, arrived.extend)
    frame.feed(b"", arrived.extend)
    assert (bytes(arrived), frame.has_begun, frame.is_cut) == (content, True, False)
    assert frame.noise == before + after


def test_without_its_second_mark_an_output_is_cut_and_kept_to_its_last_byte() -> None:
    frame, arrived = Frame(), bytearray()
    halves = frame.around(())[4:6]
    mark = "".join(halves).encode() + b"\n"
    for data in (mark + b"content", mark[:10], b""):
        frame.feed(data, arrived.extend)
    assert (bytes(arrived), frame.is_cut) == (b"content" + mark[:10], True)


# Shells that do not run what they are sent


@pytest.mark.parametrize(
    ("start_up", "words"),
    [
        ("echo This account is currently not available.; exit 1", "currently not available"),
        ("echo Password change required but no TTY available. >&2; exit 1", "Password change"),
        ("exit 0", "printed: nothing"),
    ],
)
def test_a_shell_that_ends_without_running_the_command_is_named_with_what_it_says(
    sshd: Sshd, connections: Connections, start_up: str, words: str
) -> None:
    with (
        bashrc(sshd, start_up),
        pytest.raises(Unreachable, match="does not run commands") as refused,
    ):
        connections.ask(sshd.host(), ("true",))
    assert words in refused.value.message
    assert "expired password" in str(refused.value.next_step)
    assert f"ssh -p {sshd.port} 127.0.0.1 echo works" in str(refused.value.next_step)


def test_a_forced_command_is_named_with_what_it_says(sshd: Sshd, connections: Connections) -> None:
    with (
        forced(sshd, "echo You sent: $SSH_ORIGINAL_COMMAND"),
        pytest.raises(Unreachable, match=r"does not run commands.*You sent") as refused,
    ):
        connections.ask(sshd.host(), ("true",))
    assert "ForceCommand" in str(refused.value.next_step)


# A key that may only read


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    directory = tmp_path / "shelf"
    directory.mkdir()
    (directory / "infra-ci-0a1b2c3d.tar.gz").write_bytes(bytes(range(256)) * 10)
    (directory / "other.txt").write_text("secret")
    return directory


@pytest.fixture
def reader(sshd: Sshd, shelf: Path) -> Iterator[None]:
    with forced(sshd, f"/bin/sh {ROOT / 'examples/nas-read-only.sh'} {shelf} infra-ci"):
        yield


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("start_up", ["", "echo Welcome"])
def test_a_key_that_may_only_read_lists_and_reads_tarballs(
    sshd: Sshd, connections: Connections, shelf: Path, start_up: str
) -> None:
    tarball = shelf / "infra-ci-0a1b2c3d.tar.gz"
    with bashrc(sshd, start_up):
        listed = read_shelf(connections, sshd.host(), str(shelf), "infra-ci", signers=None)
        assert [found.tag for found in listed.tarballs] == ["0a1b2c3d"]
        for argv, content in (
            (("cat", str(tarball)), tarball.read_bytes()),
            (("tail", "-c", "+101", str(tarball)), tarball.read_bytes()[100:]),
        ):
            ended = connections.run(Run(sshd.host(), (argv,)), nothing)
            assert (ended.exit_status, ended.stdout) == (0, content)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    "line",
    [
        "id",
        "cat DIR/other.txt",
        "sh -c id",
        "sh -c 'm=$1$2; id' sh ab cd id",
        "sh -c 'm=' sh ab cd cat DIR/other.txt",
        "sh -c 'm=' sh $(id) cd cat DIR/infra-ci-0a1b2c3d.tar.gz",
        "sh -c 'm=' sh ab cd; cat DIR/other.txt",
        "sh -c 'm=' sh ab",
    ],
)
def test_a_key_that_may_only_read_does_nothing_else(
    sshd: Sshd, connections: Connections, shelf: Path, line: str
) -> None:
    channel = connections._pool.channel(sshd.host())
    channel.exec_command(line.replace("DIR", str(shelf)))
    output = channel.makefile("rb").read()
    assert (channel.recv_exit_status(), b"secret" in output, b"uid=" in output) == (
        126,
        False,
        False,
    )


# Shells of other kinds


@pytest.mark.parametrize("shell", SHELLS)
def test_everything_works_through_a_login_shell_of_another_kind(
    sshd: Sshd, tmp_path: Path, shell: str
) -> None:
    """A forced command stands for the login shell, which sshd takes from the system's users."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} on this machine")
    login = sshd.directory / "login-shell"
    login.write_text(f'#!/bin/sh\nexec {program} -c "$SSH_ORIGINAL_COMMAND"\n')
    login.chmod(0o755)
    hostile = "it's \\ a \\\\ \\' !! $(id) `id` =ls %self ~ \" \n end\n"
    with (
        forced(sshd, str(login)),
        Connections(sshd.settings(tmp_path), environ={"HOME": str(tmp_path)}) as connections,
    ):
        step = Run(sshd.host(), (("printf", "%s", hostile), ("cat",)))
        assert connections.run(step, nothing).stdout.decode() == hostile
        answer = connections.ask(sshd.host(), ("printf", "%s", hostile))
        assert (answer.exit_status, answer.stdout.decode()) == (0, hostile)
        assert connections.ask(sshd.host(), script("exit 9")).exit_status == 9
        lock = tmp_path / "it's a lock"
        with connections.hold(Lock(sshd.host(), str(lock), "me")) as held:
            assert lock.exists()
            assert not held.lost()
        assert not lock.exists()
