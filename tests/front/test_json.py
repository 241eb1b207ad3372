"""`--json`: exactly one object on stdout, with the contract's keys and types, however it ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from breakglass.sandbox.environment import TAG, VM
from tests.front.commands import Ended
from tests.front.world import World

KEYS: dict[str, type | tuple[type, ...]] = {
    "command": str,
    "ok": bool,
    "exit_code": int,
    "dry_run": bool,
    "changed": bool,
    "configuration": (str, type(None)),
    "cluster": (dict, type(None)),
    "steps": list,
    "result": dict,
    "error": (dict, type(None)),
}
KINDS = {
    1: "bug",
    2: "usage",
    3: "refused",
    4: "failed",
    5: "unreachable",
    6: "integrity",
    7: "busy",
}
RESULTS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "snapshot": {"tag": str, "image_id": str, "sha256": str, "size_bytes": int, "removed": list},
    "fetch": {"tag": str, "node": str, "source": str, "via": str, "sha256": str, "size_bytes": int},
    "import": {
        "tag": str,
        "node": str,
        "image_id": str,
        "names": list,
        "answers_pulls": bool,
        "kept": bool,
        "verdicts": list,
    },
    "pin": {"target": str, "cordoned": list, "left_alone": list, "joined": list},
    "restore": {"uncordoned": list, "cleaned": list, "unreached": list},
    "drill": {"node": str, "sources": list, "checks": list},
    "check": {"verdict": str, "registries": list, "starting": list, "not_starting": list},
    "status": {
        "sources": list,
        "nodes": list,
        "pin": (dict, type(None)),
        "newest": (dict, type(None)),
        "stale": bool,
        "api": dict,
        "next": str,
    },
}


def keeps_the_contract(ended: Ended) -> dict[str, Any]:
    """The object, looked at from all sides."""
    assert ended.stdout.count("\n") == 1
    reported: dict[str, Any] = json.loads(ended.stdout)
    assert not [key for key, kind in KEYS.items() if not isinstance(reported[key], kind)], reported
    assert set(reported) == set(KEYS), "fields may be added: then add them here and to the contract"
    assert reported["exit_code"] == ended.status
    assert reported["ok"] is (ended.status in (0, 10, 11))
    for step in reported["steps"]:
        assert set(step) == {"line", "status", "seconds"}
        assert isinstance(step["line"], str)
        assert step["status"] in ("planned", "done", "failed", "not run")
        assert isinstance(step["seconds"], float) is (step["status"] in ("done", "failed"))
    if reported["error"] is not None:
        assert {"kind", "message", "next"} <= set(reported["error"])
        commands = reported["error"]["next_commands"]
        assert commands
        assert all(isinstance(command, str) for command in commands)
        assert reported["error"]["next"].splitlines()[-len(commands) :] == commands
        assert reported["error"]["kind"] == KINDS[ended.status]
        assert " ".join(reported["error"]["message"].split()) in " ".join(ended.stderr.split())
    else:
        assert ended.status in (0, 10, 11)
        assert not [
            key
            for key, kind in RESULTS[reported["command"]].items()
            if not isinstance(reported["result"][key], kind)
        ], reported["result"]
    return reported


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        (lambda _: None, ("snapshot", "--tag", TAG)),
        (World.publish, ("fetch", "k8s-node1")),
        pytest.param(
            lambda world: world.fetch("k8s-node1"), ("import", "k8s-node1"), marks=pytest.mark.slow
        ),
        pytest.param(
            lambda world: world.bring_in("k8s-node1"),
            ("pin", "k8s-node1", "--yes"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda world: world.bring_in("k8s-node1"), ("restore", "--yes"), marks=pytest.mark.slow
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_success_and_nothing_to_do_are_reported_in_one_object(
    world: World, given: Callable[[World], None], arguments: tuple[str, ...]
) -> None:
    given(world)
    done = keeps_the_contract(world.run("--json", *arguments))
    assert (done["command"], done["exit_code"], done["dry_run"]) == (arguments[0], 0, False)
    assert done["changed"] is bool(done["steps"])
    again = keeps_the_contract(world.run(*arguments, "--json"))
    assert (again["steps"], again["changed"], again["exit_code"]) == ([], False, 0)


def test_a_dry_run_is_reported_with_every_step_planned_and_nothing_changed(world: World) -> None:
    world.publish()
    ended = world.run("--json", "fetch", "k8s-node1", "--dry-run")
    reported = keeps_the_contract(ended)
    assert (
        reported["dry_run"],
        reported["changed"],
        {step["status"] for step in reported["steps"]},
    ) == (
        True,
        False,
        {"planned"},
    )
    assert "Dry run" in ended.stderr


def test_a_refusal_is_reported_with_what_to_type_next(world: World) -> None:
    reported = keeps_the_contract(world.run("import", "k8s-node1", "--json"))
    assert (reported["exit_code"], reported["error"]["kind"], reported["error"]["next"]) == (
        3,
        "refused",
        "breakglass fetch k8s-node1",
    )


def test_a_failed_step_is_reported_as_failed_and_those_after_it_as_not_run(world: World) -> None:
    world.fetch("k8s-node1")
    with world.program(
        "k8s-node1",
        "ctr",
        'case "$*" in *import*) echo "ctr: no" >&2; exit 1;; esac; exec $REAL "$@"',
    ):
        reported = keeps_the_contract(world.run("import", "k8s-node1", "--json"))
    assert reported["exit_code"] == 4
    assert [step["status"] for step in reported["steps"]] == [
        "done",
        "done",
        "done",
        "failed",
        *["not run"] * 14,
    ]


def test_something_unreachable_is_reported(world: World) -> None:
    world.environment.stop(VM)
    assert keeps_the_contract(world.run("snapshot", "--tag", TAG, "--json"))["exit_code"] == 5


@pytest.mark.parametrize(
    ("arguments", "command", "message"),
    [
        (("--json", "burn"), "burn", "No such command 'burn'"),
        (("burn", "--json"), "burn", "No such command 'burn'"),
        (("fetch", "--json", "--fast"), "fetch", "No such option: --fast"),
        (("--json", "--fast", "fetch"), "fetch", "No such option: --fast"),
        (("pin", "a", "b", "--json"), "pin", "unexpected extra argument"),
        (("recover", "a", "b", "--json"), "recover", "got besides: b"),
        (("snapshot", "--json", "--tag"), "snapshot", "--tag"),
        (("fetch", "--via", "pigeon", "--json"), "fetch", "--via is auto, node or operator"),
        (("snapshot", "--json"), "snapshot", "no tag"),
        (("--config", "/nonexistent", "check", "--json"), "check", "/nonexistent"),
        (("-c", "/nonexistent", "--json", "check"), "check", "/nonexistent"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
@pytest.mark.slow
def test_a_usage_error_is_reported_in_one_object_too(
    world: World, arguments: tuple[str, ...], command: str, message: str
) -> None:
    reported = keeps_the_contract(world.run(*arguments))
    assert (reported["exit_code"], reported["command"], reported["steps"], reported["changed"]) == (
        2,
        command,
        [],
        False,
    )
    assert message in reported["error"]["message"]


@pytest.mark.parametrize(
    ("typed", "next_step"),
    [
        ("burn", "breakglass --help"),
        ("unpin", "breakglass restore"),
        ("undo k8s-node1 --yes", "breakglass restore"),
        ("rollback", "breakglass restore"),
        ("save", "breakglass snapshot"),
        ("--fast check", "breakglass --help"),
        ("fetch --fast", "breakglass fetch --help"),
        ("pin a b", "breakglass pin --help"),
        ("check --tag", "breakglass check --help"),
        ("recover k8s-node1 sleep 30", "breakglass recover --help"),
        (
            "recover k8s-node1 sh -c ./repair.sh",
            "breakglass recover --help",
        ),
        (
            "recover --config X",
            "breakglass recover --help",
        ),
        (
            "check --config X",
            "breakglass check --help",
        ),
        (
            "restore -c X --yes",
            "breakglass restore --help",
        ),
        (
            "restore --config=X",
            "breakglass restore --help",
        ),
    ],
)
def test_a_usage_error_says_what_to_type_instead(world: World, typed: str, next_step: str) -> None:
    ended = world.run(*typed.split())
    last = ended.stderr.splitlines()[-1]
    assert (ended.status, last.removeprefix("  Next:").strip()) == (2, next_step)


def test_of_a_command_without_its_dashes_only_the_first_word_is_reported(world: World) -> None:
    ended = world.run("recover", "k8s-node1", "./repair.sh", "hunter2", "--json")
    assert (
        ended.reported["error"]["message"]
        == "recover takes one NODE, and got besides: ./repair.sh ...; a command goes behind --"
    )
    assert "hunter2" not in ended.stdout + ended.stderr


def test_a_missing_configuration_is_reported_with_every_place_that_was_looked_at(
    world: World, tmp_path: Path
) -> None:
    ended = world.run("check", "--json", environ={"BREAKGLASS_CONFIG": None}, directory=tmp_path)
    reported = keeps_the_contract(ended)
    assert reported["exit_code"] == 2
    assert all(
        place in reported["error"]["message"]
        for place in (
            "--config",
            "BREAKGLASS_CONFIG",
            f"{tmp_path}/breakglass.yaml",
            "/etc/breakglass/config.yaml",
        )
    )


def test_all_three_faults_of_a_configuration_are_reported_at_once(
    world: World, tmp_path: Path
) -> None:
    document = json.loads(world.environment.config.read_text("utf-8"))
    document["registry_vm"]["keep"] = "five"
    document["nodes"]["directory"] = "../x"
    document["colour"] = "red"
    (tmp_path / "breakglass.yaml").write_text(json.dumps(document))
    reported = keeps_the_contract(
        world.run("check", "--json", environ={"BREAKGLASS_CONFIG": None}, directory=tmp_path)
    )
    assert reported["exit_code"] == 2
    assert all(
        path in reported["error"]["message"]
        for path in ("3 faults", "registry_vm.keep", "nodes.directory", "colour")
    )


def test_a_tolerated_failure_tells_the_true_code(world: World) -> None:
    world.environment.stop("registry-private")
    ended = world.run("snapshot", "--tag", TAG, "--tolerate-failure", "--json")
    assert (
        ended.status,
        ended.reported["exit_code"],
        ended.reported["ok"],
        ended.reported["error"]["kind"],
    ) == (0, 5, False, "unreachable")
