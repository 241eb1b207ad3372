"""`status`, with the environment whole and with each part of it down in turn."""

import json

import pytest

from breakglass.sandbox.environment import NAS, TAG, VM
from tests.front.commands import Ended
from tests.front.rows import OTHER_TAG, REGISTRIES, configure
from tests.front.test_json import keeps_the_contract
from tests.front.world import World


def pinned(world: World) -> None:
    """k8s-node1 has the image, is the target of a pin, and should serve the image locally; whether
    it does depends on how this state was arrived at.
    """

    def go() -> None:
        world.bring_in("k8s-node1")
        world.done("pin", "k8s-node1", "--yes", "--reason", "Forgejo is down")

    world.arrive("pinned", go)


def end_of_the_registries(world: World) -> None:
    for registry in REGISTRIES:
        world.environment.stop(registry)


def page(ended: Ended) -> str:
    """What is on the screen, however its lines are wrapped."""
    assert ended.status == 0, ended.stderr
    lines, _, following = ended.stdout.partition("\nNext:  ")
    assert max(map(len, lines.splitlines())) <= 80
    assert following
    return " ".join(ended.stdout.split())


@pytest.mark.slow
def test_the_whole_of_a_small_environment_with_a_pin_in_force_is_one_screen(world: World) -> None:
    pinned(world)
    world.done("import", "k8s-node1")
    (world.environment.vm_directory / "infra-ci-0ld0ld00.tar.gz").write_bytes(
        b"of the old pipeline"
    )
    end_of_the_registries(world)
    ended = world.run("status")
    assert len(ended.stdout.splitlines()) <= 24
    reported = page(ended)
    assert reported.startswith("OUTAGE no registry serves the image; pinned to k8s-node1 for ")
    assert f"Newest verified tarball: {TAG}, " in reported
    assert "not verified, 19 B, never removed by breakglass: 0ld0ld00" in reported
    assert f"synology: 1 verified tarball, all as on registry-vm; latest is {TAG}" in reported
    assert f"k8s-node1 Ready has the image; tarball {TAG}; serves it locally" in reported
    assert "k8s-node2 Ready, pinned does not have the image" in reported
    assert "Forgejo is down cordoned for it: k8s-node10, k8s-node2, k8s-node3" in reported
    assert reported.endswith("Next: run the pipeline, then undo everything: breakglass restore")


@pytest.mark.parametrize(
    ("part", "said", "left"),
    [
        (
            VM,
            "registry-vm: was not reached on port",
            (
                "synology: 1 verified tarball",
                "k8s-node1 Ready has the image",
                "Pinned to k8s-node1",
            ),
        ),
        pytest.param(
            NAS,
            "synology: was not reached on port",
            (
                "registry-vm: 1 verified tarball",
                "k8s-node1 Ready has the image",
                "Pinned to k8s-node1",
            ),
            marks=pytest.mark.slow,
        ),
        (
            "api",
            "API server: not reached",
            (
                "registry-vm: 1 verified tarball",
                "k8s-node1 not known has the image",
                "Whether a pin is in force is not known",
            ),
        ),
        (
            "k8s-node1",
            "k8s-node1 Ready was not reached on port",
            (
                "registry-vm: 1 verified tarball",
                "k8s-node2 Ready, pinned does not have the image",
                "Pinned to k8s-node1",
            ),
        ),
    ],
)
def test_a_part_that_is_down_is_named_and_the_rest_is_still_reported(
    world: World, part: str, said: str, left: tuple[str, ...]
) -> None:
    pinned(world)
    world.environment.stop(part)
    reported = page(world.run("status"))
    assert [words for words in (said, *left) if words not in reported] == []


def test_with_everything_down_it_still_says_so_and_ends_well(world: World) -> None:
    for part in world.environment.status():
        world.environment.stop(part)
    reported = keeps_the_contract(world.run("status", "--json"))
    assert (
        reported["exit_code"],
        reported["result"]["stale"],
        reported["result"]["newest"],
        reported["result"]["api"]["reached"],
        reported["result"]["headline"],
        {registry["state"] for registry in reported["result"]["registries"]},
    ) == (0, True, None, False, "UNKNOWN", {"unreachable"})
    assert "this machine's network first" in reported["result"]["next"]
    assert {
        each["reached"] for each in (*reported["result"]["sources"], *reported["result"]["nodes"])
    } == {False}


