"""Whatever COMMAND does to the cluster or to breakglass: what the run has changed is undone."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import breakglass
from breakglass.sandbox.environment import VM
from tests.front.rows import REGISTRIES
from tests.front.world import World

REMOVES = """
import json, os, sys, urllib.request
server = json.load(open(os.environ["KUBECONFIG"]))["clusters"][0]["cluster"]["server"]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for node in sys.argv[1:]:
    request = urllib.request.Request(
        server + "/api/v1/nodes/" + node,
        data=b'{"metadata":{"annotations":{"breakglass/pinned":null}}}',
        headers={"Content-Type": "application/merge-patch+json", "User-Agent": "kubectl/v1"},
        method="PATCH",
    )
    opener.open(request).close()
sys.exit(3)
"""
PROGRAM = "import sys; from breakglass.cli.main import run; sys.exit(run(sys.argv[1:]))"


@pytest.fixture
def outage(world: World) -> World:
    world.bring_in("k8s-node1")
    for name in (*REGISTRIES, VM):
        world.environment.stop(name)
    return world


def is_as_before(world: World) -> bool:
    annotations = [node["metadata"].get("annotations") for node in world.nodes().values()]
    return (world.cordoned(), any(annotations), world.responders()) == ([], False, {})


@pytest.mark.slow
def test_a_cordon_is_undone_though_somebody_removed_our_annotation_while_the_command_ran(
    outage: World,
) -> None:
    command = (sys.executable, "-c", REMOVES, "k8s-node10", "k8s-node3")
    ended = outage.run("recover", "--yes", "--", *command)
    assert ended.status == 3, ended.stderr
    assert is_as_before(outage)


@pytest.mark.slow
def test_everything_is_undone_though_breakglass_and_its_libraries_are_removed_meanwhile(
    outage: World, tmp_path: Path
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        (library / path.name).symlink_to(path)
    shutil.copytree(Path(breakglass.__file__).parent, library / "breakglass")
    environ = {
        **os.environ,
        **outage.environment.variables(),
        "HOME": str(tmp_path),
        "PYTHONPATH": str(library),
        "NO_COLOR": "1",
    }
    # Without site, so that nothing is found but what COMMAND removes, and the standard library.
    argv = [sys.executable, "-S", "-c", PROGRAM, "recover", "--yes", "--"]
    ended = subprocess.run(
        [*argv, "sh", "-c", f"mv {library} {tmp_path}/gone; exit 3"],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert ended.returncode == 3, ended.stderr
    assert "Traceback" not in ended.stderr
    assert is_as_before(outage)
