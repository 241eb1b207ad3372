"""pin and restore: facts to exact lines."""

import json
import shlex
from dataclasses import replace

import pytest

from breakglass.commands import pin, pin_facts, restore, restore_facts
from breakglass.errors import BreakglassError, Refused, Unreachable
from breakglass.observe.cluster import Node, Pin, Pod
from tests.facts import IDENTITY, NODES, lines, node

OURS = Pin("aaaa", "k8s-node1", "somebody@laptop", "2026-04-19T00:00:00Z", "night").text()
OTHER = Pin("bbbb", "k8s-node9", "somebody@laptop", "2026-04-19T00:00:00Z", "night").text()


HELD = node("k8s-node1", holds=OURS)
"""The target of a pin that is complete."""


def facts(*nodes: Node, **more: object) -> pin_facts.Facts:
    known = pin_facts.Facts(
        "k8s-node1",
        "k8s-node1 is 10.0.20.101 (InternalIP)",
        nodes,
        (),
        True,
        (),
        frozenset({"registry.example:5050/infra-ci"}),
    )
    return replace(known, **more)  # type: ignore[arg-type]


def pinned(known: pin_facts.Facts) -> list[str]:
    return lines(pin.plan(known, identity=IDENTITY, reason="outage"))


def restored(*nodes: Node, names: tuple[str, ...] = ()) -> list[str]:
    return lines(
        restore.plan(restore_facts.Facts(nodes, True), names=names, nodes=NODES, identity=IDENTITY)
    )


def test_pin_cordons_every_other_node_by_its_exact_name() -> None:
    made = pinned(facts(node("k8s-node1"), node("k8s-node10"), node("k8s-node2")))
    assert [line.split()[4] for line in made] == ["k8s-node1", "k8s-node10", "k8s-node2"]
    patch = json.loads(shlex.split(made[1])[-1].removeprefix("--patch="))
    assert patch["spec"] == {"unschedulable": True}
    annotation = json.loads(patch["metadata"]["annotations"]["breakglass/pinned"])
    assert annotation == {
        "run": "0badcafe",
        "target": "k8s-node1",
        "by": "root@operator",
        "at": "2026-04-19T03:00:00Z",
        "reason": "outage",
    }


def test_pin_leaves_nodes_alone_that_somebody_had_cordoned_and_says_so() -> None:
    known = facts(HELD, node("k8s-node2", cordoned=True), node("k8s-node3"))
    assert [line.split()[4] for line in pinned(known)] == ["k8s-node3"]
    assert pin.left_alone(known) == ["k8s-node2"]


def test_pin_with_the_same_target_goes_on_where_a_run_was_cut_short() -> None:
    assert [
        line.split()[4]
        for line in pinned(
            facts(
                HELD,
                node("k8s-node2", cordoned=True, annotation=OURS),
                node("k8s-node3"),
            )
        )
    ] == ["k8s-node3"]


def test_a_second_pin_has_nothing_to_do() -> None:
    assert pinned(facts(HELD, node("k8s-node2", cordoned=True, annotation=OURS))) == []


@pytest.mark.parametrize(
    ("known", "kind", "sentence"),
    [
        (facts(node("k8s-node2")), Refused, "there is no node k8s-node1"),
        (
            facts(node("k8s-node1", cordoned=True), node("k8s-node2")),
            Refused,
            "does not fit: cordoned",
        ),
        (facts(node("k8s-node1", ready=False), node("k8s-node2")), Refused, "not Ready"),
        (
            facts(node("k8s-node1"), node("k8s-node2"), missing=("x:latest",)),
            Refused,
            "does not have the image",
        ),
        (
            facts(node("k8s-node1"), node("k8s-node2", cordoned=True, annotation=OTHER)),
            Refused,
            "another pin is in force: target k8s-node9",
        ),
        (
            facts(node("k8s-node1"), node("k8s-node2", cordoned=True, annotation="{broken")),
            Refused,
            "cannot be read",
        ),
        (
            facts(node("k8s-node1"), node("k8s-node2"), may_patch=False),
            Unreachable,
            "patch on nodes",
        ),
    ],
)
def test_pin_is_refused_with_its_reason_and_a_next_step(
    known: pin_facts.Facts, kind: type[BreakglassError], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence) as caught:
        pinned(known)
    assert str(caught.value.next_step)


def test_pin_warns_of_pods_that_wait_for_the_image_on_other_nodes() -> None:
    waiting = Pod("ci", "apply", "k8s-node2", ("registry.example:5050/infra-ci:latest",), True)
    made = pin.plan(
        facts(node("k8s-node1"), node("k8s-node2"), pods=(waiting,)), identity=IDENTITY, reason=""
    )
    assert "ci/apply is bound to k8s-node2" in made.warnings[0]


def test_restore_uncordons_exactly_what_carries_our_annotation() -> None:
    made = restored(
        node("k8s-node1"),
        node("k8s-node2", cordoned=True, annotation=OURS),
        node("k8s-node3", cordoned=True),
    )
    assert [line.split()[4] for line in made] == ["k8s-node2"]
    assert '"breakglass/pinned":null' in made[0]
    assert '"unschedulable":null' in made[0]


def test_restore_only_takes_the_annotation_from_a_node_that_somebody_uncordoned_meanwhile() -> None:
    made = restored(node("k8s-node2", annotation=OURS))
    assert "unschedulable" not in made[0]


def test_restore_restores_a_node_whose_annotation_cannot_be_read() -> None:
    assert len(restored(node("k8s-node2", cordoned=True, annotation="{broken"))) == 1


def test_restore_with_names_touches_only_these() -> None:
    nodes = (
        node("k8s-node1", cordoned=True, annotation=OURS),
        node("k8s-node10", cordoned=True, annotation=OURS),
    )
    assert [line.split()[4] for line in restored(*nodes, names=("k8s-node1",))] == ["k8s-node1"]


def test_restore_warns_when_no_registry_serves_the_image_yet() -> None:
    made = restore.plan(
        restore_facts.Facts(
            (node("k8s-node2", cordoned=True, annotation=OURS),),
            True,
            "no registry serves the image",
        ),
        names=(),
        nodes=NODES,
        identity=IDENTITY,
    )
    assert "no registry serves" in made.warnings[0]
