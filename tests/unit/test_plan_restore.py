"""restore in the cluster: what a node carries, who cordoned it and what is known of its host, and
what becomes of it.
"""

from dataclasses import replace

import pytest

from breakglass.commands import restore, restore_facts
from breakglass.commands.environment import Remembered, Unread
from breakglass.commands.pin_pods import nodes_with_pods, nodes_without_pods
from breakglass.commands.restore_leftovers import left_over
from breakglass.errors import Failed, Unreachable
from breakglass.marks import Mark
from breakglass.observe.answering import Taken
from breakglass.observe.cluster import Node, Pin, Pod, parse_node
from breakglass.observe.managers import UNKNOWN, Cordon
from breakglass.observe.pins import Hold
from breakglass.plan import PatchNode, Plan
from tests.facts import IDENTITY, NODE, NODES, node

PIN = Pin("aaaa", "k8s-node1", "somebody@laptop", "2026-04-19T00:00:00Z", "night")
HOLD = Hold("aaaa", "somebody@laptop", "2026-04-19T00:00:00Z")
OURS, THEIRS = (
    Cordon("breakglass", "2026-04-19T00:00:00Z", True),
    Cordon("kubectl", "2026-04-19T01:00:00Z", False),
)
PINNED = node("k8s-node2", cordoned=True, annotation=PIN.text())
FREE, CORDONED = Mark(False, None), Mark(True, None)


def facts(*nodes: Node, **more: object) -> restore_facts.Facts:
    return replace(restore_facts.Facts(nodes, True), **more)  # type: ignore[arg-type]


def planned(known: restore_facts.Facts, *names: str) -> Plan:
    return restore.plan(known, names=names, nodes=NODES, identity=IDENTITY)


def after(plan: Plan) -> dict[str, Mark]:
    return {step.node: step.after for step in plan.steps if isinstance(step, PatchNode)}


@pytest.mark.parametrize(
    ("cordon", "drained", "mark", "warning"),
    [
        (OURS, False, FREE, ""),
        (UNKNOWN, False, FREE, ""),
        (THEIRS, False, CORDONED, "kubectl has cordoned it again after our pin"),
        (OURS, True, CORDONED, "somebody drained it after our pin"),
        (UNKNOWN, True, CORDONED, "somebody drained it after our pin"),
    ],
)
def test_a_node_that_we_cordoned_is_uncordoned_unless_somebody_else_needs_the_cordon_by_now(
    cordon: Cordon, drained: bool, mark: Mark, warning: str
) -> None:
    known = facts(
        replace(PINNED, cordon=cordon),
        drained=frozenset({PINNED.name} if drained else ()),
    )
    plan = planned(known)
    assert after(plan) == {"k8s-node2": mark}
    said = [line for line in plan.warnings if "stays cordoned" in line]
    assert len(said) == bool(warning)
    assert all(warning in line and "kubectl uncordon k8s-node2" in line for line in said)
    result = restore.result(known, plan)
    assert result.left_cordoned == (("k8s-node2",) if warning else ())
    assert result.uncordoned == (() if warning else ("k8s-node2",))


@pytest.mark.parametrize(
    ("cordon", "remembered", "patched", "warned"),
    [
        (OURS, False, False, False),
        (OURS, True, True, False),
        (UNKNOWN, True, False, True),
        (UNKNOWN, False, False, False),
        (THEIRS, True, False, False),
    ],
)
def test_a_cordon_that_we_remember_is_ours_without_its_annotation_where_the_api_says_so(
    cordon: Cordon, remembered: bool, patched: bool, warned: bool
) -> None:
    known = facts(
        node("k8s-node2", cordoned=True, cordon=cordon),
        remembered=frozenset({"k8s-node2"} if remembered else ()),
    )
    plan = planned(known)
    assert after(plan) == ({"k8s-node2": FREE} if patched else {})
    assert any("kubectl uncordon k8s-node2" in line for line in plan.warnings) is warned
    perhaps_drained = planned(replace(known, drained=frozenset({"k8s-node2"})))
    assert perhaps_drained.steps == ()
    assert len(perhaps_drained.warnings) == (patched or warned)


def test_a_run_with_a_command_fails_where_it_cannot_undo_a_cordon_that_it_has_set() -> None:
    own = restore_facts.Own(NODE, "aaaa", cordoned=("k8s-node2",))
    known = facts(node("k8s-node2", cordoned=True), own=own)
    left = left_over(known, planned(known), names=(), nodes=NODES)
    assert isinstance(left, Failed)
    assert "our annotation is gone" in left.message
    assert str(left.next_step).startswith("kubectl uncordon k8s-node2\n")
    assert left_over(facts(node("k8s-node2"), own=own), Plan(""), names=(), nodes=NODES) is None


CLEAN = restore_facts.Site(NODE, Taken())
DIRTY = restore_facts.Site(NODE, Taken(is_recorded=True, is_begun=True))


