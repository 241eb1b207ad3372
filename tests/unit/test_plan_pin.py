"""pin: which patch decides between two pins, what the other one is told, and the warnings of a
cordon's side effects.
"""

from dataclasses import replace

import pytest

from breakglass.commands import pin, pin_facts
from breakglass.errors import BreakglassError, Busy, Refused
from breakglass.observe.cluster import Node, Pin, Pod, parse_pin
from breakglass.observe.pins import pin_held
from breakglass.plan import PatchNode
from tests.facts import IDENTITY, node

MINUTE_AGO, NOW = "2026-04-19T02:59:00Z", IDENTITY.at


def other(target: str = "k8s-node9", at: str = MINUTE_AGO) -> str:
    return Pin("bbbb", target, "somebody@laptop", at, "night").text()


def facts(*nodes: Node, target: str = "k8s-node2", **more: object) -> pin_facts.Facts:
    known = pin_facts.Facts(target, "", nodes, (), True, (), frozenset())
    return replace(known, **more)  # type: ignore[arg-type]


def patches(known: pin_facts.Facts) -> list[PatchNode]:
    plan = pin.plan(known, identity=IDENTITY, reason="outage")
    return [step for step in plan.steps if isinstance(step, PatchNode)]


THREE = (node("k8s-node1"), node("k8s-node10"), node("k8s-node2"))


@pytest.mark.parametrize("target", [each.name for each in THREE])
def test_every_pin_begins_with_the_same_node_and_sends_nothing_else_before_it_has_that(
    target: str,
) -> None:
    first, *others = patches(facts(*THREE, target=target))
    assert (first.node, first.is_claim) == ("k8s-node1", True)
    assert not any(each.is_claim for each in others)
    assert {first.node, *(each.node for each in others)} == {each.name for each in THREE}
    # Whoever comes second finds the node changed, be it cordoned or the target.
    assert first.before != first.after


@pytest.mark.parametrize(
    ("nodes", "claimed"),
    [
        ((node("k8s-node0", cordoned=True), *THREE), "k8s-node1"),
        ((node("k8s-node0", ready=False), *THREE), "k8s-node0"),
        (
            (node("k8s-node1", cordoned=True, annotation=other("k8s-node2")), *THREE[1:]),
            None,
        ),
    ],
    ids=["cordoned by somebody else", "not Ready", "claimed for this target before"],
)
def test_the_node_that_decides_is_the_first_that_nobody_else_has_cordoned(
    nodes: tuple[Node, ...], claimed: str | None
) -> None:
    assert [each.node for each in patches(facts(*nodes)) if each.is_claim] == (
        [claimed] if claimed else []
    )


@pytest.mark.parametrize(
    ("nodes", "was_free", "kind"),
    [
        ((node("k8s-node1", cordoned=True, annotation=other()), *THREE[1:]), False, Refused),
        ((node("k8s-node1", cordoned=True, annotation=other()), *THREE[1:]), True, Busy),
        ((node("k8s-node1", cordoned=True, annotation=other(at=NOW)), *THREE[1:]), False, Busy),
        (
            (
                node("k8s-node1", cordoned=True, annotation=other("k8s-node10", at=NOW)),
                node("k8s-node10", holds=other("k8s-node10", at=NOW)),
                node("k8s-node2", cordoned=True, annotation=other("k8s-node10", at=NOW)),
            ),
            False,
            Refused,
        ),
        ((node("k8s-node1", holds=other("k8s-node1")), *THREE[1:]), False, Refused),
        ((node("k8s-node1", holds=other("k8s-node1", at=NOW)), *THREE[1:]), False, Busy),
    ],
    ids=[
        "cut short a minute ago",
        "begun while this run was reading",
        "still at work",
        "complete, if only just",
        "only claimed, a minute ago",
        "only claimed, just now",
    ],
)
def test_another_pin_is_in_force_or_it_is_still_at_work(
    nodes: tuple[Node, ...], was_free: bool, kind: type[BreakglassError]
) -> None:
    with pytest.raises(kind, match=r"by somebody@laptop at .*, reason: night") as caught:
        patches(facts(*nodes, was_free=was_free))
    assert "Nothing was changed." in caught.value.state


def test_the_mark_of_an_import_is_no_pin_and_becomes_the_mark_of_this_one() -> None:
    imported = '{"run":"cccc","by":"somebody@laptop","at":"2026-04-19T00:00:00Z"}'
    made = patches(facts(node("k8s-node1", holds=imported), node("k8s-node2", holds=imported)))
    assert made[0].after.holds == imported
    held = pin_held(made[1].after)
    assert held is not None
    assert (held.run, held.target) == (IDENTITY.run, "k8s-node2")


def pod(name: str, image: str, *, owner: str = "", on: str = "k8s-node1") -> Pod:
    return Pod("kube-system", name, on, (image,), False, owner=owner)


def test_pin_remembers_of_each_node_whether_pods_ran_there_that_a_drain_moves() -> None:
    pods = (
        pod("web", "nginx", owner="ReplicaSet"),
        pod("log", "fluentd", owner="DaemonSet", on="k8s-node10"),
    )
    remembered = {
        each.node: parse_pin(each.after.annotation).had_pods
        for each in patches(facts(*THREE, pods=pods))
        if each.after.annotation
    }
    assert remembered == {"k8s-node1": True, "k8s-node10": False}


@pytest.mark.parametrize(
    ("image", "warned"),
    [
        ("quay.io/metallb/speaker:v0.14.9", "MetalLB"),
        ("registry.example:5000/mirror/metallb/speaker@sha256:" + "a" * 64, "MetalLB"),
        ("registry.k8s.io/descheduler/descheduler:v0.33.0", "descheduler"),
        ("ghcr.io/kubereboot/kured:1.17.0", "kured"),
        ("rancher/system-upgrade-controller:v0.15.2", "system-upgrade-controller"),
        ("registry.example/audio/speaker:1", ""),
        ("registry.example/not-kured:1", ""),
    ],
)
def test_pin_warns_of_what_reacts_to_a_cordon(image: str, warned: str) -> None:
    pods = (pod("one", image), pod("two", image, on="k8s-node2"))
    made = pin.plan(facts(*THREE, pods=pods), identity=IDENTITY, reason="")
    assert [warned in line for line in made.warnings] == ([True] if warned else [])


OURS, THEIRS = "registry.example/infra-ci:1", "registry.example/other:1"


@pytest.mark.parametrize(
    ("waiting", "count"),
    [
        ([], ""),
        ([("k8s-node2", THEIRS)], "1 pod on k8s-node2 cannot pull"),
        ([("k8s-node2", THEIRS), ("k8s-node2", "nginx")], "2 pods on k8s-node2 cannot pull"),
        # The image itself is there by then, and other nodes have queues of their own.
        ([("k8s-node2", OURS), ("k8s-node1", THEIRS), (None, THEIRS)], ""),
    ],
)
def test_pin_warns_of_pulls_that_pods_of_the_image_would_wait_behind(
    waiting: list[tuple[str | None, str]], count: str
) -> None:
    pods = tuple(
        Pod("ci", f"apply-{number}", on, (image,), waiting_for_image=True)
        for number, (on, image) in enumerate(waiting)
    )
    known = facts(*THREE, pods=pods, repositories=frozenset({"registry.example/infra-ci"}))
    made = pin.plan(known, identity=IDENTITY, reason="")
    queued = [line for line in made.warnings if "serializeImagePulls" in line]
    assert [line[: len(count)] for line in queued] == ([count] if count else [])
