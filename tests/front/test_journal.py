"""What was changed stands in the journal: before each change, after it, and at the end."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from breakglass.sandbox.environment import NODES, TAG
from tests.front.blocks import is_reported
from tests.front.commands import without_moment
from tests.front.world import World

NODE = "k8s-node1"


def entries(world: World) -> list[dict[str, Any]]:
    return [json.loads(line) for line in world.journal.read_bytes().splitlines()]


def changes(lines: list[str]) -> list[str]:
    """Of a dry run's lines those that change something."""
    return [
        line
        for line in lines
        if not any(word in line for word in ("flock", "archive verify", "  # ", " marked "))
    ]


def reported(entries: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(entry["line"], entry["result"]) for entry in entries]


@pytest.mark.slow
def test_an_import_is_written_down_change_by_change_as_the_dry_run_showed_it(world: World) -> None:
    world.fetch(NODE)
    world.journal.unlink(missing_ok=True)
    shown = world.run("import", NODE, "--dry-run", "--json").lines
    world.run("check")
    assert not world.journal.exists(), "who only looks leaves nothing"
    world.done("import", NODE)
    *written, ended = entries(world)
    lines = without_moment([entry["line"] for entry in written])
    expected = [line for line in changes(shown) for _ in ("begun", "done")]
    assert lines == without_moment(expected)
    assert [entry["result"] for entry in written] == ["begun", "done"] * 13
    assert {entry["host"] for entry in written} == {NODE, "operator"}
    assert {(entry["run"], entry["by"], entry["command"]) for entry in (*written, ended)} == {
        (ended["run"], ended["by"], "import")
    }
    assert (ended["host"], ended["line"], ended["result"], ended["exit_code"]) == (
        None,
        None,
        "ended",
        0,
    )
    assert [
        oct(path.stat().st_mode & 0o777)
        for path in (world.journal, world.journal.parent, world.journal.parent.parent)
    ] == ["0o600", "0o700", "0o700"]
    world.done("import", NODE)
    assert entries(world) == [*written, ended], (
        "and where there was nothing to do nothing is written"
    )


def test_the_patches_behind_the_claim_of_a_pin_are_all_written_down_before_one_is_sent(
    world: World,
) -> None:
    world.bring_in(NODE)
    world.journal.unlink(missing_ok=True)
    lines = [
        step["line"]
        for step in world.done("pin", NODE, "--yes", "--reason", "Forgejo is down")["steps"]
    ]
    *written, ended = entries(world)
    claim, *others = lines
    assert reported(written[:2]) == [(claim, "begun"), (claim, "done")]
    assert reported(written[2:5]) == [(line, "begun") for line in others]
    assert sorted(reported(written[5:])) == sorted((line, "done") for line in others)
    assert {entry["node"] for entry in written if entry.get("trace") == "begins"} == set(NODES) - {
        NODE
    }
    assert {entry["host"] for entry in written} == {"operator"}
    assert (ended["command"], ended["exit_code"]) == ("pin", 0)


@pytest.mark.slow
def test_a_failed_change_and_what_was_put_back_after_it_are_written_down(world: World) -> None:
    world.fetch(NODE)
    with world.program(
        NODE,
        "ctr",
        (
            'case "$*" in *"images tag"*infra-ci:latest*) echo "ctr: no" >&2; exit 1;; esac; '
            'exec $REAL "$@"'
        ),
    ):
        ended = world.run("import", NODE, "--json")
    is_reported(world.run("import", "k8s-node2"), 3)
    assert ended.status == 4
    written = [entry for entry in entries(world) if entry["command"] == "import"]
    (failed,) = [index for index, entry in enumerate(written) if entry["result"] == "failed"]
    assert written[failed]["line"] in ended.lines
    undone = written[failed + 1 : -1]
    assert undone, "what was restored is a change too"
    assert [entry["result"] for entry in undone] == ["begun", "done"] * (len(undone) // 2)
    assert not set(without_moment([entry["line"] for entry in undone])) & set(ended.lines)
    assert (written[-1]["result"], written[-1]["exit_code"]) == ("ended", 4)


def test_of_a_run_that_a_signal_ended_the_last_change_is_unknown(world: World) -> None:
    world.fetch(NODE)
    with world.held(NODE, "ctr", '*"images import"*') as gate:
        importing = world.start("import", NODE)
        gate.reached()
        importing.send(signal.SIGTERM)
        assert importing.end().status == 128 + signal.SIGTERM
    (unknown,) = [entry for entry in entries(world) if entry["result"] == "unknown"]
    assert "images import" in unknown["line"]
    assert (entries(world)[-1]["result"], entries(world)[-1]["exit_code"]) == (
        "ended",
        128 + signal.SIGTERM,
    )


@pytest.mark.parametrize(
    "place", ["a FIFO in its place", pytest.param("nowhere", marks=pytest.mark.slow)]
)
def test_where_it_cannot_be_written_that_is_said_once_and_the_run_goes_on(
    world: World, place: str
) -> None:
    world.publish()
    state = world.journal.parent.parent
    if place == "nowhere":
        state, reason = Path("/proc/nowhere"), "No such file or directory"
    else:
        world.journal.parent.mkdir(parents=True, exist_ok=True)
        world.journal.unlink(missing_ok=True)
        os.mkfifo(world.journal)
        reason = "it is not a regular file"
    ended = world.run("fetch", NODE, "--json", environ={"XDG_STATE_HOME": str(state)})
    assert (ended.status, ended.reported["changed"]) == (0, True)
    assert ended.stderr.count("warning: the journal") == 1
    assert (
        f"warning: the journal {state}/breakglass/journal.jsonl cannot be written: {reason}; "
        in ended.stderr
    )


def test_a_tolerated_failure_is_written_down_with_its_true_code(world: World) -> None:
    with world.program(
        "registry-vm", "docker", 'case "$1" in save) exit 1;; esac; exec $REAL "$@"'
    ):
        ended = world.run("snapshot", "--tag", TAG, "--via", "docker", "--tolerate-failure")
        assert ended.status == 0
    assert entries(world)[-1]["exit_code"] == 4
