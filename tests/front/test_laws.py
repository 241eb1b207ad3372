"""What holds for every command that changes something. Each law is run for each row of one
table.
"""

from collections.abc import Callable
from typing import Any

import pytest

from breakglass.sandbox.environment import NODES
from tests.front.commands import without_moment
from tests.front.listing import State, differences, listing, timeless
from tests.front.rows import ROWS, Row, over_another_image
from tests.front.world import World


@pytest.fixture(scope="module")
def reached() -> dict[str, State]:
    """What an uninterrupted run of each row leads to, once it was taken."""
    return {}


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=str(row), marks=pytest.mark.slow if row.slow else ()) for row in ROWS],
)
def test_planning_changes_nothing_and_what_is_shown_is_done_and_then_nothing_is_left_to_do(
    world: World, reached: dict[str, State], row: Row
) -> None:
    _given(world, row)
    first = _state(world)
    shown = world.run(*row.arguments, *row.harmless, "--dry-run", "--json")
    assert shown.status == 0, shown.stderr
    assert differences(_state(world), first) == []
    done = world.run(*row.arguments, *row.consent, "--json")
    assert done.status == 0, done.stderr
    assert without_moment(shown.lines) == without_moment(done.lines)
    assert len(done.lines) == row.steps, done.lines
    assert [
        {step["status"] for step in reported["steps"]}
        for reported in (shown.reported, done.reported)
    ] == [
        {"planned"},
        {"done"},
    ]
    assert (shown.reported["changed"], done.reported["changed"]) == (False, True)
    reached[row.name] = _timeless_state(world)
    last = _state(world)
    again = world.run(*row.arguments, *row.consent, "--json")
    assert (again.status, again.reported["steps"], again.reported["changed"]) == (0, [], False)
    assert differences(_state(world), last) == []


def _given(world: World, row: Row) -> None:
    world.arrive(row.name, lambda: row.given(world))
    for name in row.down:
        world.environment.stop(name)


KILLS = [
    pytest.param(
        row,
        reported,
        id=f"{row}, {reported} of {row.steps} done",
        marks=() if reported in row.kills and not row.slow else pytest.mark.slow,
    )
    for row in ROWS
    for reported in range(1, row.steps + 1)
    if reported in row.kills or reported % row.every == 0
]


@pytest.mark.parametrize(("row", "reported"), KILLS)
def test_a_run_killed_after_any_step_is_finished_by_the_next(
    world: World, reached: dict[str, State], row: Row, reported: int
) -> None:
    if row.name not in reached:
        _given(world, row)
        world.done(*row.arguments, *row.consent)
        reached[row.name] = _timeless_state(world)
        world.reset()
    _given(world, row)
    killed = world.run(*row.arguments, *row.consent, dies_after=reported)
    assert killed.status == -9, killed.stdout + killed.stderr
    assert " done " in killed.stdout
    finished = world.run(*row.arguments, *row.consent, "--json")
    assert finished.status == 0, finished.stderr
    # In this very state a further run has nothing to do: the law before.
    assert differences(_timeless_state(world), reached[row.name]) == []


@pytest.mark.parametrize(
    ("row", "also"),
    [
        pytest.param(
            row,
            also,
            id=f"{row} {' '.join(also)}",
            marks=() if row.name == "pin" else pytest.mark.slow,
        )
        for row in ROWS
        for also in row.also
    ],
)
def test_a_dry_run_changes_nothing_whatever_else_is_passed(
    world: World, row: Row, also: tuple[str, ...]
) -> None:
    _given(world, row)
    before = _state(world)
    ended = world.run(*row.arguments, *also, "--dry-run")
    assert ended.status == 0, ended.stderr
    assert "Dry run, nothing is changed." in ended.stdout + ended.stderr
    assert differences(_state(world), before) == []


def _cordon(node: str) -> Callable[[World], object]:
    return lambda world: world.environment.api.patch_node(node, {"spec": {"unschedulable": True}})


