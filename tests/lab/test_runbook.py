"""The runbook end to end, on real docker, registries, sshd, containerd, kubelets and API server."""

import json
import time

import pytest

from . import images
from .environment import Environment
from .images import Image
from .roles import VM_DIRECTORY, WORKERS
from .runs import image_ids, run, shelf, stop_registries, twice, verified

TAG = "0a1b2c3d"


def names(tag: str) -> tuple[str, ...]:
    private, forgejo = (
        "registry.viktorbarzin.me:5050/infra-ci",
        "forgejo.viktorbarzin.me/viktor/infra-ci",
    )
    return (f"{private}:{tag}", f"{private}:latest", f"{forgejo}:{tag}", f"{forgejo}:latest")


def snapshot_and_lose_the_registries(environment: Environment) -> Image:
    image = environment.small(TAG)
    run(environment, "snapshot", "--tag", TAG)
    stop_registries(environment)
    return image


def schedulable(environment: Environment) -> dict[str, bool]:
    return {
        name: not node["spec"].get("unschedulable", False)
        for name, node in environment.cluster.nodes().items()
    }


def annotated(environment: Environment) -> list[str]:
    return sorted(
        name
        for name, node in environment.cluster.nodes().items()
        if "breakglass/pinned" in node["metadata"].get("annotations", {})
    )


def test_the_whole_runbook_with_an_image_of_real_size_from_the_push_to_the_restore(
    fresh: Environment,
) -> None:
    tag = images.BIG_TAG
    image = fresh.big(tag)
    saved = twice(fresh, "snapshot", "--tag", tag)
    assert saved.result["image_id"] == image.image_id
    assert (
        saved.result["size_bytes"]
        == fresh.vm.path(f"{VM_DIRECTORY}/infra-ci-{tag}.tar.gz").stat().st_size
        > 100e6
    )
    assert verified(fresh) == [tag]
    stop_registries(fresh)
    fresh.cluster.cordon("k8s-node3")
    before = schedulable(fresh)

    fetched = twice(fresh, "fetch", "k8s-node1")
    assert (fetched.result["source"], fetched.result["via"], fetched.result["sha256"]) == (
        "registry-vm",
        "node",
        saved.result["sha256"],
    )
    twice(fresh, "import", "k8s-node1")
    assert {name: image_ids(fresh, "k8s-node1").get(name) for name in names(tag)} == dict.fromkeys(
        names(tag), image.image_id
    )
    pinned = twice(fresh, "pin", "k8s-node1", "--reason", "total outage", yes=True)
    assert pinned.result == {
        "target": "k8s-node1",
        "cordoned": ["k8s-master", "k8s-node10", "k8s-node2"],
        "left_alone": ["k8s-node3"],
        "joined": [],
    }
    assert [name for name, open_ in schedulable(fresh).items() if open_] == ["k8s-node1"]

    for number, name in enumerate(names(tag)):
        fresh.cluster.start_pod(
            f"pipeline-{number}",
            name,
            pull_policy="IfNotPresent",
            command=("/bin/sh", "-c", "exit 0"),
        )
    for number, name in enumerate(names(tag)):
        pod = fresh.cluster.settle(f"pipeline-{number}")
        deadline = time.monotonic() + 60
        while pod.phase == "Running" and time.monotonic() < deadline:
            pod = fresh.cluster.pod(pod.name)
        assert (pod.phase, pod.node) == ("Succeeded", "k8s-node1"), f"{name}: {pod}"

    restored = twice(fresh, "restore", yes=True)
    assert sorted(restored.result["uncordoned"]) == ["k8s-master", "k8s-node10", "k8s-node2"]
    assert schedulable(fresh) == before
    assert annotated(fresh) == []


@pytest.mark.thorough
def test_fetch_and_import_work_with_the_api_server_down_for_a_name_of_nodes_hosts(
    fresh: Environment,
) -> None:
    image = snapshot_and_lose_the_registries(fresh)
    fresh.api.stop("kube-apiserver")
    settings = fresh.operator.read("/root/breakglass.yaml")
    fresh.operator.write(
        "/root/breakglass.yaml", settings.replace("hosts: {}", "hosts: {k8s-node1: 10.0.20.101}")
    )
    run(fresh, "fetch", "k8s-node1")
    run(fresh, "import", "k8s-node1")
    assert image_ids(fresh, "k8s-node1")[names(TAG)[3]] == image.image_id
    error = run(fresh, "fetch", expect=5).error
    assert "k8s-node1" in error["next"]
    assert run(fresh, "fetch", "10.0.20.103").result["node"] == "10.0.20.103"


