"""Pods whose volumes only other nodes can serve: they cannot start anew while another node is
pinned.
"""

from dataclasses import replace
from typing import Any

import pytest

from breakglass.commands import pin
from breakglass.observe.cluster import Node, parse_pod
from breakglass.observe.volumes import parse_volume, tied_elsewhere
from tests.facts import IDENTITY, node
from tests.unit.test_plan_cluster import facts


def one(name: str, **labels: str) -> Node:
    return replace(node(name), labels=tuple({"kubernetes.io/hostname": name, **labels}.items()))


NODES = (one("k8s-node1"), one("k8s-node2", zone="b"), one("k8s-node3", zone="b", slots="3"))


def volume(
    *terms: list[dict[str, Any]], claim: str = "data", fields: bool = False
) -> dict[str, Any]:
    wanted = [{"matchFields" if fields else "matchExpressions": term} for term in terms]
    return {
        "spec": {
            "claimRef": {"namespace": "forgejo", "name": claim},
            "nodeAffinity": {"required": {"nodeSelectorTerms": wanted}},
        }
    }


def pod(*claims: str, ephemeral: str = "") -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": f"v{number}", "persistentVolumeClaim": {"claimName": claim}}
        for number, claim in enumerate(claims)
    ]
    volumes += [{"name": ephemeral, "ephemeral": {}}] if ephemeral else []
    return {
        "metadata": {"namespace": "forgejo", "name": "forgejo-0"},
        "spec": {"volumes": volumes},
        "status": {},
    }


def serving(*volumes: dict[str, Any], using: dict[str, Any]) -> tuple[str, ...]:
    """The nodes that the warning names; none without a warning."""
    parsed = tuple(found for found in map(parse_volume, volumes) if found)
    return next(
        (nodes for _, nodes in tied_elsewhere((parse_pod(using),), parsed, NODES, "k8s-node1")), ()
    )


def wants(key: str, operator: str, *values: str) -> list[dict[str, Any]]:
    return [{"key": key, "operator": operator, "values": list(values)}]


@pytest.mark.parametrize(
    ("volumes", "using", "named"),
    [
        ([volume(wants("kubernetes.io/hostname", "In", "k8s-node2"))], pod("data"), ("k8s-node2",)),
        (
            [volume(wants("metadata.name", "In", "k8s-node2"), fields=True)],
            pod("data"),
            ("k8s-node2",),
        ),
        ([volume(wants("zone", "Exists"))], pod("data"), ("k8s-node2", "k8s-node3")),
        (
            [volume(wants("zone", "In", "b") + wants("slots", "Gt", "2"))],
            pod("data"),
            ("k8s-node3",),
        ),
        (
            [volume(wants("zone", "In", "b")), volume(wants("slots", "Lt", "4"), claim="more")],
            pod("data", "more"),
            ("k8s-node3",),
        ),
        (
            [volume(wants("zone", "In", "b"), claim="forgejo-0-scratch")],
            pod(ephemeral="scratch"),
            ("k8s-node2", "k8s-node3"),
        ),
        ([volume(wants("zone", "DoesNotExist"))], pod("data"), ()),
        ([volume(wants("zone", "NotIn", "b"))], pod("data"), ()),
        (
            [volume(wants("zone", "In", "b"), wants("kubernetes.io/hostname", "In", "k8s-node1"))],
            pod("data"),
            (),
        ),
        ([volume(wants("zone", "Near", "b"))], pod("data"), ()),
        ([volume(wants("zone", "In", "nowhere"))], pod("data"), ()),
        ([volume(wants("zone", "In", "b"))], pod("other"), ()),
        ([volume(wants("zone", "In", "b"), claim="")], pod("data"), ()),
        (
            [{"spec": {"claimRef": {"namespace": "forgejo", "name": "data"}}}, {"spec": None}],
            pod("data"),
            (),
        ),
    ],
)
def test_a_pod_is_named_with_the_nodes_that_can_serve_all_its_volumes_when_the_target_cannot(
    volumes: list[dict[str, Any]], using: dict[str, Any], named: tuple[str, ...]
) -> None:
    assert serving(*volumes, using=using) == named


def test_pin_warns_of_such_pods_and_says_what_lets_them_start() -> None:
    parsed = parse_volume(volume(wants("kubernetes.io/hostname", "In", "k8s-node2")))
    assert parsed
    (warning,) = pin.plan(
        facts(*NODES, pods=(parse_pod(pod("data")),), volumes=(parsed,)),
        identity=IDENTITY,
        reason="",
    ).warnings
    assert warning == (
        "forgejo/forgejo-0 has a volume that only k8s-node2 can serve: while this is pinned "
        "it cannot start anew; to let it: kubectl uncordon k8s-node2"
    )


def test_where_the_volumes_may_not_be_listed_pin_says_that_such_pods_are_not_known() -> None:
    (warning,) = pin.plan(facts(*NODES, volumes=None), identity=IDENTITY, reason="").warnings
    assert "persistent volumes could not be listed" in warning
