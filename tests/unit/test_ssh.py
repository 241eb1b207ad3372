"""The SSH side against a real sshd on loopback."""

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest

from breakglass import config
from breakglass.errors import Busy, Refused, Unreachable
from breakglass.plan import PROGRAM, Copy, Host, Lock, Run
from breakglass.ports import Writes
from breakglass.ssh import Connections
from breakglass.ssh.ending import END_SECONDS, FED_END_SECONDS, end_seconds
from breakglass.ssh.lock import HeldLock, LockCommand
from breakglass.ssh.wire import BEAT_SECONDS, Stderr, wire
from breakglass.text import printable
from tests.unit.loopback_sshd import Sshd, make_key, running_sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def connections(sshd: Sshd, tmp_path: Path, home: Path) -> Iterator[Connections]:
    with Connections(sshd.settings(tmp_path), environ={"HOME": str(home)}) as made:
        yield made


def script(text: str) -> tuple[str, str, str]:
    return ("sh", "-c", text)


def nothing(_: int) -> None:
    pass


def test_paramiko_is_not_loaded_before_it_is_needed() -> None:
    subprocess.run(
        [sys.executable, "-c", "import sys, breakglass.ssh; sys.exit('paramiko' in sys.modules)"],
        check=True,
    )


def test_it_is_what_apply_asks_for(connections: Connections) -> None:
    writes: Writes = connections
    assert writes is connections


# Commands


def test_a_command_gives_its_output_and_its_status(sshd: Sshd, connections: Connections) -> None:
    result = connections.ask(sshd.host(), script("printf out; printf err >&2; exit 3"))
    assert (result.exit_status, result.stdout, result.stderr) == (3, b"out", b"err")


def test_what_is_sent_is_the_line_of_the_plan(sshd: Sshd, connections: Connections) -> None:
    hostile = "a b'c\"d $(id) `id` ; * \\ é -rf"
    assert connections.ask(sshd.host(), ("printf", "%s", hostile)).stdout.decode() == hostile
    assert wire((("printf", "%s", hostile),), sudo=True).line.startswith("sudo -n printf")


def test_a_pipeline_fails_when_any_part_of_it_fails(sshd: Sshd, connections: Connections) -> None:
    assert connections.ask(sshd.host(), script("exit 4"), ("cat",)).exit_status == 4
    assert connections.ask(sshd.host(), ("echo", "b\na"), ("sort",)).stdout == b"a\nb\n"


def test_a_command_finds_its_input_at_its_end(sshd: Sshd, connections: Connections) -> None:
    assert connections.ask(sshd.host(), ("cat",), quiet_seconds=5).ok


