"""snapshot where parts of the environment are missing: a companion, the VM's disk."""

import json
import shutil
from typing import Any

import pytest

from breakglass.sandbox.environment import TAG, VM
from tests.front.blocks import is_reported
from tests.front.rows import OTHER_TAG, configure
from tests.front.world import World


def record(world: World, tag: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (world.environment.vm_directory / f"infra-ci-{tag}.json").read_text("utf-8")
    )
    return found


@pytest.mark.slow
def test_a_companion_whose_registry_is_down_comes_from_the_last_tarball_or_is_left_out(
    world: World,
) -> None:
    environment = world.environment
    authority = environment.registries["forgejo"].authority
    environment.push("tools", content="companion")
    companion, other = (f"{authority}/viktor/infra-ci:{tag}" for tag in ("tools", "never-saved"))
    configure(world, "image", companions=[companion])
    world.done("snapshot", "--tag", TAG)
    environment.push(OTHER_TAG)
    environment.stop("forgejo")
    # docker has no copy of it any more: the tarball has the only one.
    shutil.rmtree(world.root(VM) / "var/lib/docker")
    configure(world, "image", companions=[companion, other])
    ended = world.run("snapshot", "--tag", OTHER_TAG)
    assert ended.status == 0, ended.stderr
    shown = " ".join((ended.stdout + ended.stderr).split())
    assert f"{companion} cannot be had now" in shown
    assert f"the copy in infra-ci-{TAG}.tar.gz is taken" in shown
    assert f"{other} cannot be had now" in shown
    assert record(world, OTHER_TAG)["companions"] == record(world, TAG)["companions"]
    assert list(record(world, TAG)["companions"]) == [companion]


def test_a_vm_whose_disk_is_not_mounted_is_refused_and_counts_on_once_somebody_makes_the_directory(
    world: World,
) -> None:
    world.publish()
    directory = world.environment.vm_directory
    shutil.rmtree(directory)
    is_reported(world.run("snapshot", "--tag", TAG), 3, "synology has 1", "findmnt", "mkdir -p")
    assert not directory.exists()
    directory.mkdir()
    world.done("snapshot", "--tag", TAG)
    assert record(world, TAG)["sequence"] == 2


def test_what_docker_pulled_for_a_tag_goes_with_its_tarball(world: World) -> None:
    world.done("snapshot", "--tag", TAG, "--via", "docker")
    world.environment.push(OTHER_TAG)
    configure(world, "registry_vm", keep=1)
    result = world.done("snapshot", "--tag", OTHER_TAG, "--via", "docker")["result"]
    assert (result["removed"], result["via"]) == ([TAG], "docker")
    store = json.loads((world.root(VM) / "var/lib/docker/state.json").read_text("utf-8"))
    assert [name.rpartition(":")[2] for name in store["tags"]] == [OTHER_TAG]
