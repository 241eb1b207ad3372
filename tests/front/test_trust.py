"""What a stranger wrote decides nothing: a configuration in the current directory, an address in
the API; and COMMAND cannot read the key.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from breakglass.sandbox.environment import VM
from tests.front.blocks import is_reported
from tests.front.rows import REGISTRIES
from tests.front.test_completion import offers
from tests.front.world import World

UNNAMED: dict[str, str | None] = {"BREAKGLASS_CONFIG": None}


@pytest.fixture
def shared(world: World, tmp_path: Path) -> Path:
    """A directory to which others may write, with a configuration that works."""
    directory = tmp_path / "shared"
    directory.mkdir()
    copy = directory / "breakglass.yaml"
    copy.write_bytes(world.environment.config.read_bytes())
    copy.chmod(0o600)
    directory.chmod(0o777)
    return directory


def test_a_configuration_in_a_directory_that_others_may_write_contacts_nothing(
    world: World, shared: Path
) -> None:
    ended = world.run("check", environ=UNNAMED, directory=shared)
    is_reported(ended, 2, f"its directory {shared} can be written by others", "chmod go-w")
    shared.chmod(0o700)
    ended = world.run("check", environ=UNNAMED, directory=shared)
    assert ended.status == 10
    assert f"configuration: {shared}/breakglass.yaml" in ended.stderr, "it was found, not named"
    assert "configuration:" not in world.run("check").stderr, "the operator has named it"


def test_completion_never_reads_a_configuration_of_the_current_directory(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "breakglass.yaml").write_bytes(world.environment.config.read_bytes())
    assert "k8s-node1" in offers(world, "fetch", "k8s-node1")
    run = world.run
    monkeypatch.setattr(
        world,
        "run",
        lambda *words, environ: run(*words, environ={**environ, **UNNAMED}, directory=here),
    )
    assert offers(world, "fetch", "k8s-node1") == []


@pytest.mark.parametrize(
    "address", ["root@registry-vm", "registry-vm", "127.0.0.1:22", "-oProxyCommand=x", "0.0.0.0"]
)
def test_an_address_of_the_api_that_is_no_ip_address_is_named_and_never_used(
    world: World, address: str
) -> None:
    world.environment.api.add_node("k8s-node7", internal_ip=address)
    ended = world.run("fetch", "k8s-node7", "--dry-run")
    assert ended.status == 5, ended.stderr
    assert f"k8s-node7: the API gives it as InternalIP '{address}'" in ended.stderr
    assert "which is no IP address and is not used" in ended.stderr
    assert "getent hosts k8s-node7" in ended.stderr, "it was looked for by its name"


# COMMAND as it is for a user without rights: root may read every process. CAP_LAST_CAP is below 64.
POWERLESS = """
import ctypes, os, sys
for capability in range(64):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
READ_THE_PARENT = """
import os
for name in ("environ", "mem"):
    try:
        os.close(os.open(f"/proc/{os.getppid()}/{name}", os.O_RDONLY))
        print(name, "was opened")
    except OSError as error:
        print(name, "was refused")
"""
PARENT = "import subprocess, sys; subprocess.run(sys.argv[1:])"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/PID/environ")
def test_a_command_cannot_read_the_key_of_its_parent(world: World) -> None:
    command = (sys.executable, "-c", READ_THE_PARENT)

    def output(*argv: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", POWERLESS, *argv],
            env={**world.environment.variables(), "HOME": str(world.directory)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        ).stdout

    assert "environ was opened" in output(sys.executable, "-c", PARENT, *command), (
        "the test sees it"
    )
    world.bring_in("k8s-node1")
    for name in (*REGISTRIES, VM):
        world.environment.stop(name)
    printed = output(sys.executable, "-m", "breakglass", "recover", "--yes", "--", *command)
    assert "environ was refused\nmem was refused\n" in printed
    assert "opened" not in printed
    assert not world.cordoned()
    assert os.environ.get("BREAKGLASS_SSH_KEY") is None, "the sandbox has a key file"
