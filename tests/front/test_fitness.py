"""A node that takes no CI pods is neither chosen nor, where it is named, changed."""

from collections.abc import Mapping

import pytest

from breakglass.sandbox.environment import TAG
from tests.front.blocks import is_reported
from tests.front.listing import listing
from tests.front.rows import REGISTRIES, configure
from tests.front.world import World

NODE = "k8s-node1"
TAINT = {"spec": {"taints": [{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}]}}
NO_PODS = {"status": {"allocatable": {"pods": "0"}}}
PRESSURE = {
    "status": {
        "conditions": [
            {"type": "MemoryPressure", "status": "True"},
            {"type": "Ready", "status": "True"},
        ]
    }
}
DOCKER = {"status": {"nodeInfo": {"containerRuntimeVersion": "docker://24.0.7"}}}
FULL = (
    "echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'; "
    "echo 'sandbox 100000000 84990000 15010000 85% /'"
)


@pytest.fixture
def outage(world: World) -> World:
    """k8s-node1 has the tarball and the image, and no registry answers."""
    world.bring_in(NODE)
    for name in REGISTRIES:
        world.environment.stop(name)
    return world


def patch(world: World, change: Mapping[str, object], node: str = NODE) -> None:
    world.environment.api.patch_node(node, change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (TAINT, "has the taint dedicated"),
        (NO_PODS, "may hold no pods"),
        (PRESSURE, "MemoryPressure"),
        (DOCKER, "its kubelet uses docker 24.0.7, not containerd"),
    ],
    ids=["a taint", "no pods", "memory", "docker"],
)
def test_recover_chooses_another_node_than_one_that_takes_no_ci_pods(
    outage: World, change: Mapping[str, object], words: str
) -> None:
    patch(outage, change)
    ended = outage.run("recover", "--dry-run")
    assert ended.status == 0, ended.stderr
    assert (
        f"chose k8s-node2: Ready, not cordoned, answers SSH, has room; {NODE}: {words}"
        in ended.stdout
    )


@pytest.mark.parametrize("command", ["fetch", "import", "pin", "recover", "drill"])
def test_a_named_node_that_does_not_fit_is_refused_before_anything_is_changed(
    outage: World, command: str
) -> None:
    patch(outage, TAINT)
    before, nodes = listing(outage.environment.root), outage.nodes()
    consent = ("--yes",) if command in ("pin", "recover") else ()
    block = is_reported(
        outage.run(command, NODE, *consent), 3, f"{NODE} does not fit: has the taint dedicated"
    )
    assert "nodes.tolerates" in block
    goes_on = command in ("import", "pin", "recover")
    assert (f"breakglass {command} {NODE} --anyway" in block) is goes_on
    assert (listing(outage.environment.root), outage.nodes()) == (before, nodes)


def test_a_taint_that_the_ci_pods_tolerate_and_a_label_that_they_ask_for_decide(
    outage: World,
) -> None:
    patch(outage, TAINT)
    configure(outage, "nodes", tolerates=["dedicated"], selector={"role": "ci"})
    patch(outage, {"metadata": {"labels": {"role": "ci"}}})
    ended = outage.run("pin", "--dry-run")
    assert ended.status == 0, ended.stderr
    assert ended.stdout.startswith(f"chose {NODE}: ")
    assert "k8s-node2: lacks the label role=ci of nodes.selector" in ended.stdout


@pytest.mark.parametrize("command", ["pin", "recover"])
@pytest.mark.slow
def test_with_anyway_it_goes_on_with_a_warning(outage: World, command: str) -> None:
    patch(outage, TAINT)
    ended = outage.run(command, NODE, "--anyway", "--yes")
    assert ended.status == 0, ended.stderr
    assert f"{NODE} does not fit, so pods may not start: has the taint dedicated" in ended.stderr
    assert outage.cordoned() == ["k8s-node10", "k8s-node2", "k8s-node3"]


@pytest.mark.slow
def test_with_the_api_down_what_the_node_itself_reports_decides(outage: World) -> None:
    patch(outage, TAINT)
    outage.environment.stop("api")
    assert outage.run("fetch", NODE).status == 0
    assert outage.run("import", NODE).status == 0
    with outage.without_program(NODE, "ctr"):
        is_reported(outage.run("fetch", NODE), 3, f"{NODE} does not fit: has no ctr")


@pytest.mark.slow
def test_an_import_that_would_make_kubelet_delete_images_is_refused_by_every_command(
    world: World,
) -> None:
    world.publish()
    with world.program(NODE, "df", FULL):
        is_reported(world.run("fetch", NODE), 3, "kubelet deletes images", "df -h")
    world.done("fetch", NODE)
    before = listing(world.root(NODE))
    with world.program(NODE, "df", FULL):
        is_reported(world.run("import", NODE), 3, "kubelet deletes images", "df -h")
        for name in REGISTRIES:
            world.environment.stop(name)
        is_reported(world.run("recover", NODE, "--yes"), 3, "kubelet deletes images", "--anyway")
        chosen = world.run("recover", "--dry-run")
        assert "chose k8s-node10" in chosen.stdout or "chose k8s-node2" in chosen.stdout
        assert f"{NODE}: " in chosen.stdout
        assert listing(world.root(NODE)) == before
        ended = world.run("recover", NODE, "--anyway", "--yes")
        assert ended.status == 0, ended.stderr
        assert "kubelet deletes images" in ended.stderr + ended.stdout
        # What is there already needs no room.
        assert world.run("import", NODE).status == 0


def test_status_names_why_a_node_does_not_fit(outage: World) -> None:
    patch(outage, TAINT)
    ended = outage.run("status", "--json")
    assert ended.reported["result"]["nodes"][0]["unfit"] == ["has the taint dedicated"]
    assert "does not fit: has the taint dedicated" in " ".join(outage.run("status").stdout.split())


def test_a_pin_whose_target_takes_no_more_pods_is_restored_all_the_same(outage: World) -> None:
    outage.done("pin", NODE, "--yes")
    patch(outage, PRESSURE)
    assert "takes no new pods: MemoryPressure" in " ".join(outage.run("status").stdout.split())
    is_reported(outage.run("pin", NODE, "--yes"), 3, "MemoryPressure", "breakglass restore")
    outage.done("restore", "--yes")
    assert outage.cordoned() == []
    assert outage.names(NODE)
    assert TAG in outage.run("status").stdout
