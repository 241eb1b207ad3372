"""Started with less than a process usually has: no standard input, a working directory that is
gone, a locale of ASCII, a user without a name and a home. It works, or it says in one sentence why
not.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from breakglass.sandbox.environment import TAG, VM
from breakglass.ssh import SECRETS
from tests.front.world import World

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}


def _type(
    world: World, line: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a line of sh in which `breakglass` is the program."""
    return subprocess.run(
        ["sh", "-c", f'breakglass() {{ "$PYTHON" -m breakglass "$@"; }}; {line}'],
        env={
            **world.environment.variables(),
            "HOME": str(world.directory),
            "PYTHON": sys.executable,
            **(environ or {}),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_without_standard_input_a_question_is_answered_by_naming_the_flag(world: World) -> None:
    world.bring_in("k8s-node1")
    ended = _type(world, "breakglass pin k8s-node1 <&-")
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr
    assert "there is no terminal to ask on" in ended.stderr
    assert world.cordoned() == []


@pytest.mark.parametrize("closed", [pytest.param("<&-", marks=pytest.mark.slow), "<&- >&- 2>&-"])
def test_without_standard_streams_a_snapshot_is_taken_all_the_same(
    world: World, closed: str
) -> None:
    ended = _type(world, f"breakglass snapshot --tag {TAG} {closed}")
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr
    assert world.done("snapshot", "--tag", TAG)["changed"] is False


GONE = 'mkdir "$HOME/gone" && cd "$HOME/gone" && rmdir "$HOME/gone"'


def test_in_a_deleted_directory_it_works_with_a_configuration_that_is_elsewhere(
    world: World,
) -> None:
    ended = _type(world, f"{GONE}; breakglass check")
    assert (ended.returncode, "Traceback" in ended.stderr) == (10, False), ended.stderr


def test_in_a_deleted_directory_it_says_that_no_configuration_is_there(world: World) -> None:
    ended = _type(world, f"{GONE}; breakglass --config mine.yaml check")
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith(
        "breakglass: usage: --config names '(the deleted working directory)/mine.yaml'"
    )


def test_in_a_locale_of_ascii_a_reason_with_an_umlaut_arrives_whole(world: World) -> None:
    world.bring_in("k8s-node1")
    ended = _type(world, "breakglass pin k8s-node1 --yes --reason 'Störung'", ASCII)
    assert (ended.returncode, ended.stdout.isascii()) == (0, True), ended.stderr
    status = _type(world, "breakglass status", ASCII)
    assert (status.returncode, r"St\xf6rung" in status.stdout) == (0, True), status.stderr
    (pin,) = {
        node["metadata"]["annotations"]["breakglass/pinned"]
        for name, node in world.nodes().items()
        if name in world.cordoned()
    }
    assert json.loads(pin)["reason"] == "Störung"


def test_in_a_locale_of_ascii_a_name_with_an_umlaut_is_refused_in_a_sentence(world: World) -> None:
    ended = _type(world, "breakglass pin nöde; breakglass --config /nö.yaml check", ASCII)
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr
    assert r"'n\xf6de' is not a node's name" in ended.stderr
    assert r"--config names '/n\xf6.yaml'" in ended.stderr


# The first run imports all that the second needs: a user whom the system does not know may not be
# able to read the directory that it lies in.
AS_NOBODY = """
import os, sys
from breakglass.cli.main import run
run(sys.argv[1:])
os.setgroups([])
os.setgid(54321)
os.setuid(54321)
os.chdir("/")
print("-- as nobody", flush=True)
print("-- as nobody", file=sys.stderr, flush=True)
raise SystemExit(run(sys.argv[1:]))
"""


@pytest.fixture
def readable() -> Iterator[Path]:
    """A directory that everybody can read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _as_nobody(world: World, directory: Path, *, user: str) -> subprocess.CompletedProcess[str]:
    """`check` by a user without a name and without HOME, who can ask the registries and the VM."""
    config = directory / "breakglass.yaml"
    reported = json.loads(world.environment.config.read_bytes())
    vm = reported["registry_vm"] | {"ssh": user + reported["registry_vm"]["ssh"].rpartition("@")[2]}
    kept = {key: reported[key] for key in ("image", "registries")}
    config.write_text(json.dumps(kept | {"registry_vm": vm}), encoding="utf-8")
    config.chmod(0o644)
    key, known_hosts = SECRETS
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, "--config", str(config), "check"],
        env={
            "PATH": os.environ["PATH"],
            key: (world.environment.root / "id_ecdsa").read_text(),
            known_hosts: (world.environment.root / "known_hosts").read_text(),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


only_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become a user whom the system does not know"
)


@only_root
def test_a_user_without_a_name_logs_in_under_the_one_in_the_configuration(
    world: World, readable: Path
) -> None:
    ended = _as_nobody(world, readable, user="root@")
    assert (ended.returncode, "Traceback" in ended.stderr) == (10, False), ended.stderr
    assert f"{VM}: no verified tarballs" in ended.stdout.partition("-- as nobody")[2]


@only_root
def test_a_user_without_a_name_is_asked_for_the_one_to_log_in_as(
    world: World, readable: Path
) -> None:
    ended = _as_nobody(world, readable, user="")
    said = ended.stderr.partition("-- as nobody\n")[2]
    assert (ended.returncode, "Traceback" in said) == (2, False), ended.stderr
    assert "nobody is named to log in as on 127.0.0.1" in said
    assert "  Next:  name one in the configuration: user@host" in said