def test_one_connection_serves_every_command(sshd: Sshd, connections: Connections) -> None:
    parents: set[int] = set()
    threads = [
        threading.Thread(target=lambda: parents.add(sshd.session(connections))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(parents) == 1


def test_megabytes_on_both_streams_do_not_deadlock_and_the_end_of_stderr_is_kept(
    sshd: Sshd, connections: Connections
) -> None:
    text = (
        "head -c 8000000 /dev/zero; head -c 8000000 /dev/zero >&2; head -c 1000 /dev/zero; echo "
        "the end >&2"
    )
    result = connections.ask(sshd.host(), script(text))
    assert result.ok
    assert len(result.stdout) == 8001000
    assert result.stderr.endswith(b"the end\n")
    assert len(result.stderr) <= 65536


def test_a_command_without_a_sign_of_life_is_given_up_after_its_deadline(
    sshd: Sshd, connections: Connections
) -> None:
    result = connections.ask(sshd.host(), script("echo x; sleep 20"), quiet_seconds=1.5)
    assert result.exit_status is None
    assert result.stdout == b"x\n"
    assert "1.5 s" in result.lost


def test_a_command_that_gives_signs_of_life_is_not_given_up(
    sshd: Sshd, connections: Connections
) -> None:
    assert connections.ask(
        sshd.host(),
        script("for i in 1 2 3 4 5; do sleep 0.3; echo @progress $i >&2; done"),
        quiet_seconds=1.2,
    ).ok


def test_a_command_killed_by_a_signal_has_an_unknown_outcome(
    sshd: Sshd, connections: Connections
) -> None:
    result = connections.run(Run(sshd.host(), (script("kill -9 $$"),)), nothing)
    assert result.exit_status is None
    assert "signal" in result.lost


def test_a_connection_lost_in_the_middle_is_an_unknown_outcome_and_the_next_command_connects_anew(
    sshd: Sshd, connections: Connections
) -> None:
    session = sshd.session(connections)
    threading.Timer(1.5, os.kill, (session, signal.SIGKILL)).start()
    result = connections.run(Run(sshd.host(), (script("echo begun; sleep 20"),)), nothing)
    assert (result.exit_status, result.stdout) == (None, b"begun\n")
    assert "connection was lost" in result.lost
    assert connections.ask(sshd.host(), ("true",)).ok


def test_a_signal_while_a_host_has_not_even_taken_the_command_is_a_signal(
    sshd: Sshd, connections: Connections
) -> None:
    session = sshd.session(connections)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(session, signal.SIGSTOP)
    alarm = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    try:
        alarm.start()
        with pytest.raises(KeyboardInterrupt):
            connections.ask(sshd.host(), ("true",))
    finally:
        os.kill(session, signal.SIGCONT)
        alarm.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_a_signal_right_after_the_host_took_the_command_waits_for_what_our_script_feeds(
    sshd: Sshd,
    connections: Connections,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = f"sleep {END_SECONDS + 1.0}; : > {tmp_path}/done"
    take = paramiko.Channel.exec_command

    def interrupted(channel: paramiko.Channel, line: str) -> None:
        take(channel, line)
        if command in line:
            raise KeyboardInterrupt

    monkeypatch.setattr(paramiko.Channel, "exec_command", interrupted)
    step = Run(sshd.host(), (("python3", PROGRAM, "lock", "--help"), script(command)))
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt) as raised:
        connections.run(step, nothing)
    assert getattr(raised.value, "__notes__", []) == []
    assert (tmp_path / "done").exists()
    assert time.monotonic() - started > END_SECONDS


@pytest.mark.parametrize(
    ("pipeline", "seconds"),
    [
        ((("sleep", "9"),), END_SECONDS),
        ((("python3", PROGRAM, "lock"),), END_SECONDS),
        ((("ssh", "vm", "cat x"), ("python3", PROGRAM, "archive", "receive")), END_SECONDS),
        ((("python3", PROGRAM, "archive", "canonical"), ("ctr", "import")), FED_END_SECONDS),
    ],
)
def test_what_our_script_feeds_gets_longer_to_end(
    pipeline: tuple[tuple[str, ...], ...], seconds: float
) -> None:
    assert end_seconds(Run(Host("vm", "vm"), pipeline)) == seconds


@pytest.mark.slow
def test_progress_lines_are_progress_and_no_part_of_stderr(
    sshd: Sshd, connections: Connections
) -> None:
    seen: list[int] = []
    text = "echo @progress 5 >&2; echo careful >&2; echo @progress 70 >&2; echo @progress x >&2"
    result = connections.run(Run(sshd.host(), (script(text),)), seen.append)
    assert seen == [5, 70]
    assert result.stderr == b"careful\n@progress x\n"


# Scripts of ours


def test_a_script_travels_on_standard_input_and_its_lifeline_is_what_follows(
    sshd: Sshd, connections: Connections, tmp_path: Path
) -> None:
    started = time.monotonic()
    result = connections.run(
        Run(
            sshd.host(),
            (("python3", "breakglass-remote.pyz", "lock", str(tmp_path / "lock"), "me", "0.5"),),
        ),
        nothing,
    )
    assert (result.exit_status, result.stdout) == (0, b"held\n")
    assert time.monotonic() - started >= 0.5
    assert not (tmp_path / "lock").exists()


def test_in_a_pipeline_a_script_has_its_lifeline_beside_the_pipe(
    sshd: Sshd, connections: Connections, tmp_path: Path
) -> None:
    for pipeline in (
        (
            ("echo", "data"),
            ("python3", "breakglass-remote.pyz", "lock", str(tmp_path / "lock"), "me", "0.5"),
        ),
        (
            ("python3", "breakglass-remote.pyz", "lock", str(tmp_path / "lock"), "me", "0.5"),
            ("cat",),
        ),
    ):
        started = time.monotonic()
        result = connections.run(Run(sshd.host(), pipeline), nothing)
        assert (result.exit_status, result.stdout, result.stderr) == (0, b"held\n", b"")
        assert time.monotonic() - started >= 0.5


def test_a_script_in_a_pipeline_passes_through_sudo_outside_of_bash() -> None:
    line = wire((("cat", "f"), ("python3", "breakglass-remote.pyz", "pulled", "x")), sudo=True).line
    assert line.startswith(
        "sudo -n bash --norc -o pipefail -c 'exec 3<&0; cat f </dev/null | python3 -IS -c "
    )
    assert "\n" not in line


def test_more_than_one_script_in_a_pipeline_is_a_bug() -> None:
    with pytest.raises(ValueError, match="can not carry"):
        wire(
            (
                ("python3", "breakglass-remote.pyz", "lock", "x"),
                ("python3", "breakglass-remote.pyz", "pulled", "x"),
            ),
            sudo=False,
        )


def test_the_heartbeat_comes_often_enough_for_a_script_that_waits_a_minute() -> None:
    assert BEAT_SECONDS * 3 < 60


# sudo


def fake_sudo(sshd: Sshd, text: str) -> None:
    path = sshd.directory / "bin" / "sudo"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_refusal_of_sudo_is_no_failure_of_the_command(
    sshd: Sshd, connections: Connections
) -> None:
    fake_sudo(sshd, "echo 'sudo: a password is required' >&2; exit 1")
    with pytest.raises(
        Unreachable, match=r"sudo -n was refused for .* on node: sudo: a password is required"
    ) as refused:
        connections.ask(sshd.host(sudo=True), ("true",))
    assert "NOPASSWD" in str(refused.value.next_step)
    with (
        pytest.raises(Unreachable, match="sudo"),
        connections.hold(Lock(sshd.host(sudo=True), "/none/lock", "me")),
    ):
        pass


def test_a_missing_command_and_a_nameless_host_are_no_refusal_of_sudo(
    sshd: Sshd, connections: Connections
) -> None:
    fake_sudo(
        sshd,
        (
            "shift; echo 'sudo: unable to resolve host node: Name or service not known' >&2; "
            'echo "sudo: $1: command not found" >&2; exit 1'
        ),
    )
    assert connections.ask(sshd.host(sudo=True), ("docker", "version")).exit_status == 1


def test_a_command_with_sudo_is_run_by_it(
    sshd: Sshd, connections: Connections, tmp_path: Path
) -> None:
    fake_sudo(sshd, '[ "$1" = -n ] || exit 9; shift; RIGHTS=yes exec "$@" 3<&-')
    assert connections.ask(sshd.host(sudo=True), ("printenv", "RIGHTS")).stdout == b"yes\n"
    assert (
        connections.ask(
            sshd.host(sudo=True),
            ("echo",),
            ("python3", "breakglass-remote.pyz", "lock", str(tmp_path / "lock"), "me", "0.2"),
        ).stdout
        == b"held\n"
    )


# Copies


def test_a_copy_streams_from_one_command_into_another(
    sshd: Sshd, connections: Connections, tmp_path: Path
) -> None:
    data = os.urandom(1_000_000) * 20
    (tmp_path / "in").write_bytes(data)
    seen: list[int] = []
    step = Copy(
        Run(sshd.host(), (("cat", str(tmp_path / "in")),)),
        Run(sshd.host(), (script(f"cat > {tmp_path}/out; echo done"),)),
        len(data),
    )
    source, sink = connections.copy(step, seen.append)
    assert source.ok
    assert sink.ok
    assert sink.stdout == b"done\n"
    assert (tmp_path / "out").read_bytes() == data
    assert seen == sorted(seen)
    assert seen[-1] == len(data)


def test_a_sink_that_ends_early_ends_the_source(sshd: Sshd, connections: Connections) -> None:
    source, sink = connections.copy(
        Copy(
            Run(sshd.host(), (("cat", "/dev/zero"),)),
            Run(sshd.host(), (script("head -c 1000 >/dev/null; echo full >&2; exit 5"),)),
        ),
        nothing,
    )
    assert (sink.exit_status, sink.stderr) == (5, b"full\n")
    assert source.exit_status is None
    assert "receiving" in source.lost


def test_a_sink_that_ends_before_the_first_byte_ends_a_silent_source(
    sshd: Sshd, connections: Connections
) -> None:
    source, sink = connections.copy(
        Copy(Run(sshd.host(), (script("sleep 20"),)), Run(sshd.host(), (script("exit 6"),))),
        nothing,
    )
    assert (source.exit_status, sink.exit_status) == (None, 6)


def test_a_source_that_fails_leaves_the_sink_with_a_short_stream(
    sshd: Sshd, connections: Connections
) -> None:
    source, sink = connections.copy(
        Copy(Run(sshd.host(), (script("echo half; exit 2"),)), Run(sshd.host(), (("wc", "-c"),))),
        nothing,
    )
    assert (source.exit_status, sink.exit_status, sink.stdout.strip()) == (2, 0, b"5")


def test_a_source_that_goes_silent_is_given_up_and_named(
    sshd: Sshd, connections: Connections
) -> None:
    source, sink = connections.copy(
        Copy(
            Run(sshd.host(), (script("echo x; sleep 20"),), quiet_seconds=1.5),
            Run(sshd.host(), (("cat",),), quiet_seconds=5),
        ),
        nothing,
    )
    assert source.exit_status is None
    assert "1.5 s" in source.lost
    assert (sink.exit_status, sink.stdout) == (0, b"x\n")


def test_a_sink_that_takes_nothing_is_given_up_and_named(
    sshd: Sshd, connections: Connections
) -> None:
    source, sink = connections.copy(
        Copy(
            Run(sshd.host(), (("cat", "/dev/zero"),), quiet_seconds=5),
            Run(sshd.host(), (script("sleep 20"),), quiet_seconds=1.5),
        ),
        nothing,
    )
    assert (source.exit_status, sink.exit_status) == (None, None)
    assert "1.5 s" in sink.lost
    assert "receiving" in source.lost


def test_a_script_as_the_sink_gets_the_data_after_its_own_text(
    sshd: Sshd, connections: Connections, tmp_path: Path
) -> None:
    step = Copy(
        Run(sshd.host(), (("echo", "x"),)),
        Run(
            sshd.host(),
            (("python3", "breakglass-remote.pyz", "lock", str(tmp_path / "lock"), "me"),),
        ),
    )
    source, sink = connections.copy(step, nothing)
    assert source.ok
    assert (sink.exit_status, sink.stdout) == (0, b"held\n")


# Locks


def test_the_second_to_come_is_reported_who_holds_the_lock_and_since_when(
    sshd: Sshd, connections: Connections, tmp_path: Path, home: Path
) -> None:
    step = Lock(sshd.host(), str(tmp_path / "lock"), "ana@laptop")
    with connections.hold(step) as held:
        assert not held.lost()
        record = json.loads((tmp_path / "lock").read_text())
        assert record["holder"] == "ana@laptop"
        os.pwrite(
            descriptor := os.open(tmp_path / "lock", os.O_WRONLY),
            json.dumps(record | {"at": record["at"] - 200}).encode(),
            0,
        )
        os.close(descriptor)
        with Connections(sshd.settings(tmp_path), environ={"HOME": str(home)}) as second:
            with (
                pytest.raises(Busy, match=r"held by ana@laptop for 3 min") as busy,
                second.hold(Lock(sshd.host(), str(tmp_path / "lock"), "bob")),
            ):
                pass
            assert "60 s" in str(busy.value.next_step)
    with connections.hold(step):
        pass


def test_a_lock_is_respected_by_flock_and_respects_it(
    sshd: Sshd, connections: Connections, tmp_path: Path
) -> None:
    if shutil.which("flock") is None:
        pytest.skip("no flock on this machine")
    path = str(tmp_path / "lock")
    command = ["flock", "--nonblock", "--conflict-exit-code", "9", path, "true"]
    with connections.hold(Lock(sshd.host(), path, "me")):
        assert subprocess.run(command, check=False).returncode == 9
    assert subprocess.run(command, check=False).returncode == 0
    other = subprocess.Popen(["flock", path, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdin is not None
    assert other.stdout is not None
    other.stdin.write(b"x")
    other.stdin.flush()
    assert other.stdout.read(1) == b"x"
    with (
        pytest.raises(Busy, match="another program"),
        connections.hold(Lock(sshd.host(), path, "me")),
    ):
        pass
    other.communicate()


def test_a_lock_is_gone_when_the_connection_is(
    sshd: Sshd, connections: Connections, tmp_path: Path, home: Path
) -> None:
    step = Lock(sshd.host(), str(tmp_path / "lock"), "me")
    first = Connections(sshd.settings(tmp_path), environ={"HOME": str(home)})
    session = sshd.session(first)
    with first.hold(step) as held:
        os.kill(session, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while not held.lost():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        while True:
            try:
                with connections.hold(step):
                    break
            except Busy:
                assert time.monotonic() < deadline
    first.close()


def test_a_lock_is_gone_after_silence(sshd: Sshd, connections: Connections, tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    silent = threading.Thread(
        target=connections.ask,
        args=(sshd.host(), ("python3", "breakglass-remote.pyz", "lock", path, "silent", "1")),
    )
    silent.start()
    deadline = time.monotonic() + 5
    while not Path(path).exists() or not Path(path).read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(Busy, match="silent"), connections.hold(Lock(sshd.host(), path, "me")):
        pass
    silent.join()
    with connections.hold(Lock(sshd.host(), path, "me")):
        pass


def test_a_lock_is_lost_when_this_machine_has_slept_for_too_long(
    sshd: Sshd, connections: Connections, tmp_path: Path
) -> None:
    """Before the host has reported that its command has ended."""
    attempt = LockCommand(
        Lock(sshd.host(), str(tmp_path / "lock"), "me"), connections._pool.channel(sshd.host())
    )
    assert attempt.takes_lock()
    clock = [1000.0]
    lock = HeldLock(attempt.command, clock=lambda: clock[0])
    for seconds, is_lost in ((10, False), (29, False), (31, True), (0, True)):
        clock[0] += seconds
        assert lock.lost() is is_lost
        assert lock.lost() is is_lost
    lock.release()
    attempt.command.channel.close()


def test_a_lock_that_can_not_be_made_is_refused_in_words(
    sshd: Sshd, connections: Connections, tmp_path: Path
) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for path, words in (
        (tmp_path / "none" / "lock", "No such file"),
        (tmp_path / "link", "symbolic link"),
        (tmp_path, "directory"),
    ):
        with (
            pytest.raises(Refused, match=words),
            connections.hold(Lock(sshd.host(), str(path), "me")),
        ):
            pass
    assert (tmp_path / "target").read_text() == "precious"


# Logging in


def reach(
    sshd: Sshd,
    directory: Path,
    environ: dict[str, str],
    ssh_config: str = "GlobalKnownHostsFile none\n",
    host: Host | None = None,
    timeout: float = 5.0,
) -> bool:
    settings = sshd.settings(directory, ssh_config=ssh_config, timeout=timeout)
    with Connections(settings, environ=environ, login_seconds=timeout) as connections:
        return connections.ask(host or sshd.host(), ("true",)).ok


@pytest.mark.parametrize(
    ("kind", "pem"),
    [("ed25519", False), ("ecdsa", False), ("rsa", False), ("ecdsa", True), ("rsa", True)],
)
def test_a_key_from_the_environment_is_enough(
    sshd: Sshd, tmp_path: Path, home: Path, kind: str, pem: bool
) -> None:
    key = make_key(tmp_path / "key", kind, pem=pem)
    with (sshd.directory / "authorized_keys").open("a") as keys:
        keys.write(key.with_name("key.pub").read_text())
    text = key.read_text().strip().replace("\n", "\r\n")
    key.unlink()
    environ = {
        "HOME": str(home),
        "BREAKGLASS_SSH_KEY": text,
        "BREAKGLASS_SSH_KNOWN_HOSTS": sshd.known_hosts(),
    }
    assert reach(sshd, tmp_path, environ)


def test_a_key_from_the_environment_in_pkcs8_is_understood(
    sshd: Sshd, tmp_path: Path, home: Path
) -> None:
    key = make_key(tmp_path / "key", "ecdsa")
    with (sshd.directory / "authorized_keys").open("a") as keys:
        keys.write(key.with_name("key.pub").read_text())
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-N", "", "-m", "PKCS8", "-f", str(key)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    assert "BEGIN PRIVATE KEY" in key.read_text()
    assert reach(sshd, tmp_path, {"HOME": str(home), "BREAKGLASS_SSH_KEY": key.read_text()})


@pytest.mark.parametrize(("pem", "kind"), [(False, "ed25519"), (True, "rsa")])
def test_an_encrypted_key_in_the_environment_is_refused_without_its_text(
    sshd: Sshd, tmp_path: Path, home: Path, pem: bool, kind: str
) -> None:
    text = make_key(tmp_path / "key", kind, passphrase="secret words", pem=pem).read_text()
    with pytest.raises(Unreachable, match="BREAKGLASS_SSH_KEY is encrypted") as refused:
        reach(sshd, tmp_path, {"HOME": str(home), "BREAKGLASS_SSH_KEY": text})
    assert text.splitlines()[2] not in str(refused.value) + str(
        str(refused.value.next_step)
    ) + repr(refused.value.__cause__)


@pytest.mark.parametrize(
    "text",
    [
        "garbage",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0",
        "é",
    ],
)
def test_a_malformed_key_in_the_environment_is_refused_without_its_text(
    sshd: Sshd, tmp_path: Path, home: Path, text: str
) -> None:
    with pytest.raises(Unreachable, match="BREAKGLASS_SSH_KEY is no private key") as refused:
        reach(sshd, tmp_path, {"HOME": str(home), "BREAKGLASS_SSH_KEY": text})
    assert "c2VjcmV0" not in str(refused.value) + repr(refused.value.__cause__)


def test_the_default_identities_are_used(sshd: Sshd, tmp_path: Path, home: Path) -> None:
    shutil.copy(sshd.identity, home / ".ssh" / "id_ed25519")
    assert reach(sshd, tmp_path, {"HOME": str(home)})


def test_without_any_key_it_says_where_it_looked(sshd: Sshd, tmp_path: Path, home: Path) -> None:
    with pytest.raises(Unreachable, match=r"no key to log in to node as .*id_ed25519"):
        reach(sshd, tmp_path, {"HOME": str(home)})


def test_a_private_key_that_others_may_read_is_not_used_and_named(
    sshd: Sshd, tmp_path: Path, home: Path
) -> None:
    shutil.copy(sshd.identity, home / ".ssh" / "id_ed25519")
    (home / ".ssh" / "id_ed25519").chmod(0o644)
    with pytest.raises(Unreachable, match=r"id_ed25519 is open to others \(mode 0644\)") as refused:
        reach(sshd, tmp_path, {"HOME": str(home)})
    assert "chmod 600" in str(refused.value.next_step)


def test_an_encrypted_key_without_an_agent_is_named_with_ssh_add(
    sshd: Sshd, tmp_path: Path, home: Path
) -> None:
    make_key(home / ".ssh" / "id_ed25519", passphrase="secret words")
    with pytest.raises(Unreachable, match="id_ed25519 is encrypted") as refused:
        reach(sshd, tmp_path, {"HOME": str(home)})
    assert f"ssh-add {home}/.ssh/id_ed25519" in str(refused.value.next_step)


@pytest.mark.parametrize(("name", "private"), [("key.pub", "key"), ("key.public.txt", None)])
def test_ssh_add_gets_the_private_part_of_a_public_key_where_its_name_is_known(
    sshd: Sshd, tmp_path: Path, home: Path, name: str, private: str | None
) -> None:
    shutil.copy(f"{sshd.identity}.pub", tmp_path / name)
    with pytest.raises(Unreachable, match="is a public key") as refused:
        reach(sshd, tmp_path, {"HOME": str(home)}, f"IdentityFile {tmp_path / name}\n")
    commands = refused.value.next_step.typed_commands
    assert (f"ssh-add {tmp_path}/key" in commands) == (private is not None)
    assert not [each for each in commands if "public" in each]


def test_a_refused_login_names_every_key_that_was_offered_and_what_the_server_takes(
    sshd: Sshd, tmp_path: Path, home: Path
) -> None:
    wrong = make_key(home / ".ssh" / "id_ecdsa", "ecdsa")
    printed = subprocess.run(
        ["ssh-keygen", "-lf", str(wrong)], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    with pytest.raises(Unreachable, match="accepts publickey") as refused:
        reach(sshd, tmp_path, {"HOME": str(home)})
    assert f"{wrong} ({printed})" in refused.value.message
    assert getpass.getuser() in refused.value.message


def test_too_many_keys_are_called_that(sshd: Sshd, tmp_path: Path, home: Path) -> None:
    lines = "".join(f"IdentityFile {make_key(tmp_path / f'key{number}')}\n" for number in range(8))
    with pytest.raises(Unreachable, match="ended the connection") as refused:
        reach(sshd, tmp_path, {"HOME": str(home)}, lines)
    assert "IdentitiesOnly" in str(refused.value.next_step)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    if shutil.which("ssh-agent") is None:
        pytest.skip("no ssh-agent on this machine")
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    while not path.exists():
        time.sleep(0.02)
    yield str(path)
    process.terminate()
    process.wait()


def add(agent: str, key: Path) -> None:
    subprocess.run(
        ["ssh-add", "-q", str(key)],
        env=os.environ | {"SSH_AUTH_SOCK": agent},
        check=True,
        stderr=subprocess.DEVNULL,
    )


def test_a_key_of_the_agent_is_used(sshd: Sshd, tmp_path: Path, home: Path, agent: str) -> None:
    add(agent, sshd.identity)
    assert reach(sshd, tmp_path, {"HOME": str(home), "SSH_AUTH_SOCK": agent})
    assert reach(sshd, tmp_path, {"HOME": str(home)}, f"IdentityAgent {agent}\n")


def test_with_identities_only_the_agent_offers_those_that_are_named_and_first(
    sshd: Sshd, tmp_path: Path, home: Path, agent: str
) -> None:
    for number in range(8):
        add(agent, make_key(tmp_path / f"key{number}"))
    add(agent, sshd.identity)
    lines = f"IdentityFile {sshd.identity}.pub\nIdentitiesOnly yes\n"
    assert reach(sshd, tmp_path, {"HOME": str(home), "SSH_AUTH_SOCK": agent}, lines)
    assert reach(
        sshd,
        tmp_path,
        {"HOME": str(home), "SSH_AUTH_SOCK": agent},
        f"IdentityFile {sshd.identity}\n",
    )


def test_an_agent_that_is_gone_is_no_obstacle(sshd: Sshd, tmp_path: Path, home: Path) -> None:
    shutil.copy(sshd.identity, home / ".ssh" / "id_ed25519")
    assert reach(sshd, tmp_path, {"HOME": str(home), "SSH_AUTH_SOCK": str(tmp_path / "none")})


# The way there


def test_jump_hosts_are_passed_in_order_each_with_its_own_host_key_check(
    sshd: Sshd, tmp_path: Path, home: Path
) -> None:
    common = (
        f"Host *\n IdentityFile {sshd.identity}\n IdentitiesOnly yes\n Port {sshd.port}\n "
        f"HostName 127.0.0.1\n HostKeyAlias "
    )
    known = "".join(
        f"{name} {sshd.public_key('ed25519')}\n" for name in ("inner", "gate1", "gate2")
    )
    text = (
        "".join(f"Host {name}\n HostKeyAlias {name}\n" for name in ("inner", "gate1", "gate2"))
        + "Host inner\n ProxyJump gate1,gate2\n"
        + common
        + "none\n"
    )
    before = sshd.log.count("Accepted publickey")
    with Connections(
        sshd.settings(tmp_path, ssh_config=text, known_hosts=known), environ={"HOME": str(home)}
    ) as connections:
        assert connections.ask(Host("node", "inner"), ("echo", "through")).stdout == b"through\n"
    assert sshd.log.count("Accepted publickey") == before + 3
    with Connections(
        sshd.settings(tmp_path, ssh_config=text, known_hosts=known.replace("gate2", "gate9")),
        environ={"HOME": str(home)},
    ) as connections:
        with pytest.raises(Unreachable, match=r"host key of gate2 \(gate2\) is not known"):
            connections.ask(Host("node", "inner"), ("true",))


def test_jump_hosts_in_a_circle_are_named(sshd: Sshd, tmp_path: Path, home: Path) -> None:
    text = "Host inner\n ProxyJump gate\nHost gate\n ProxyJump inner\n"
    with pytest.raises(Unreachable, match="circle") as refused:
        reach(sshd, tmp_path, {"HOME": str(home)}, text, Host("node", "inner"))
    command, _ = refused.value.next_step.typed_commands
    assert command.startswith("ssh -G ")
    assert command.endswith(" inner")


def test_a_target_behind_a_jump_host_is_reported_apart_from_the_jump_host(
    sshd: Sshd, tmp_path: Path, home: Path
) -> None:
    with running_sshd_beside(tmp_path, sshd) as second:
        text = (
            f"IdentityFile {sshd.identity}\nIdentitiesOnly yes\nHost inner\n HostName "
            f"127.0.0.1\n Port {sshd.port}\n ProxyJump gate\nHost gate\n HostName 127.0.0.1\n "
            f"Port {second.port}\n"
        )
        known = sshd.known_hosts("ed25519") + second.known_hosts("ed25519")
        with Connections(
            sshd.settings(tmp_path, ssh_config=text, known_hosts=known), environ={"HOME": str(home)}
        ) as connections:
            assert (
                connections.ask(Host("node", "inner"), ("echo", "through")).stdout == b"through\n"
            )
        assert "Accepted publickey" in second.log
        with Connections(
            sshd.settings(tmp_path, ssh_config=text, known_hosts=sshd.known_hosts()),
            environ={"HOME": str(home)},
        ) as connections:
            with pytest.raises(Unreachable, match=r"host key of gate .* is not known"):
                connections.ask(Host("node", "inner"), ("true",))
        with Connections(
            sshd.settings(
                tmp_path,
                ssh_config=text.replace(str(sshd.port), str(closed_port())),
                known_hosts=known,
            ),
            environ={"HOME": str(home)},
        ) as connections:
            with pytest.raises(Unreachable, match="not reached through gate") as refused:
                connections.ask(Host("node", "inner"), ("true",))
            assert f"ssh -F {tmp_path}/ssh_config" in str(refused.value.next_step)


@contextmanager
def running_sshd_beside(directory: Path, first: Sshd) -> Iterator[Sshd]:
    """Another sshd, which accepts the same key."""
    (directory / "second").mkdir()
    with running_sshd(directory / "second") as second:
        shutil.copy(first.directory / "identity.pub", second.directory / "authorized_keys")
        yield second


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_a_proxy_command_is_not_run_and_named(sshd: Sshd, tmp_path: Path, home: Path) -> None:
    with pytest.raises(Unreachable, match="ProxyCommand") as refused:
        reach(sshd, tmp_path, {"HOME": str(home)}, f"ProxyCommand touch {tmp_path}/ran\n")
    assert "ProxyJump" in str(refused.value.next_step)
    assert not (tmp_path / "ran").exists()


def test_a_port_where_nothing_listens_is_reported_as_refused(
    sshd: Sshd, tmp_path: Path, home: Path
) -> None:
    with pytest.raises(
        Unreachable, match=r"node was not reached on port \d+ \(127.0.0.1: refused the connection\)"
    ):
        reach(sshd, tmp_path, {"HOME": str(home)}, host=Host("node", f"127.0.0.1:{closed_port()}"))


def test_a_name_that_does_not_resolve_is_reported_as_that(
    sshd: Sshd, tmp_path: Path, home: Path
) -> None:
    with pytest.raises(Unreachable, match=r"the name no-such-host.invalid was not resolved"):
        reach(sshd, tmp_path, {"HOME": str(home)}, host=Host("node", "no-such-host.invalid"))


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (b"", "within 0.5 s"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200, "not as an SSH server"),
        (b"SSH-2.0-silent\r\n", "key exchange"),
    ],
)
def test_a_port_that_speaks_no_ssh_is_given_up_within_the_deadline(
    sshd: Sshd, tmp_path: Path, home: Path, greeting: bytes, words: str
) -> None:
    given_up = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(greeting)
                given_up.wait(20)

        threading.Thread(target=serve, daemon=True).start()
        started = time.monotonic()
        with pytest.raises(Unreachable, match=words):
            reach(
                sshd,
                tmp_path,
                {"HOME": str(home)},
                host=Host("node", f"127.0.0.1:{server.getsockname()[1]}"),
                timeout=0.5,
            )
        # The server would be silent for 20 s.
        assert time.monotonic() - started < 10
        given_up.set()


def test_a_port_that_never_accepts_costs_no_more_than_the_deadline(
    sshd: Sshd, tmp_path: Path, home: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        # A full backlog drops what comes after it: a silent black hole on loopback.
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        started = time.monotonic()
        with pytest.raises(Unreachable, match=r"did not answer within 0.5 s"):
            reach(
                sshd,
                tmp_path,
                {"HOME": str(home)},
                host=Host("node", f"127.0.0.1:{server.getsockname()[1]}"),
                timeout=0.5,
            )
        assert time.monotonic() - started < 10
        for filler in fillers:
            filler.close()


# Words


def test_text_from_another_host_can_not_move_the_cursor() -> None:
    assert printable(b"a\x1b[31m\xffb\r\x9b\nc") == "a [31m\ufffdb \ufffd\nc"


def test_a_stderr_without_line_ends_does_not_grow() -> None:
    stderr = Stderr(nothing)
    for _ in range(1000):
        stderr.feed(b"x" * 10_000)
    assert len(stderr.text()) == 65536


def test_neither_key_nor_environment_show_in_a_repr(tmp_path: Path) -> None:
    made = Connections(
        config.Ssh(config=tmp_path / "c", known_hosts=tmp_path / "k"),
        environ={"BREAKGLASS_SSH_KEY": "hidden"},
    )
    assert "hidden" not in repr(made)