@pytest.mark.parametrize(
    "node", ["k8s-node1", *(pytest.param(name, marks=pytest.mark.thorough) for name in WORKERS[1:])]
)
def test_every_version_of_containerd_imports_under_every_name(
    fresh: Environment, node: str
) -> None:
    image = snapshot_and_lose_the_registries(fresh)
    run(fresh, "fetch", node)
    reported = run(fresh, "import", node).result
    assert reported["image_id"] == image.image_id
    assert {name: image_ids(fresh, node).get(name) for name in names(TAG)} == dict.fromkeys(
        names(TAG), image.image_id
    )
    assert run(fresh, "import", node).reported["steps"] == []


def test_the_tarball_is_streamed_through_the_operator_where_the_node_cannot_log_in(
    fresh: Environment,
) -> None:
    snapshot_and_lose_the_registries(fresh)
    fresh.nodes["k8s-node1"].write("/root/.ssh/known_hosts", "", mode=0o600)
    assert (
        run(fresh, "fetch", "k8s-node1", "--via", "node", expect=5).error["kind"] == "unreachable"
    )
    fetched = twice(fresh, "fetch", "k8s-node1")
    assert fetched.result["via"] == "operator"


@pytest.mark.thorough
def test_each_command_shows_before_what_it_does_then_and_does_nothing_the_second_time(
    fresh: Environment,
) -> None:
    fresh.small(TAG)
    twice(fresh, "snapshot", "--tag", TAG)
    twice(fresh, "fetch", "k8s-node2", "--via", "operator")
    twice(fresh, "import", "k8s-node2")
    twice(fresh, "pin", "k8s-node2", yes=True)
    twice(fresh, "restore", yes=True)


def test_a_pin_knows_k8s_node1_from_k8s_node10_by_name_and_by_address(fresh: Environment) -> None:
    snapshot_and_lose_the_registries(fresh)
    run(fresh, "fetch", "k8s-node10")
    run(fresh, "import", "k8s-node10")
    assert run(fresh, "pin", "k8s-node1", "--yes", expect=3).error["kind"] == "refused"
    assert run(fresh, "pin", "10.0.20.110", "--yes").result["target"] == "k8s-node10"
    assert [name for name, open_ in schedulable(fresh).items() if open_] == ["k8s-node10"]
    assert (
        "another pin is in force"
        in run(fresh, "pin", "k8s-node1", "--yes", expect=3).error["message"]
    )
    run(fresh, "restore", "--yes")
    assert all(schedulable(fresh).values())


def test_seven_snapshots_leave_the_newest_five_and_latest_is_the_newest(fresh: Environment) -> None:
    tags = [f"0000000{number}" for number in range(7)]
    removed = []
    for tag in tags:
        fresh.small(tag, tag)
        removed += run(fresh, "snapshot", "--tag", tag).result["removed"]
    assert verified(fresh) == tags[2:]
    assert removed == tags[:2]
    assert shelf(fresh)["infra-ci-latest.tar.gz"] == f"-> infra-ci-{tags[6]}.tar.gz"
    assert len(shelf(fresh)) == 5 * 3 + 1, shelf(fresh)  # three files each, and the link


def test_a_tag_that_was_built_again_replaces_the_tarball(fresh: Environment) -> None:
    first = fresh.small(TAG, "one")
    assert run(fresh, "snapshot", "--tag", TAG).result["image_id"] == first.image_id
    second = fresh.small(TAG, "two")
    assert (
        run(fresh, "snapshot", "--tag", TAG).result["image_id"] == second.image_id != first.image_id
    )
    assert verified(fresh) == [TAG]
    assert "previous" not in json.loads(fresh.vm.read(f"{VM_DIRECTORY}/infra-ci-{TAG}.json"))


