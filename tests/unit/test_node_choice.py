"""The choice of a node, with its reasons."""

from dataclasses import replace

import pytest

from breakglass.commands.node_choice import Candidate, choose
from breakglass.errors import BreakglassError, Refused, Unreachable
from breakglass.known_hosts import Refusal
from breakglass.observe.cluster import Node
from tests.facts import NODE, machine, node


def candidate(
    api_node: Node,
    *,
    tarball: bool = False,
    image: bool = False,
    free_bytes: int = 10**12,
    unread: BreakglassError | None = None,
) -> Candidate:
    return Candidate(api_node, unread or machine(NODE, free_bytes=free_bytes), tarball, image)


def chosen(*candidates: Candidate, command: str = "fetch") -> str:
    return choose(candidates, command=command, architecture="amd64", room_bytes=10**9).why


def test_the_first_node_by_number_that_fits_is_chosen_and_the_others_reasons_are_named() -> None:
    why = chosen(
        candidate(node("k8s-node10")),
        candidate(node("k8s-node2")),
        candidate(node("k8s-node1", cordoned=True)),
    )
    assert why.startswith("chose k8s-node2")
    assert "k8s-node1: cordoned" in why


def test_a_node_with_a_taint_is_chosen_only_where_no_other_fits() -> None:
    tainted = replace(node("k8s-master"), taints=("node-role.kubernetes.io/control-plane",))
    why = chosen(candidate(tainted, tarball=True, image=True), candidate(node("k8s-node1")))
    assert why.startswith("chose k8s-node1")
    alone = chosen(candidate(tainted), candidate(node("k8s-node1", cordoned=True)))
    assert alone.startswith("chose k8s-master")
    assert (
        "it has the taint node-role.kubernetes.io/control-plane, so pods need a toleration" in alone
    )


def test_a_node_that_holds_the_image_is_preferred() -> None:
    assert (
        chosen(candidate(node("a")), candidate(node("b"), image=True))
        == "chose b: it has the image already"
    )


def test_a_node_that_has_the_tarball_comes_before_one_that_has_the_image() -> None:
    assert (
        chosen(candidate(node("a"), image=True), candidate(node("b"), tarball=True))
        == "chose b: it has the tarball already"
    )


def test_import_wants_a_node_with_the_tarball_and_pin_one_with_the_image() -> None:
    with pytest.raises(Refused, match="a: has no tarball"):
        chosen(candidate(node("a"), image=True), command="import")
    with pytest.raises(Refused, match="a: does not have the image"):
        chosen(candidate(node("a"), tarball=True), command="pin")


@pytest.mark.parametrize(
    ("unfit", "reason"),
    [
        (candidate(node("a", ready=False)), "not Ready"),
        (candidate(node("a", cordoned=True)), "cordoned"),
        (candidate(node("a", pressure=True)), "DiskPressure"),
        (candidate(node("a", architecture="arm64")), "architecture arm64"),
        (candidate(node("a"), unread=Refused("python3 is missing")), "python3 is missing"),
        (candidate(node("a"), free_bytes=10), "MB needed"),
    ],
)
def test_a_node_that_does_not_fit_is_passed_over_with_its_reason(
    unfit: Candidate, reason: str
) -> None:
    with pytest.raises(Refused, match=f"no node fits: a: .*{reason}"):
        chosen(unfit)
    assert chosen(unfit, candidate(node("b"))).startswith("chose b")


@pytest.mark.parametrize(
    ("error", "next_step"),
    [
        (Unreachable("no answer"), "bring one of them back"),
        (Unreachable("login refused", next_step="put the key there"), "put the key there"),
        (Refusal("unknown", next_step="add the line"), "add the line"),
    ],
)
def test_where_no_node_fits_and_one_was_not_reached_that_decides(
    error: Unreachable, next_step: str
) -> None:
    with pytest.raises(
        Unreachable, match=f"no node fits: a: cordoned; b: {error.message}"
    ) as raised:
        chosen(
            candidate(node("a", cordoned=True), unread=Refused("not asked")),
            candidate(node("b"), unread=error),
        )
    assert raised.value.next_step == next_step
    with pytest.raises(Unreachable) as raised:
        chosen(candidate(node("a")), candidate(node("b"), unread=error), command="import")
    assert raised.value.next_step == f"breakglass fetch; or: {next_step}", (
        "a node that answers is what the tarball can be brought to"
    )
    assert chosen(candidate(node("b"), unread=error), candidate(node("c"))).startswith("chose c")
