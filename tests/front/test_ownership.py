"""Directories that others may change are refused before anything is changed; our own files on a
node are for root only.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from breakglass.sandbox.environment import TAG
from tests.front.rows import REGISTRIES
from tests.front.world import World

NODE, OTHER = "k8s-node1", "k8s-node2"


@contextmanager
def writable_for_all(directory: Path) -> Iterator[None]:
    mode = directory.stat().st_mode & 0o7777
    directory.chmod(0o777)
    try:
        yield
    finally:
        directory.chmod(mode)


def certs(world: World, node: str) -> Path:
    return world.root(node) / "etc/containerd"


@pytest.mark.parametrize("command", ["fetch", "import", "drill"])
@pytest.mark.parametrize("which", ["tarballs", "the parent of certs.d"])
def test_a_node_whose_directory_others_may_change_is_refused(
    world: World, command: str, which: str
) -> None:
    world.fetch(NODE)
    directory = world.shelf(NODE) if which == "tarballs" else certs(world, NODE)
    before = sorted(world.root(NODE).rglob("*"))
    with writable_for_all(directory):
        ended = world.run(command, NODE)
    assert ended.status == 3, ended.stderr
    shown = ended.stdout + ended.stderr
    # The sandbox calls the root of each node by one name.
    path = directory.relative_to(world.root(NODE))
    assert f"/{path} (mode 0777" in shown, shown
    assert "chmod go-w" in shown
    assert sorted(world.root(NODE).rglob("*")) == before


def test_recover_chooses_a_node_whose_directories_others_may_not_change(world: World) -> None:
    for name in REGISTRIES:
        world.environment.stop(name)
    world.fetch(NODE)
    with writable_for_all(world.shelf(NODE)):
        ended = world.run("recover", "--dry-run")
    assert ended.status == 0, ended.stderr
    assert OTHER in ended.stdout, ended.stdout
    assert TAG in ended.stdout


def test_anyway_is_not_for_a_directory_that_others_may_change(world: World) -> None:
    for name in REGISTRIES:
        world.environment.stop(name)
    world.fetch(NODE)
    with writable_for_all(world.shelf(NODE)):
        ended = world.run("recover", NODE, "--anyway", "--yes")
    assert ended.status == 3, ended.stdout + ended.stderr
    assert world.cordoned() == []


def test_snapshot_is_refused_where_others_may_change_the_directory_of_tarballs(
    world: World,
) -> None:
    directory = world.environment.vm_directory
    before = sorted(directory.iterdir())
    with writable_for_all(directory):
        ended = world.run("snapshot", "--tag", "0b1c2d3e")
    assert ended.status == 3, ended.stderr
    assert "chmod go-w" in ended.stderr
    assert sorted(directory.iterdir()) == before


def test_on_a_node_only_root_may_read_what_was_fetched(world: World) -> None:
    world.publish()
    shutil.rmtree(world.shelf(NODE))
    world.done("fetch", NODE)
    files = [path for path in world.shelf(NODE).iterdir() if not path.is_symlink()]
    assert len(files) == 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert world.shelf(NODE).stat().st_mode & 0o777 == 0o700
    on_the_vm = list(world.environment.vm_directory.glob("infra-ci-*"))
    assert {path.stat().st_mode & 0o777 for path in on_the_vm} == {0o644}
