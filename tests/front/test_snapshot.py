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
    # docker never had a copy of it: the tarball has the only one.
    assert not (world.root(VM) / "var/lib/docker").exists()
    configure(world, "image", companions=[companion, other])
    ended = world.run("snapshot", "--tag", OTHER_TAG)
    assert ended.status == 0, ended.stderr
    shown = " ".join((ended.stdout + ended.stderr).split())
    assert f"{companion} cannot be had now" in shown
    assert f"the copy in infra-ci-{TAG}.tar.gz is taken" in shown
    assert f"{other} cannot be had now" in shown
    assert record(world, OTHER_TAG)["companions"] == record(world, TAG)["companions"]
    assert list(record(world, TAG)["companions"]) == [companion]


def test_a_vm_without_docker_has_the_image_from_the_registry_with_its_digest(world: World) -> None:
    with world.without_program(VM, "docker"):
        assert world.done("snapshot", "--tag", TAG)["result"]["via"] == "registry"
    (digest,) = record(world, TAG)["digests"].values()
    served = world.run("check", "--tag", TAG, "--json").reported["result"]["registries"]
    assert digest in [each["digest"] for each in served]
    # docker's tarball of the same image would be no other one.
    assert world.done("snapshot", "--tag", TAG, "--via", "docker")["steps"] == []


def test_without_docker_a_companion_that_cannot_be_had_is_left_out(world: World) -> None:
    environment = world.environment
    environment.push("tools", content="companion")
    companion = f"{environment.registries['forgejo'].authority}/viktor/infra-ci:tools"
    configure(world, "image", companions=[companion])
    environment.stop("forgejo")
    with world.without_program(VM, "docker"):
        ended = world.run("snapshot", "--tag", TAG)
    assert ended.status == 0, ended.stderr
    shown = " ".join((ended.stdout + ended.stderr).split())
    assert f"{companion} cannot be had now" in shown
    assert record(world, TAG)["companions"] == {}


KEPT_ELSEWHERE = (
    'case "$*" in *"archive pull"*) echo "@no-login a helper keeps its login" >&2; exit 3;; '
    'esac; exec $REAL "$@"'
)
"""As where a credential helper of docker keeps the login."""


def test_where_the_vm_cannot_read_the_registry_docker_does_it_and_the_reason_is_shown(
    world: World,
) -> None:
    with world.program(VM, "python3", KEPT_ELSEWHERE):
        ended = world.run("snapshot", "--tag", TAG)
        assert ended.status == 0, ended.stderr
        shown = " ".join((ended.stdout + ended.stderr).split())
        assert "cannot read from the registry itself, so docker pulls and saves" in shown
        assert "a helper keeps its login" in shown
        assert "docker pull" in shown
        world.environment.push(OTHER_TAG)
        by_registry = ("snapshot", "--tag", OTHER_TAG, "--via", "registry")
        is_reported(world.run(*by_registry), 3, "a helper keeps its login", "--via docker")


def test_a_registry_that_wants_a_login_is_reported_with_the_command_that_logs_in(
    world: World,
) -> None:
    world.environment.registries["registry-private"].refuses_with = 401
    is_reported(world.run("snapshot", "--tag", TAG), 5, "HTTP 401", "ssh -t ", "docker login")
    assert not list(world.environment.vm_directory.glob("*.tar.gz"))


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