def without_marks(nodes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The nodes without what import has noted on them."""
    return {
        name: node
        | {
            "metadata": {
                key: node["metadata"][key] for key in node["metadata"] if key != "annotations"
            }
        }
        for name, node in nodes.items()
    }


@pytest.mark.parametrize(
    ("before", "cordoned"),
    [
        pytest.param(lambda _: None, [], marks=pytest.mark.slow, id="all schedulable"),
        pytest.param(_cordon("k8s-node3"), ["k8s-node3"], id="one cordoned by somebody else"),
        pytest.param(
            lambda world: [_cordon(node)(world) for node in NODES[1:]],
            list(NODES[1:]),
            marks=pytest.mark.slow,
            id="all others cordoned by somebody else",
        ),
    ],
)
def test_restore_undoes_pin_exactly(
    world: World, before: Callable[[World], object], cordoned: list[str]
) -> None:
    world.bring_in("k8s-node1")
    before(world)
    nodes = without_marks(world.nodes())
    assert sorted(world.cordoned()) == sorted(cordoned)
    pinned = world.done("pin", "k8s-node1", "--yes")
    assert pinned["result"] == {
        "target": "k8s-node1",
        "cordoned": [node for node in sorted(NODES) if node not in ("k8s-node1", *cordoned)],
        "left_alone": sorted(cordoned),
        "joined": [],
    }
    assert sorted(world.cordoned()) == sorted(NODES[1:])
    restored = world.done("restore", "--yes")
    assert restored["result"]["uncordoned"] == pinned["result"]["cordoned"]
    assert world.nodes() == nodes


@pytest.mark.slow
def test_restore_takes_only_the_annotation_from_a_node_that_somebody_uncordoned_meanwhile(
    world: World,
) -> None:
    world.bring_in("k8s-node1")
    nodes = without_marks(world.nodes())
    world.done("pin", "k8s-node1", "--yes")
    world.environment.api.patch_node("k8s-node2", {"spec": {"unschedulable": None}})
    assert world.done("restore", "--yes")["result"]["uncordoned"] == ["k8s-node10", "k8s-node3"]
    assert world.nodes() == nodes


def test_restore_of_one_node_leaves_the_others_pinned(world: World) -> None:
    world.bring_in("k8s-node1")
    world.done("pin", "k8s-node1", "--yes")
    world.done("restore", "k8s-node2", "--yes")
    assert sorted(world.cordoned()) == ["k8s-node10", "k8s-node3"]


@pytest.mark.slow
def test_an_import_leaves_one_name_of_its_own_and_restore_takes_it(world: World) -> None:
    over_another_image(world)
    world.done("import", "k8s-node1")
    assert [
        name.startswith("breakglass.local/keep/")
        for name in world.names("k8s-node1")
        if not name.startswith("127.0.0.1:")
    ] == [True]
    world.done("restore", "k8s-node1", "--yes")
    assert all(name.startswith("127.0.0.1:") for name in world.names("k8s-node1"))


@pytest.mark.parametrize(
    "how",
    [
        "undisturbed",
        *(
            pytest.param(how, marks=pytest.mark.slow)
            for how in ("after a reboot", "with the API server down")
        ),
    ],
)
def test_restore_undoes_import_exactly(world: World, how: str) -> None:
    """Every file beside the tarball and the image itself; and no process is left."""
    world.fetch("k8s-node1")
    site = world.root("k8s-node1") / "etc/containerd/certs.d/_default/hosts.toml"
    site.parent.mkdir()
    site.write_text("# somebody's\n")
    before = _beside_the_image(world)
    world.done("import", "k8s-node1")
    assert _beside_the_image(world) != before
    assert len(world.responders()) == 1
    if how == "after a reboot":
        world.end_responders()
    elif how == "with the API server down":
        world.environment.stop("api")
    world.done("restore", "k8s-node1", "--yes")
    assert differences(_beside_the_image(world), before) == []
    assert world.responders() == {}


def _beside_the_image(world: World) -> State:
    return {
        path: what
        for path, what in listing(world.root("k8s-node1")).items()
        if not path.startswith("var/lib")
    }


def _state(world: World) -> State:
    return listing(world.environment.root) | {
        f"node {name}": str(item) for name, item in world.nodes().items()
    }


def _timeless_state(world: World) -> State:
    nodes = world.nodes()
    for node in nodes.values():
        annotations = node["metadata"].get("annotations", {})
        node["metadata"] = node["metadata"] | (
            {
                "annotations": dict(
                    zip(annotations, without_moment(list(annotations.values())), strict=True)
                )
            }
            if annotations
            else {}
        )
    return timeless(world.environment.root) | {
        f"node {name}": str(item) for name, item in nodes.items()
    }
