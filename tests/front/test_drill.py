"""drill: recovery is walked to its end, and nothing of it is left anywhere."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from breakglass.sandbox.environment import NAS, TAG, VM
from tests.front.blocks import is_reported
from tests.front.commands import Ended
from tests.front.listing import State, differences, listing
from tests.front.rows import configure
from tests.front.test_json import keeps_the_contract
from tests.front.world import World, flip_a_bit

NODE = "k8s-node1"
FILE = f"infra-ci-{TAG}.tar.gz"


@pytest.fixture
def world(world: World) -> World:
    """The node is one that people work with: it holds the tarball and the image, and answers
    pulls.
    """
    world.bring_in(NODE)
    return world


def state(world: World) -> State:
    """All files of all hosts, containerd's content among them, and the nodes of the cluster; the
    operator's journal is none of it.
    """
    return {
        name: text
        for name, text in listing(world.environment.root).items()
        if name.partition("/")[0] != "state"
    } | {f"node {name}": str(item) for name, item in world.nodes().items()}


def drilled(world: World, *arguments: str, status: int) -> Ended:
    """Run it; nothing of any host may have changed by it."""
    before = state(world)
    ended = world.run("drill", NODE, *arguments)
    assert ended.status == status, ended.stdout + ended.stderr
    assert differences(state(world), before) == []
    return ended


def sidecar(directory: Path) -> Path:
    return directory / f"infra-ci-{TAG}.json"


@pytest.mark.slow
def test_every_source_is_tried_twice_in_a_row_in_the_lines_that_were_shown_and_nothing_is_left(
    world: World,
) -> None:
    shown = drilled(world, "--dry-run", "--json", status=0)
    reported = [keeps_the_contract(drilled(world, "--json", status=0)) for _ in range(2)]
    assert {step["status"] for step in shown.reported["steps"]} == {"planned"}
    assert [[step["line"] for step in each["steps"]] for each in reported] == [shown.lines] * 2
    assert [each["changed"] for each in reported] == [False, False]
    assert [
        (source["name"], source["tag"], source["via"], source["ok"], source["error"])
        for source in reported[0]["result"]["sources"]
    ] == [(name, TAG, "node", True, None) for name in (VM, NAS)]
    assert [(check["name"], check["ok"]) for check in reported[0]["result"]["checks"]] == [
        (name, True) for name in ("programs", "answering pulls", "login to the VM", "rights")
    ]
    assert sum("images import" in line for line in shown.lines) == 2
    assert not any("k8s.io" in line or "certs.d" in line for line in shown.lines)


def test_where_the_node_is_chosen_each_source_is_read_once(world: World) -> None:
    shown = world.run("drill", "--dry-run", "--verbose")
    assert shown.status == 0, shown.stderr
    asked = [line for line in shown.stderr.splitlines() if "$ sh -c ... shelf " in line]
    assert [sum(line.startswith(f"{name}$ ") for line in asked) for name in (VM, NAS)] == [1, 1]


@pytest.mark.slow
def test_without_node_one_is_chosen_and_the_way_back_is_said_to_work(world: World) -> None:
    ended = world.run("drill")
    assert ended.status == 0, ended.stderr
    assert ended.stdout.startswith(f"chose {NODE}: ")
    assert ended.stdout.endswith(
        f"Recovery works today: from {VM} and from {NAS} into containerd on {NODE}.\n"
    )


def _without_sidecar(world: World) -> None:
    sidecar(world.environment.nas_directory).unlink()


def _old(world: World) -> None:
    path = sidecar(world.environment.nas_directory)
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"created_at": "2026-01-01T00:00:00Z"})
    )


def _shorter(world: World) -> None:
    path = world.environment.nas_directory / FILE
    path.write_bytes(path.read_bytes()[:-1])


def _empty(world: World) -> None:
    for path in world.environment.nas_directory.iterdir():
        path.unlink()


FAULTS: dict[str, tuple[Callable[[World], object], int, str]] = {
    "a bit flipped": (
        lambda world: flip_a_bit(world.environment.nas_directory / FILE),
        6,
        "sha256",
    ),
    "no sidecar": (_without_sidecar, 3, "sidecar"),
    "old": (_old, 3, "max_age_hours"),
    "one byte short": (_shorter, 6, "its sidecar says"),
    "no tarball": (_empty, 3, "no tarball"),
    "down": (lambda world: world.environment.stop(NAS), 5, "refused"),
}


@pytest.mark.parametrize(
    "what",
    [
        "a bit flipped",
        *(
            pytest.param(what, marks=pytest.mark.slow)
            for what in ("old", "no sidecar", "one byte short", "no tarball", "down")
        ),
    ],
)
def test_what_is_wrong_with_one_source_is_reported_and_the_other_is_tried_all_the_same(
    world: World, what: str
) -> None:
    damage, code, words = FAULTS[what]
    damage(world)
    reported = keeps_the_contract(drilled(world, "--json", status=code))
    vm, nas = reported["result"]["sources"]
    assert (vm["ok"], nas["ok"]) == (True, False)
    assert words in nas["error"]
    assert words in reported["error"]["message"]
    assert "breakglass drill" in reported["error"]["next"]
    assert reported["changed"] is False
    assert sum(
        "images import" in step["line"] and step["status"] == "done" for step in reported["steps"]
    ) == (2 if what == "old" else 1)


def test_the_worst_of_several_findings_decides_and_all_of_them_are_reported(world: World) -> None:
    world.environment.stop(VM)
    _without_sidecar(world)
    world.environment.stop("api")
    block = is_reported(world.run("drill", NODE), 5, VM, NAS, "sidecar", "rights", "API")
    assert "Nothing of the drill is left" in block


@pytest.mark.slow
def test_what_pulls_would_not_be_answered_with_is_a_finding(world: World) -> None:
    configure(world, "nodes", registry_config="/etc/elsewhere")
    reported = drilled(world, "--json", status=3).reported
    assert [check["name"] for check in reported["result"]["checks"] if not check["ok"]] == [
        "answering pulls"
    ]
    configure(world, "nodes", answer_pulls=False)
    drilled(world, status=0)


FAILING_IMPORT = (
    'case "$*" in *breakglass-drill*"images import"*) $REAL "$@"; echo "ctr: connection error" '
    '>&2; exit 1;; esac; exec $REAL "$@"'
)


@pytest.mark.slow
def test_a_failing_import_leaves_nothing_behind(world: World) -> None:
    with world.program(NODE, "ctr", FAILING_IMPORT):
        ended = drilled(world, "--json", status=4)
    assert [source["ok"] for source in ended.reported["result"]["sources"]] == [False, False]
    assert "connection error" in ended.reported["error"]["message"]
    assert "undoing: " in ended.stderr


ITS_IMPORT = '*breakglass-drill*"images import"*'


# A file that was not there yet when the shelf was read, and is listed.
LISTING_BESIDE_A_PUBLISHING = (
    'if [ "$1" = -A ] && mkdir {raced} 2>/dev/null; then echo infra-ci-feedbeef.tar.gz.sha256; '
    'fi; exec $REAL "$@"'
)


@pytest.mark.slow
def test_while_one_drills_another_run_on_the_node_ends_at_once_and_names_the_holder(
    world: World,
) -> None:
    raced = world.directory / "raced"
    with world.held(NODE, "ctr", ITS_IMPORT) as gate:
        first = world.start("drill", NODE)
        gate.reached()
        with world.program(NODE, "ls", LISTING_BESIDE_A_PUBLISHING.format(raced=raced)):
            is_reported(world.run("drill", NODE), 7, "is held by", "run ")
        raced.rmdir()
    # The gate is open now, and the second source needs none.
    assert first.end().status == 0


@pytest.mark.slow
def test_a_drill_that_is_reported_to_end_takes_away_what_it_has_begun(world: World) -> None:
    before = state(world)
    with world.held(NODE, "ctr", ITS_IMPORT) as gate:
        drilling = world.start("drill", NODE)
        gate.reached()
        drilling.send(signal.SIGTERM)
        gate.open()  # what runs on the node goes on meanwhile, as it does on a real one
        assert drilling.end().status == 128 + signal.SIGTERM
    assert differences(state(world), before) == []


@pytest.mark.slow
@pytest.mark.parametrize("changes", [2, 3, 4, 6, 7, 8, 10])
def test_what_a_killed_drill_has_left_is_removed_by_the_next(world: World, changes: int) -> None:
    before = state(world)
    assert world.run("drill", NODE, dies_after=changes).status == -9
    assert differences(state(world), before) != []
    reported = world.done("drill", NODE)
    assert differences(state(world), before) == []
    assert [source["ok"] for source in reported["result"]["sources"]] == [True, True]


@pytest.mark.slow
def test_a_node_without_room_for_the_import_is_refused_before_anything_is_copied(
    world: World,
) -> None:
    full = (
        "echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'; echo 'sandbox "
        "100000000 84990000 15010000 85% /'"
    )
    with world.program(NODE, "df", full):
        ended = drilled(world, "--json", status=3)
    assert "no room" in ended.reported["error"]["message"]
    assert ended.reported["steps"] == []


@pytest.mark.slow
def test_without_python3_on_the_node_nothing_is_tried(world: World) -> None:
    with world.without_program(NODE, "python3"):
        reported = drilled(world, "--json", status=3).reported
    assert reported["steps"] == []
    assert "no python3" in reported["error"]["message"]


@pytest.mark.parametrize(
    "how",
    [
        "a link",
        pytest.param("a file", marks=pytest.mark.slow),
        pytest.param("somebody's tarball", marks=pytest.mark.slow),
    ],
)
def test_a_scratch_directory_that_is_nothing_of_ours_is_refused_and_left_alone(
    world: World, how: str
) -> None:
    scratch = world.shelf(NODE) / ".drill"
    if how == "a link":
        scratch.symlink_to(".")
    elif how == "a file":
        scratch.write_text("mine")
    else:
        scratch.mkdir()
        (scratch / "infra-ci-deadbeef.tar.gz").write_bytes(b"mine")
    is_reported(drilled(world, status=3), 3, "a drill empties that directory", "move it away")
