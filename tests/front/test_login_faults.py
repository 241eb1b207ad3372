"""Keys and host keys: known ones only, reported with fingerprints and what to type, never with a
secret.
"""

import base64
import hashlib
import shlex
import socket
import subprocess
from pathlib import Path

import paramiko
import pytest

from breakglass.sandbox.environment import TAG, VM
from tests.front.blocks import is_reported
from tests.front.rows import configure
from tests.front.world import World

SNAPSHOT = ("snapshot", "--tag", TAG)


def _fingerprint(line: str) -> str:
    return "SHA256:" + base64.b64encode(
        hashlib.sha256(base64.b64decode(line.split()[2])).digest()
    ).decode().rstrip("=")


def _login(world: World, directory: Path, *, key: Path | None, known_hosts: str) -> None:
    """An SSH configuration of its own for this test."""
    (directory / "known_hosts").write_text(known_hosts)
    (directory / "ssh_config").write_text(
        f"Host *\n  IdentityFile {key or directory / 'none'}\n  IdentitiesOnly yes\n  "
        f"IdentityAgent none\n  GlobalKnownHostsFile /dev/null\n"
    )
    configure(
        world,
        "ssh",
        config=str(directory / "ssh_config"),
        known_hosts=str(directory / "known_hosts"),
    )


@pytest.fixture
def known(world: World) -> str:
    return world.environment.known_hosts.read_text()


def test_an_unknown_host_is_refused_with_its_fingerprint_and_how_to_pin_it(
    world: World, tmp_path: Path
) -> None:
    _login(world, tmp_path, key=world.environment.key, known_hosts="")
    line = world.host(VM).known_hosts_line
    is_reported(
        world.run(*SNAPSHOT),
        5,
        "is not known",
        _fingerprint(line),
        line,
        str(tmp_path / "known_hosts"),
    )


@pytest.mark.parametrize(
    "arguments",
    [("check",), ("status",), ("drill", "k8s-node1"), ("recover", "k8s-node1", "--yes")],
    ids=lambda arguments: arguments[0],
)
def test_every_command_that_meets_an_unknown_host_tells_the_line_to_add_and_adds_none(
    world: World, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    for registry in world.environment.registries:
        world.environment.stop(registry)
    _login(world, tmp_path, key=world.environment.key, known_hosts="")
    ended = world.run(*arguments)
    line = world.host(VM if arguments[0] in ("check", "status") else "k8s-node1").known_hosts_line
    said = " ".join((ended.stdout + ended.stderr).split())
    assert _fingerprint(line) in said
    assert f"echo {shlex.quote(line)} >> {tmp_path / 'known_hosts'}" in said
    assert (tmp_path / "known_hosts").read_text() == ""


def test_a_changed_host_key_is_refused_with_both_fingerprints(world: World, tmp_path: Path) -> None:
    name, _, _ = (line := world.host(VM).known_hosts_line).split()
    other = paramiko.ECDSAKey.generate()
    recorded = f"{name} {other.get_name()} {other.get_base64()}"
    _login(world, tmp_path, key=world.environment.key, known_hosts=recorded + "\n")
    is_reported(
        world.run(*SNAPSHOT),
        5,
        "not the one on record",
        _fingerprint(line),
        _fingerprint(recorded),
        "ssh-keygen -R",
    )


def test_without_a_key_it_is_said_where_one_was_looked_for(
    world: World, tmp_path: Path, known: str
) -> None:
    _login(world, tmp_path, key=None, known_hosts=known)
    is_reported(world.run(*SNAPSHOT), 5, "there is no key", str(tmp_path / "none"), "IdentityFile")


def test_an_encrypted_key_without_an_agent_is_named(
    world: World, tmp_path: Path, known: str
) -> None:
    paramiko.ECDSAKey.generate().write_private_key_file(
        str(tmp_path / "locked"), password="secret words"
    )
    _login(world, tmp_path, key=tmp_path / "locked", known_hosts=known)
    block = is_reported(world.run(*SNAPSHOT), 5, str(tmp_path / "locked"), "ssh-add")
    assert "passphrase" in block or "encrypted" in block


def test_a_key_that_the_host_does_not_know_is_named_with_its_fingerprint(
    world: World, tmp_path: Path, known: str
) -> None:
    key = paramiko.ECDSAKey.generate()
    key.write_private_key_file(str(tmp_path / "foreign"))
    _login(world, tmp_path, key=tmp_path / "foreign", known_hosts=known)
    is_reported(world.run(*SNAPSHOT), 5, "was refused", _fingerprint(f"x y {key.get_base64()}"))


def test_key_and_known_hosts_come_from_the_environment_and_show_nowhere(
    world: World, tmp_path: Path, known: str
) -> None:
    _login(world, tmp_path, key=None, known_hosts="")
    secret = world.environment.key.read_text()
    ended = world.run(
        *SNAPSHOT,
        "--verbose",
        environ={"BREAKGLASS_SSH_KEY": secret, "BREAKGLASS_SSH_KNOWN_HOSTS": known},
    )
    assert ended.status == 0, ended.stderr
    assert not [line for line in secret.splitlines() if line in ended.stdout + ended.stderr]
    found = subprocess.run(
        ["grep", "-rlF", secret.splitlines()[1], str(world.environment.root), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    assert found == [str(world.environment.key)]


def test_a_key_from_the_environment_that_is_none_is_reported_without_what_it_holds(
    world: World, tmp_path: Path, known: str
) -> None:
    _login(world, tmp_path, key=None, known_hosts=known)
    environ: dict[str, str | None] = {
        "BREAKGLASS_SSH_KEY": "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n"
    }
    is_reported(world.run(*SNAPSHOT, environ=environ), 5, "BREAKGLASS_SSH_KEY")
    # With --verbose the cause's traceback is shown.
    assert "c2VjcmV0" not in world.run(*SNAPSHOT, "--verbose", environ=environ).stderr


@pytest.mark.slow
def test_a_login_that_takes_long_is_announced(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        configure(world, "registry_vm", ssh=f"root@127.0.0.1:{port}")
        ended = world.run("check")
    assert f"waiting for the login to {VM}" in ended.stderr
    assert f"{VM}: no answer within" in " ".join((ended.stdout + ended.stderr).split())
