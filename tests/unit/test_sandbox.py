"""The sandbox's hosts and what holds them together, over real SSH."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from breakglass import config
from breakglass.sandbox.environment import NODES, Environment, raise_environment
from breakglass.sandbox.ports import ADDRESS
from tests.unit.sandbox_client import (
    SSH,
    Ended,
    connection,
    on_channel,
    openssh,
    ssh_argv,
    with_paramiko,
)

Client = Callable[..., Ended]
needs_ssh = pytest.mark.skipif(SSH is None, reason="needs the ssh client")


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    with raise_environment() as raised:
        yield raised


@pytest.fixture(
    params=[pytest.param(openssh, marks=needs_ssh), with_paramiko], ids=["openssh", "paramiko"]
)
def client(request: pytest.FixtureRequest) -> Client:
    chosen: Client = request.param
    return chosen


def test_a_command_gives_its_status_and_keeps_its_two_outputs_apart(
    environment: Environment, client: Client
) -> None:
    assert client(environment, "registry-vm", "echo out; echo err >&2; exit 7") == Ended(
        7, b"out\n", b"err\n"
    )


def test_a_very_short_command_is_never_mistaken_for_a_refused_one(environment: Environment) -> None:
    with connection(environment, "registry-vm") as transport:
        assert {on_channel(transport, "exit 3").status for _ in range(30)} == {3}


def test_standard_input_ends_where_the_client_ends_it_and_output_goes_on(
    environment: Environment, client: Client
) -> None:
    assert client(environment, "k8s-node1", "cat; sleep 0.1; echo end", b"text\n") == Ended(
        0, b"text\nend\n", b""
    )


def test_large_streams_pass_whole_in_both_directions_at_once(
    environment: Environment, client: Client
) -> None:
    data = os.urandom(1 << 20) * 16
    ended = client(environment, "registry-vm", "tee /dev/stderr", data)
    assert [hashlib.sha256(stream).digest() for stream in (ended.stdout, ended.stderr)] == [
        hashlib.sha256(data).digest()
    ] * 2


def test_a_command_that_reads_nothing_does_not_hang_on_what_it_is_sent(
    environment: Environment, client: Client
) -> None:
    assert client(environment, "registry-vm", "echo done", bytes(16 << 20)).stdout == b"done\n"


def test_death_by_a_signal_is_reported_as_a_signal(
    environment: Environment, client: Client
) -> None:
    # OpenSSH's client has 255 for it, paramiko's -1.
    assert client(environment, "registry-vm", "kill -9 $$").status in (255, -1)


def test_many_commands_run_at_once_over_one_connection_and_over_several(
    environment: Environment, tmp_path: Path
) -> None:
    seen: list[bytes] = []
    # Each command ends well only when all of them have begun.
    wait = "for _ in $(seq 300); do [ $(ls | wc -l) -ge 16 ] && exit; sleep 0.1; done; exit 1"

    def ask(transport: paramiko.Transport, number: int) -> None:
        line = f"cd {tmp_path} && touch {number} && echo {number} && {wait}"
        ended = on_channel(transport, line)
        seen.append(ended.stdout if ended.status == 0 else b"too few at once\n")

    with connection(environment, "k8s-node1") as one, connection(environment, "k8s-node1") as other:
        threads = [
            threading.Thread(target=ask, args=((one, other)[number % 2], number))
            for number in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sorted(seen) == sorted(b"%d\n" % number for number in range(16))


def test_only_the_right_user_with_the_right_key_comes_in(environment: Environment) -> None:
    for refused in ({"user": "somebody"}, {"key": paramiko.ECDSAKey.generate()}):
        with (
            pytest.raises(paramiko.AuthenticationException),
            connection(environment, "registry-vm", **refused),
        ):
            pass


def test_there_is_no_sftp_and_no_forwarding(environment: Environment) -> None:
    with connection(environment, "synology") as transport:
        with pytest.raises(paramiko.SSHException):
            transport.open_session().invoke_subsystem("sftp")
        with pytest.raises(paramiko.ChannelException):
            transport.open_channel(
                "direct-tcpip",
                (ADDRESS, environment.registries["forgejo"].port),
                (ADDRESS, 1),
                timeout=5,
            )


def test_the_nas_has_six_commands(environment: Environment, client: Client) -> None:
    ended = client(
        environment,
        "synology",
        (
            "for c in sh cat ls wc tail readlink rm cp python3 bash gzip sudo docker ctr; do "
            'command -v "$c" >/dev/null && echo "$c"; done'
        ),
    )
    assert ended.stdout.split() == [b"sh", b"cat", b"ls", b"wc", b"tail", b"readlink"]


def test_a_client_that_goes_away_ends_the_input_of_a_command_and_not_the_command(
    environment: Environment,
) -> None:
    host = environment.hosts["registry-vm"]
    marker = Path(host.environ["HOME"]) / "went-on"
    with connection(environment, "registry-vm") as transport:
        channel = transport.open_session()
        channel.exec_command("echo started; cat; sleep 0.3; echo went on > went-on")
        assert channel.recv(100) == b"started\n"
    wait_for(marker.exists)


def test_the_lock_of_a_client_that_goes_away_is_free_again(environment: Environment) -> None:
    with connection(environment, "k8s-node2") as holder:
        channel = holder.open_session()
        channel.exec_command("flock --nonblock lock sh -c 'echo held; cat'")
        assert channel.recv(100) == b"held\n"
        assert with_paramiko(environment, "k8s-node2", "flock --nonblock lock true").status == 1
    wait_for(
        lambda: with_paramiko(environment, "k8s-node2", "flock --nonblock lock true").status == 0
    )


def test_a_host_without_power_is_gone_with_its_processes_and_comes_back_with_its_files(
    environment: Environment,
) -> None:
    host = environment.hosts["k8s-node3"]
    port = host.port
    with_paramiko(
        environment, "k8s-node3", "setsid -f sleep 60 >/dev/null 2>&1 </dev/null; echo kept > kept"
    )
    with connection(environment, "k8s-node3") as transport:
        channel = transport.open_session()
        channel.exec_command("echo started; sleep 60")
        assert channel.recv(100) == b"started\n"
        wait_for(
            lambda: len(processes_of(host.root)) >= 2
        )  # between fork and exec a process has no environment to be known by
        host.stop()
        assert channel.recv_exit_status() == -1
    wait_for(lambda: processes_of(host.root) == [])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ADDRESS, port), timeout=5)
    host.start()
    assert host.port == port
    assert with_paramiko(environment, "k8s-node3", "cat kept").stdout == b"kept\n"


def test_a_broken_connection_leaves_the_command_running(environment: Environment) -> None:
    with connection(environment, "k8s-node2") as transport:
        channel = transport.open_session()
        channel.exec_command("echo started; sleep 0.5; echo went on > after-cut")
        assert channel.recv(100) == b"started\n"
        environment.hosts["k8s-node2"].cut()
        assert channel.recv_exit_status() == -1
    wait_for((Path(environment.hosts["k8s-node2"].environ["HOME"]) / "after-cut").exists)


def test_the_same_path_means_a_file_of_its_own_on_every_node(
    environment: Environment, client: Client
) -> None:
    path = f"{environment.this_node}/var/breakglass/name"
    for node in NODES:
        assert (
            client(environment, node, f"hostname > {path}; readlink -f {path}").stdout
            == f"{path}\n".encode()
        )
    assert {
        node: (environment.hosts[node].root / "var/breakglass/name").read_text() for node in NODES
    } == {node: f"{node}\n" for node in NODES}


@needs_ssh
def test_root_on_a_node_logs_in_to_the_vm_with_the_known_key_only(environment: Environment) -> None:
    vm = environment.hosts["registry-vm"]
    command = (
        f"sudo -n ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -p {vm.port} -- "
        f"root@{ADDRESS} hostname"
    )
    assert openssh(environment, "k8s-node1", command).stdout == b"registry-vm\n"


@needs_ssh
def test_openssh_refuses_a_host_whose_key_is_not_the_known_one(
    environment: Environment, tmp_path: Path
) -> None:
    lines = [line.split() for line in environment.known_hosts.read_text().splitlines()]
    (tmp_path / "known_hosts").write_text(
        "".join(f"{line[0]} {line[1]} {lines[at - 1][2]}\n" for at, line in enumerate(lines))
    )
    ended = subprocess.run(
        [
            *ssh_argv(
                environment, "registry-vm", "-o", f"UserKnownHostsFile={tmp_path}/known_hosts"
            ),
            "true",
        ],
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, b"REMOTE HOST IDENTIFICATION HAS CHANGED" in ended.stderr) == (
        255,
        True,
    )


def test_a_host_can_be_slow_to_let_a_client_in_and_print_before_each_command(
    environment: Environment, client: Client
) -> None:
    host = environment.hosts["k8s-node2"]
    begun = time.monotonic()
    try:
        environment.set("k8s-node2", "login", "1")
        environment.set("k8s-node2", "banner", 'You have "new" mail; $(id)')
        ended = client(environment, "k8s-node2", "cat; exit 3", b"text\n")
    finally:
        host.login_seconds, host.banner = 0, ""
    assert ended == Ended(3, b'You have "new" mail; $(id)\ntext\n', b"")
    assert time.monotonic() - begun > 1


def test_its_configuration_is_valid_and_names_every_part(environment: Environment) -> None:
    loaded = config.load(environment.config)
    assert set(loaded.nodes.hosts) == set(NODES)
    assert {registry.name: registry.url for registry in loaded.registries} == {
        name: registry.url for name, registry in environment.registries.items()
    }
    assert Path(loaded.registry_vm.directory) == environment.vm_directory


def test_the_keys_of_whoever_starts_it_stay_outside(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSH_AUTH_SOCK", "BREAKGLASS_SSH_KEY", "BREAKGLASS_SSH_KNOWN_HOSTS"):
        monkeypatch.setenv(name, "mine")
    assert "mine" not in environment.variables().values()


def test_it_is_raised_and_gone_with_all_its_processes() -> None:
    with raise_environment() as raised:
        with_paramiko(raised, "k8s-node1", "setsid -f sleep 60 >/dev/null 2>&1 </dev/null")
        assert set(raised.status().values()) == {"up"}
        assert "simulated" in raised.banner
    assert not raised.root.exists()
    wait_for(lambda: processes_of(raised.root) == [])


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGHUP, signal.SIGINT],
    ids=lambda number: signal.Signals(number).name,
)
def test_a_signal_ends_it_with_its_files_and_its_processes(number: int) -> None:
    program = """
import time
from breakglass.sandbox.environment import raise_environment
with raise_environment() as environment:
    environment.run("k8s-node1", ["sh", "-c", "setsid -f sleep 60 >/dev/null 2>&1 </dev/null"])
    print(environment.root, flush=True)
    time.sleep(30)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout
        root = Path(process.stdout.readline().strip())
        wait_for(lambda: len(processes_of(root)) == 1)
        process.send_signal(number)
        assert process.wait(10) != 0
    assert not root.exists()
    wait_for(lambda: processes_of(root) == [])


def processes_of(root: Path) -> list[str]:
    """The command lines of the processes that were started on hosts below this directory."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if f"BREAKGLASS_SANDBOX_HOST={root}".encode() in (directory / "environ").read_bytes():
                found.append((directory / "cmdline").read_text())
        except OSError:
            continue
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 10 seconds"
        time.sleep(0.02)
