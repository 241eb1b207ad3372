"""What restore does in the cluster after somebody else was there: people with kubectl, another
machine, an API server that answers for another cluster.
"""

import json

import pytest

from breakglass.sandbox.environment import NODES
from tests.front.blocks import is_reported
from tests.front.world import World

TARGET, OTHERS = "k8s-node1", ("k8s-node10", "k8s-node2", "k8s-node3")
HOLD = {"run": "aaaa0000", "by": "other@box", "at": "2026-04-19T00:00:00Z"}
PIN = HOLD | {"target": TARGET, "reason": "from another machine"}


def annotate(world: World, node: str, *, cordoned: bool = False, **values: object) -> None:
    """As a run on another machine does."""
    annotations = {
        f"breakglass/{name}": json.dumps(value) if value else None for name, value in values.items()
    }
    patch: dict[str, object] = {"metadata": {"annotations": annotations}}
    if cordoned:
        patch["spec"] = {"unschedulable": True}
    world.environment.api.patch_node(node, patch, manager="breakglass")


def kubectl(world: World, node: str, *, unschedulable: bool) -> None:
    spec = {"unschedulable": unschedulable or None}
    world.environment.api.patch_node(node, {"spec": spec}, manager="kubectl")


def pinned_from_another_machine(world: World, *, had_pods: tuple[str, ...] = ()) -> None:
    annotate(world, TARGET, holds=PIN)
    for node in OTHERS:
        more = {"had_pods": True} if node in had_pods else {}
        annotate(world, node, cordoned=True, pinned=PIN | more)


def annotated(world: World) -> list[str]:
    return [name for name, node in world.nodes().items() if node["metadata"].get("annotations")]


@pytest.mark.parametrize("case", ["cordoned again by a person", "drained"])
def test_a_node_that_somebody_works_on_since_the_pin_stays_cordoned_and_is_named(
    world: World, case: str
) -> None:
    pinned_from_another_machine(world, had_pods=("k8s-node2",) if case == "drained" else ())
    if case != "drained":
        kubectl(world, "k8s-node2", unschedulable=False)
        kubectl(world, "k8s-node2", unschedulable=True)
    ended = world.run("restore", "--yes", "--json")
    assert ended.status == 0, ended.stderr
    assert ended.reported["result"]["uncordoned"] == ["k8s-node10", "k8s-node3"]
    assert ended.reported["result"]["left_cordoned"] == ["k8s-node2"]
    assert (world.cordoned(), annotated(world)) == (["k8s-node2"], [])
    assert "if nobody works on it: kubectl uncordon k8s-node2" in ended.stderr
    assert world.done("restore", "--yes")["steps"] == []


def test_a_dead_node_is_a_failure_only_where_something_of_ours_is_known_there(
    world: World,
) -> None:
    world.environment.stop("k8s-node10")
    ended = world.run("restore", "--yes", "--json")
    assert (ended.status, ended.reported["result"]["unreached"]) == (0, ["k8s-node10"])
    assert "not reached, nothing of ours is known there: k8s-node10" in ended.stderr
    annotate(world, "k8s-node10", holds=HOLD)
    is_reported(world.run("restore", "--yes"), 4, "not reached: k8s-node10")
    assert annotated(world) == ["k8s-node10"]
    world.environment.start("k8s-node10")
    assert world.run("restore", "--yes").status == 0
    assert annotated(world) == []


def test_where_the_target_of_a_pin_is_dead_restore_ends_the_pin_and_the_mark_stays(
    world: World,
) -> None:
    pinned_from_another_machine(world)
    world.environment.stop(TARGET)
    is_reported(world.run("restore", "--yes"), 4, f"not reached: {TARGET}")
    assert (world.cordoned(), annotated(world)) == ([], [TARGET])
    held = world.nodes()[TARGET]["metadata"]["annotations"]["breakglass/holds"]
    assert json.loads(held) == HOLD


def test_an_api_server_that_lists_no_nodes_is_no_cluster_with_nothing_to_do(world: World) -> None:
    for node in NODES:
        world.environment.api.remove_node(node)
    ended = world.run("restore", "--yes")
    is_reported(ended, 5, "lists no nodes", "Next:", "config get-contexts")


def test_this_machines_journal_knows_a_cordon_whose_annotation_somebody_has_removed(
    world: World,
) -> None:
    for node in ("k8s-node2", "k8s-node3"):
        annotate(world, node, cordoned=True)
    entry = {
        "at": "2026-04-19T00:00:00Z",
        "run": "aaaa0000",
        "by": "root@box",
        "command": "pin",
        "host": "operator",
        "line": "operator$ kubectl patch node ...",
        "result": "done",
        "trace": "begins",
    }
    world.journal.parent.mkdir(parents=True)
    world.journal.write_text(json.dumps(entry | {"node": "k8s-node2"}) + "\n")
    world.environment.api.add_pod("web", image="nginx", node="k8s-node2")
    shown = world.run("status").stdout
    assert "Next:  a run of breakglass has cordoned k8s-node2" in shown
    assert shown.endswith("\n       breakglass restore\n")
    assert world.done("restore", "--yes")["result"]["uncordoned"] == ["k8s-node2"]
    world.environment.api.remove_pod("web")
    assert world.cordoned() == ["k8s-node3"]
    assert world.done("restore", "--yes")["steps"] == []