@pytest.mark.parametrize(
    ("argv", "exit_code", "sentence"),
    [
        pytest.param(*(("snapshot",), 2, "no tag"), marks=pytest.mark.thorough),
        pytest.param(*(("snapshot", "--tag", "latest"), 2, "latest"), marks=pytest.mark.thorough),
        pytest.param(*(("snapshot", "--tag", ";touch x"), 2, "touch"), marks=pytest.mark.thorough),
        pytest.param(*(("snapshot", "--tag", "0a1b2c3d\n"), 2, "tag"), marks=pytest.mark.thorough),
        pytest.param(*(("fetch", "$(id)"), 2, "id"), marks=pytest.mark.thorough),
        pytest.param(*(("fetch", "--", "-rf"), 2, "-rf"), marks=pytest.mark.thorough),
        (("fetch", "k8s-node7"), 3, "no node k8s-node7"),
        pytest.param(
            *(("fetch", "k8s-node1", "--tag", "nosuchtag"), 3, "nosuchtag"),
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            *(("fetch", "k8s-node1", "--from", "nowhere"), 3, "nowhere"), marks=pytest.mark.thorough
        ),
        pytest.param(
            *(("fetch", "k8s-node1", "--via", "pigeon"), 2, "--via"), marks=pytest.mark.thorough
        ),
        (("import", "k8s-node1"), 3, "has no tarball"),
        (("pin", "k8s-node1", "--yes"), 3, "does not have the image"),
        pytest.param(
            *(("pin", "k8s-node7", "--yes"), 3, "no node k8s-node7"), marks=pytest.mark.thorough
        ),
        pytest.param(
            *(("restore", "k8s-node7", "--yes"), 3, "no node k8s-node7"), marks=pytest.mark.thorough
        ),
        pytest.param(*(("frobnicate",), 2, "frobnicate"), marks=pytest.mark.thorough),
    ],
)
def test_bad_input_gets_one_readable_block_and_changes_nothing(
    fresh: Environment, argv: tuple[str, ...], exit_code: int, sentence: str
) -> None:
    before = fresh.listing()
    error = run(fresh, *argv, expect=exit_code).error
    assert sentence in error["message"]
    assert error["next"]
    assert fresh.listing() == before


def test_a_missing_docker_or_ctr_is_refused_by_name(fresh: Environment) -> None:
    fresh.small(TAG)
    with fresh.vm.hidden("/usr/bin/docker"):
        by_docker = ("snapshot", "--tag", TAG, "--via", "docker")
        assert "docker" in run(fresh, *by_docker, expect=3).error["message"]
        run(fresh, "snapshot", "--tag", TAG)
    run(fresh, "fetch", "k8s-node2")
    with fresh.nodes["k8s-node2"].hidden("/usr/bin/ctr"):
        assert "ctr" in run(fresh, "import", "k8s-node2", expect=3).error["message"]


def test_a_pin_without_a_terminal_and_without_yes_names_the_flag(fresh: Environment) -> None:
    snapshot_and_lose_the_registries(fresh)
    run(fresh, "fetch", "k8s-node1")
    run(fresh, "import", "k8s-node1")
    error = run(fresh, "pin", "k8s-node1", expect=2).error
    assert "--yes" in error["next"]
    assert all(schedulable(fresh).values())


def test_keys_host_keys_sudo_and_identity_providers_that_fail_are_reported_apart(
    fresh: Environment,
) -> None:
    fresh.small(TAG)
    operator = fresh.operator
    good = operator.read("/root/.ssh/known_hosts")
    operator.write("/root/.ssh/known_hosts", "", mode=0o600)
    error = run(fresh, "snapshot", "--tag", TAG, expect=5).error
    assert "SHA256:" in error["message"] + error["next"]
    operator.write("/root/.ssh/known_hosts", good, mode=0o600)
    operator.path("/root/.ssh/id_ed25519").rename(operator.path("/root/.ssh/id_ed25519.away"))
    try:
        assert "key" in run(fresh, "snapshot", "--tag", TAG, expect=5).error["message"]
    finally:
        operator.path("/root/.ssh/id_ed25519.away").rename(operator.path("/root/.ssh/id_ed25519"))
    with fresh.nodes["k8s-node2"].hidden("/etc/sudoers.d/wizard"):
        assert "sudo" in run(fresh, "fetch", "k8s-node2", expect=5).error["message"]
    provider = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "/bin/false",
        "interactiveMode": "Never",
    }
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "dead",
        "contexts": [{"name": "dead", "context": {"cluster": "lab", "user": "dead"}}],
        "clusters": [
            {
                "name": "lab",
                "cluster": {"server": "https://10.0.20.100:6443", "insecure-skip-tls-verify": True},
            }
        ],
        "users": [{"name": "dead", "user": {"exec": provider}}],
    }
    operator.write("/root/.kube/config", json.dumps(kubeconfig), mode=0o600)
    error = run(fresh, "restore", "--yes", expect=5).error
    assert "credential plugin" in error["message"]


def test_check_says_that_the_runbook_is_not_needed_until_no_registry_serves_the_image(
    fresh: Environment,
) -> None:
    fresh.small(TAG)
    reported = run(fresh, "check", expect=10).result
    assert [registry["state"] for registry in reported["registries"]] == ["serves", "serves"]
    run(fresh, "check", "--expect-served", "--tag", TAG)
    fresh.host("forgejo").stop("registry")
    assert run(fresh, "check", expect=11).result["verdict"] == "partly"
    fresh.vm.stop("registry")
    assert run(fresh, "check").result["verdict"] == "start"
