"""The choice of a node, with its reasons."""

import pytest

from breakglass.commands.fitness import Needs
from breakglass.commands.node_choice import Candidate, choose
from breakglass.errors import BreakglassError, Refused, Unreachable
from breakglass.known_hosts import Refusal
from breakglass.observe.cluster import Node
from breakglass.observe.machine import Disk
from breakglass.observe.shelf import Tarball
from tests.facts import NODE, machine, node, tarball

NEW, OLD = tarball("new", 2, size_bytes=1000), tarball("old", 1, letter="b", size_bytes=1000)
ROOMY = Disk(100_000, 50_000)


def candidate(
    api_node: Node,
    *,
    has: Tarball | None = None,
    image: bool = False,
    free_bytes: int = 10**12,
    disk: Disk | None = ROOMY,
    unread: BreakglassError | None = None,
    whole: bool = False,
) -> Candidate:
    found = unread or machine(NODE, free_bytes=free_bytes)
    return Candidate(api_node, found, has, image, is_whole=whole, disk=disk)


def chosen(*candidates: Candidate, command: str = "fetch", offered: Tarball | None = NEW) -> str:
    return choose(
        candidates, command=command, needs=Needs(architecture="amd64"), offered=offered
    ).why


def test_the_first_node_by_number_that_fits_is_chosen_and_the_others_reasons_are_named() -> None:
    why = chosen(
        candidate(node("k8s-node10")),
        candidate(node("k8s-node2")),
        candidate(node("k8s-node1", cordoned=True)),
    )
    assert why.startswith("chose k8s-node2")
    assert "k8s-node1: cordoned" in why


def test_a_node_that_has_the_image_is_preferred_then_one_that_has_the_tarball() -> None:
    plain, loaded = candidate(node("a")), candidate(node("b"), has=NEW)
    complete = candidate(node("c"), image=True)
    assert chosen(plain, loaded, complete) == "chose c: it has the image already"
    assert chosen(plain, loaded) == "chose b: it has the tarball already"
    assert (
        chosen(plain, candidate(node("d"))) == "chose a: Ready, not cordoned, answers SSH, has room"
    )


def test_import_wants_a_node_with_the_tarball_and_pin_one_with_the_image() -> None:
    with pytest.raises(Refused, match="a: has no tarball"):
        chosen(candidate(node("a"), image=True), command="import")
    with pytest.raises(Refused, match="a: does not have the image"):
        chosen(candidate(node("a"), has=NEW), command="pin")


@pytest.mark.parametrize("command", ["import", "recover"])
def test_where_nobody_has_a_tarball_a_node_whose_image_is_whole_comes_first(command: str) -> None:
    running, whole = candidate(node("a"), image=True), candidate(node("b"), whole=True)
    why = chosen(running, whole, command=command, offered=None)
    assert why.startswith(
        "chose b: no tarball was found, and its containerd still has the image whole"
    )


SMALL, TIGHT = Disk(100_000, 23_000), Disk(100_000, 16_000)
"""Room for the import of a tarball that is there (8 x 1000 bytes), but not for the tarball too;
and room for neither. 15 % must stay free.
"""


@pytest.mark.parametrize(
    ("command", "has", "image", "disk", "fits"),
    [
        ("recover", None, False, SMALL, False),
        ("recover", NEW, False, SMALL, True),
        ("recover", NEW, False, TIGHT, False),
        ("recover", NEW, True, TIGHT, True),
        ("recover", OLD, True, TIGHT, False),
        ("recover", None, False, None, True),
        ("import", OLD, False, TIGHT, False),
        ("import", OLD, True, TIGHT, True),
        ("pin", None, True, TIGHT, True),
        ("drill", NEW, True, SMALL, False),
    ],
)
def test_room_is_asked_for_what_is_still_to_be_brought_to_the_node(
    command: str, has: Tarball | None, image: bool, disk: Disk | None, fits: bool
) -> None:
    offered = None if command in ("import", "pin") else NEW
    asked = candidate(node("a"), has=has, image=image, disk=disk)
    if fits:
        assert chosen(asked, command=command, offered=offered).startswith("chose a")
        return
    with pytest.raises(Refused, match=r"a: .* free on containerd's disk"):
        chosen(asked, command=command, offered=offered)


@pytest.mark.parametrize(
    ("unfit", "reason"),
    [
        (candidate(node("a", ready=False)), "not Ready"),
        (candidate(node("a", cordoned=True)), "cordoned"),
        (candidate(node("a", pressure=True)), "DiskPressure"),
        (candidate(node("a", architecture="arm64")), "architecture arm64"),
        (candidate(node("a"), unread=Refused("containerd is down")), "containerd is down"),
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
    ("command", "commands"),
    [
        ("recover", ["kubectl uncordon a", "breakglass recover a --anyway"]),
        ("drill", ["kubectl uncordon a", "breakglass drill a"]),
        ("pin", ["breakglass fetch", "breakglass import"]),
    ],
)
def test_where_no_node_fits_the_best_of_them_can_be_made_to_fit_or_used_all_the_same(
    command: str, commands: list[str]
) -> None:
    cordoned = candidate(node("a", cordoned=True), unread=Refused("not asked"))
    pressed = candidate(node("b", pressure=True), unread=Refused("not asked"))
    with pytest.raises(Refused) as raised:
        chosen(pressed, cordoned, command=command)
    assert list(raised.value.next_step.commands) == commands


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
    assert raised.value.next_step.advice == next_step
    with pytest.raises(Unreachable) as raised:
        chosen(candidate(node("a")), candidate(node("b"), unread=error), command="import")
    assert raised.value.next_step.commands[0] == "breakglass fetch", (
        "a node that answers is what the tarball can be brought to"
    )
    assert raised.value.next_step.advice == next_step
    assert chosen(candidate(node("b"), unread=error), candidate(node("c"))).startswith("chose c")