@pytest.mark.parametrize(
    ("holds", "sites", "expected"),
    [
        (HOLD.text(), (CLEAN,), [("k8s-node1", None, False)]),
        (PIN.text(), (CLEAN,), [("k8s-node1", None, False)]),
        ("not JSON", (CLEAN,), [("k8s-node1", None, False)]),
        (HOLD.text(), (DIRTY,), [("k8s-node1", None, True)]),
        (PIN.text(), (), [("k8s-node1", HOLD.text(), False)]),
        (HOLD.text(), (), []),
    ],
    ids=[
        "import's, and the host is as before",
        "a pin's target",
        "unreadable",
        "removed after the host is as before",
        "an unreached target keeps the mark, but no longer the pin",
        "an unreached node keeps it",
    ],
)
def test_a_mark_stays_on_a_node_until_its_host_is_as_before(
    holds: str, sites: tuple[restore_facts.Site, ...], expected: list[tuple[str, str | None, bool]]
) -> None:
    plan = planned(facts(node("k8s-node1", holds=holds), sites=sites))
    patches = [step for step in plan.steps if isinstance(step, PatchNode)]
    assert [(step.node, step.after.holds, step.needs is not None) for step in patches] == expected
    if any(step.needs for step in patches):
        assert plan.steps[-1] in patches


def test_a_node_that_carries_both_annotations_gets_one_patch_where_its_host_is_clean() -> None:
    both = node("k8s-node1", cordoned=True, annotation=PIN.text(), holds=HOLD.text())
    plan = planned(facts(both, sites=(CLEAN,)))
    assert after(plan) == {"k8s-node1": FREE}
    assert len(plan.steps) == 1


def test_a_node_that_was_not_reached_and_of_which_nothing_of_ours_is_known_is_a_note() -> None:
    unseen = Unread("k8s-node4", Unreachable("k8s-node4: no answer", where="k8s-node4"))
    known = facts(node("k8s-node4"), sites=(CLEAN,), unseen=(unseen,))
    plan = planned(known)
    assert (plan.steps, plan.warnings) == ((), ())
    assert "k8s-node4" in plan.notes[0]
    assert left_over(known, plan, names=(), nodes=NODES) is None
    assert restore.result(known, plan).unreached == ("k8s-node4",)
    left = left_over(replace(known, unread=(unseen,)), plan, names=(), nodes=NODES)
    assert isinstance(left, Failed)


@pytest.mark.parametrize(
    ("listed", "cordoned", "is_right"),
    [
        ((), (), False),
        (("k8s-node1", "k8s-node2"), (), True),
        (("k8s-node1", "k8s-node2"), ("k8s-node2",), True),
        (("k8s-node1",), ("k8s-node1", "k8s-node2"), True),
        (("other1", "other2"), ("k8s-node2",), False),
    ],
)
def test_a_cluster_without_nodes_or_without_any_that_we_have_cordoned_is_another_one(
    listed: tuple[str, ...], cordoned: tuple[str, ...], is_right: bool
) -> None:
    found = restore_facts.check_cluster(
        tuple(node(name) for name in listed), Remembered(frozenset(cordoned)), None
    )
    assert (found is None) is is_right


def pod(owner: str, on: str = "k8s-node2", *, leaving: bool = False) -> Pod:
    return Pod("ci", f"a-{owner}", on, (), False, owner=owner, leaving=leaving)


@pytest.mark.parametrize(
    ("before", "now", "drained"),
    [
        (["ReplicaSet"], ["DaemonSet", "Node"], True),
        (["StatefulSet", "DaemonSet"], [], True),
        (["ReplicaSet"], ["ReplicaSet"], False),
        (["ReplicaSet"], ["Job"], False),
        (["Job"], ["DaemonSet"], False),
        ([""], [], False),
        (["DaemonSet"], ["DaemonSet"], False),
    ],
)
def test_a_node_was_drained_where_pods_that_do_not_end_by_themselves_are_gone(
    before: list[str], now: list[str], drained: bool
) -> None:
    had = nodes_with_pods(map(pod, before))
    assert (nodes_without_pods(had, map(pod, now)) == {"k8s-node2"}) is drained


def test_a_pod_that_is_ending_counts_as_gone() -> None:
    assert nodes_without_pods({"k8s-node2"}, [pod("ReplicaSet", leaving=True)])


def entry(manager: str, *fields: str, at: str = "2026-04-19T00:00:00Z") -> dict[str, object]:
    known: dict[str, object] = {}
    if "cordon" in fields:
        known["f:spec"] = {"f:unschedulable": {}}
    if "pin" in fields:
        known["f:metadata"] = {"f:annotations": {".": {}, "f:breakglass/pinned": {}}}
    return {"manager": manager, "operation": "Update", "time": at, "fieldsV1": known}


@pytest.mark.parametrize(
    ("entries", "is_ours"),
    [
        ([], None),
        ("nonsense", None),
        ([None, {"manager": 1}], None),
        ([entry("kubelet"), entry("breakglass", "cordon", "pin")], True),
        ([entry("breakglass", "pin"), entry("kubectl", "cordon")], False),
        ([entry("breakglass", "cordon")], True),
        ([entry("OpenAPI-Generator", "cordon", "pin")], True),
        ([entry("OpenAPI-Generator", "pin"), entry("kubectl", "cordon")], False),
        ([entry("kubectl", "cordon", "pin"), entry("breakglass", "cordon")], True),
        ([entry("OpenAPI-Generator", "cordon", "pin"), entry("breakglass")], True),
    ],
)
def test_who_cordoned_a_node_is_what_the_api_server_has_noted(
    entries: object, is_ours: bool | None
) -> None:
    item = {"metadata": {"name": "k8s-node2", "managedFields": entries}, "spec": {}}
    assert parse_node(item).cordon.is_ours is is_ours