def test_the_json_of_a_pin_with_a_node_that_joined_and_a_rebooted_target(world: World) -> None:
    pinned(world)
    world.environment.api.patch_node(
        "k8s-node2",
        {"metadata": {"annotations": {"breakglass/pinned": None}}, "spec": {"unschedulable": None}},
    )
    world.end_responders()
    end_of_the_registries(world)
    reported = keeps_the_contract(world.run("status", "--json"))["result"]
    assert (
        reported["stale"],
        reported["newest"]["tag"],
        reported["pin"]["target"],
        reported["pin"]["reason"],
        reported["pin"]["joined"],
    ) == (False, TAG, "k8s-node1", "Forgejo is down", ["k8s-node2"])
    target = reported["nodes"][0]
    assert (
        target["holds"],
        target["should_answer"],
        target["answers_pulls"],
        target["tarballs"],
    ) == (True, True, False, [TAG])
    assert reported["next"] == (
        "the last one undoes everything; before it, run the pipeline:\n"
        "breakglass import k8s-node1\nbreakglass pin k8s-node1\nbreakglass restore"
    )


def test_an_old_tarball_is_stale_and_a_new_one_that_was_not_mirrored_is_a_lag(world: World) -> None:
    world.publish()
    configure(world, "status", max_age_hours=1)
    record = next(world.environment.vm_directory.glob("*.json"))
    record.write_text(
        json.dumps(json.loads(record.read_text()) | {"created_at": "2026-01-01T00:00:00Z"})
    )
    world.environment.mirror()
    reported = world.run("status", "--json")
    assert reported.reported["result"]["stale"] is True
    assert "STALE, older than 60 min. Newest verified tarball: " in reported.stderr
    assert reported.reported["result"]["next_commands"] == ["breakglass snapshot --help"]
    world.environment.push(OTHER_TAG)
    world.done("snapshot", "--tag", OTHER_TAG)
    after = world.done("status")["result"]
    assert (after["stale"], [source["lags"] for source in after["sources"]]) == (False, [0, 1])


@pytest.mark.slow
def test_a_silent_containerd_and_an_edited_hosts_toml_do_not_hide_the_rest_of_a_node(
    world: World,
) -> None:
    world.bring_in("k8s-node1")
    world.done("import", "k8s-node1")
    written = next((world.root("k8s-node1") / "etc/containerd/certs.d").glob("*/hosts.toml"))
    written.write_text(written.read_text() + "# by hand\n")
    with world.program("k8s-node1", "ctr", 'echo "cannot connect" >&2; exit 1'):
        ended = world.run("status")
    reported = page(ended)
    assert (
        f"image: not known; tarball {TAG}; serves it locally; containerd on k8s-node1 does "
        f"not answer: exit 1: cannot connect"
    ) in reported
    assert "was edited after breakglass wrote it" in reported


@pytest.mark.slow
def test_a_node_that_only_keeps_the_image_says_so_and_what_ends_that(world: World) -> None:
    world.fetch("k8s-node1")
    world.done("import", "k8s-node1", "--no-answer-pulls")
    end_of_the_registries(world)
    reported = page(world.run("status"))
    assert "k8s-node1 Ready keeps the image" in reported
    assert reported.endswith(
        "Next: go on, or undo it when the outage is over: breakglass pin k8s-node1 "
        "breakglass restore"
    )


def test_it_begins_with_the_state_of_the_registries_and_never_ends_with_nothing_in_an_outage(
    world: World,
) -> None:
    world.publish()
    assert page(world.run("status")).startswith("OK served by forgejo and registry-private ")
    world.environment.stop("forgejo")
    partly = world.done("status")["result"]
    assert (partly["headline"], partly["next"]) == (
        "PARTLY",
        "pods that start need nothing; for the others:\nbreakglass recover",
    )
    world.environment.stop("registry-private")
    outage = page(world.run("status"))
    assert outage.startswith("OUTAGE no registry serves the image forgejo: unreachable (connection")
    assert outage.endswith("Next: breakglass recover")
    world.environment.stop("api")
    assert page(world.run("status")).endswith(
        "breakglass fetch k8s-node1 breakglass import k8s-node1"
    )
