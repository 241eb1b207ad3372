"""`sandbox set` and `sandbox cluster` make the cases of real clusters, and breakglass meets them as
it would there.
"""

import subprocess

import pytest

from breakglass.sandbox.environment import NODES, TAG
from breakglass.sandbox.image import OTHER_ARCHITECTURE
from tests.front.blocks import is_reported
from tests.front.rows import REGISTRIES
from tests.front.world import World

NODE = "k8s-node1"


def sandbox(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sandbox", *arguments],
        env=world.environment.variables(),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def unfit(world: World) -> list[str]:
    """Why the node does not fit, as `status` reports it."""
    for node in world.run("status", "--json").reported["result"]["nodes"]:
        if node["name"] == NODE:
            return list(node["unfit"])
    raise AssertionError(f"status has no {NODE}")


@pytest.mark.parametrize(
    ("setting", "value", "reason", "back"),
    [
        ("taint", "dedicated=gpu:NoSchedule", "has the taint dedicated", "dedicated-"),
        (
            "taint",
            "node-role.kubernetes.io/control-plane:NoSchedule",
            "has the taint node-role",
            None,
        ),
        ("condition", "MemoryPressure=True", "MemoryPressure", "MemoryPressure=False"),
        ("condition", "Ready=False", "not Ready", "Ready=True"),
        ("runtime", "docker://24.0.7", "docker 24.0.7, not containerd", "containerd://2.4.2"),
        ("pods", "0", "may hold no pods", "110"),
    ],
)
def test_what_a_node_reports_can_be_set_and_decides_whether_it_fits(
    world: World, setting: str, value: str, reason: str, back: str | None
) -> None:
    assert unfit(world) == []
    assert sandbox(world, "set", NODE, setting, value).returncode == 0
    (found,) = unfit(world)
    assert reason in found
    if back is not None:
        assert sandbox(world, "set", NODE, setting, back).returncode == 0
        assert unfit(world) == []


def test_a_label_can_be_set_and_removed(world: World) -> None:
    for value, expected in (("role=ci", "ci"), ("role-", None)):
        assert sandbox(world, "set", NODE, "label", value).returncode == 0
        assert world.nodes()[NODE]["metadata"]["labels"].get("role") == expected


def test_a_second_taint_leaves_the_first_and_the_same_key_replaces_it(world: World) -> None:
    for value in ("a=1:NoSchedule", "b:NoExecute", "a=2:NoExecute"):
        assert sandbox(world, "set", NODE, "taint", value).returncode == 0
    assert world.nodes()[NODE]["spec"]["taints"] == [
        {"key": "b", "effect": "NoExecute"},
        {"key": "a", "effect": "NoExecute", "value": "2"},
    ]


def test_an_index_can_lose_the_image_for_one_architecture_and_pods_start_all_the_same(
    world: World,
) -> None:
    deleted = sandbox(world, "break", "forgejo", TAG, OTHER_ARCHITECTURE).stdout
    assert deleted.startswith("deleted sha256:")
    ended = world.run("check", "--tag", TAG)
    assert ended.status == 10
    assert "lost, but not needed for linux" in " ".join(ended.stdout.split())


def test_another_cluster_with_the_same_node_names_is_refused(world: World) -> None:
    world.bring_in(NODE)
    for name in REGISTRIES:
        world.environment.stop(name)
    assert sandbox(world, "cluster", "another").returncode == 0
    assert [node["name"] for node in world.run("status", "--json").reported["result"]["nodes"]] == [
        *sorted(NODES)
    ]
    is_reported(world.run("pin", NODE, "--yes"), 3, "cluster another (http://127.0.0.1:")
    assert sandbox(world, "cluster", "sandbox").returncode == 0
    assert world.run("pin", NODE, "--yes").status == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("set", NODE, "colour", "red"), "nothing is called 'colour'"),
        (("set", NODE, "taint", "gpu"), "'gpu' is no taint"),
        (("set", NODE, "taint", "gpu=1:Sometimes"), "is no taint"),
        (("set", NODE, "label", "role"), "'role' is no label"),
        (("set", NODE, "condition", "MemoryPressure"), "is no condition"),
        (("set", NODE, "runtime", "docker"), "is no runtime"),
        (("set", NODE, "pods", "many"), "is no pods"),
        (("set", "registry-vm", "taint", "a:NoSchedule"), 'nodes "registry-vm" not found'),
        (("set", NODE, "login", "soon"), "not a number of seconds"),
        (("set", "nowhere", "banner", "hello"), "no host 'nowhere'"),
        (("cluster", "third"), "no cluster 'third'"),
        (("break", "forgejo", TAG, "s390x"), "lists no image for s390x"),
    ],
)
def test_what_cannot_be_set_is_refused_with_what_there_is(
    world: World, arguments: tuple[str, ...], words: str
) -> None:
    before = world.nodes()
    ended = sandbox(world, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert words in ended.stderr
    assert world.nodes() == before


@pytest.mark.slow
def test_a_login_that_takes_longer_than_connecting_may_is_waited_for(world: World) -> None:
    assert sandbox(world, "set", "synology", "login", "6").returncode == 0
    assert "synology: no verified tarballs" in world.run("check").stdout


def test_a_shell_that_prints_something_before_each_command_is_understood(world: World) -> None:
    for host in ("registry-vm", NODE):
        assert sandbox(world, "set", host, "banner", "You have new mail.").returncode == 0
    assert world.done("snapshot", "--tag", TAG)["changed"] is True
    assert world.done("fetch", NODE)["changed"] is True
    assert world.done("import", NODE)["result"]["names"]
