"""Two pins at the same time, with different targets or with the same: exactly one wins, the other
has changed nothing.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from breakglass.sandbox.api_server import Request
from breakglass.sandbox.environment import NODES
from tests.front.blocks import is_reported
from tests.front.commands import Ended
from tests.front.world import World

FIRST, SECOND, THIRD = "k8s-node1", "k8s-node2", "k8s-node3"
"""All pins race for k8s-node1, the first by name."""


@pytest.fixture
def everywhere(world: World) -> World:
    """All three nodes have the image."""

    def go() -> None:
        world.bring_in(FIRST)
        for node in (SECOND, THIRD):
            world.done("fetch", node)
            world.done("import", node)

    world.arrive("imported everywhere", go)
    return world


@contextmanager
def first_patches_meet(world: World) -> Iterator[None]:
    """The first patch of each of two runs waits for that of the other, so both have read the
    cluster before either changes it.
    """
    met, seen = threading.Barrier(2, timeout=100), set[str]()

    def gate(request: Request) -> None:
        if request.method == "PATCH":
            texts = request.body["metadata"]["annotations"].values()
            (run,) = {json.loads(text)["run"] for text in texts if text} or {""}
            if run not in seen:
                seen.add(run)
                met.wait()

    world.environment.api.gate = gate
    try:
        yield
    finally:
        world.environment.api.gate = lambda _: None
        met.abort()


def two_pins(world: World, *targets: str) -> tuple[tuple[str, Ended], tuple[str, Ended]]:
    """(target, how it ended) of the winner and of the loser."""
    started = [(target, world.start("pin", target, "--yes")) for target in targets]
    ended = [(target, each.end()) for target, each in started]
    winner, loser = sorted(ended, key=lambda pair: pair[1].status)
    assert winner[1].status == 0, (winner[1].stderr, loser[1].stderr)
    assert world.cordoned() == [node for node in sorted(NODES) if node != winner[0]]
    return winner, loser


def is_restored(world: World) -> None:
    assert world.run("restore", "--yes").status == 0
    assert world.cordoned() == []


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param((FIRST, SECOND), id="one target is the node that all race for"),
        pytest.param((SECOND, THIRD), id="no target is"),
        pytest.param((SECOND, SECOND), id="the same target", marks=pytest.mark.slow),
    ],
)
def test_of_two_pins_that_have_both_read_a_free_cluster_one_wins_and_the_other_ends_with_7(
    everywhere: World, targets: tuple[str, str]
) -> None:
    with first_patches_meet(everywhere):
        (winner, _), (_, lost) = two_pins(everywhere, *targets)
    is_reported(
        lost, 7, f"another pin began (target {winner}, by ", "Nothing was changed by this run"
    )
    assert "breakglass status" in lost.stderr
    assert everywhere.run("pin", winner, "--yes").status == 0
    is_restored(everywhere)


@pytest.mark.slow
def test_in_ten_rounds_of_two_simultaneous_pins_there_is_never_none_and_never_both(
    everywhere: World,
) -> None:
    for number in range(10):
        targets = [(FIRST, SECOND), (SECOND, THIRD), (THIRD, FIRST)][number % 3]
        if number < 5:
            with first_patches_meet(everywhere):
                _, (_, lost) = two_pins(everywhere, *targets)
            assert lost.status == 7
        else:
            # Without a gate one may begin when the other is complete: then that pin is in force.
            _, (_, lost) = two_pins(everywhere, *targets)
            assert lost.status in (3, 7), lost.stderr
        is_restored(everywhere)


def test_a_pin_that_was_killed_after_its_claim_is_in_force_finished_by_a_rerun_and_restored(
    everywhere: World,
) -> None:
    everywhere.run("pin", FIRST, "--yes", dies_after=1)
    assert everywhere.cordoned() == []
    is_reported(everywhere.run("pin", SECOND, "--yes"), 7, f"target {FIRST}")
    assert everywhere.run("pin", FIRST, "--yes").status == 0
    is_reported(everywhere.run("pin", SECOND, "--yes"), 3, f"target {FIRST}")
    is_restored(everywhere)
    everywhere.run("pin", FIRST, "--yes", dies_after=1)
    is_restored(everywhere)
    assert everywhere.run("pin", SECOND, "--yes").status == 0
