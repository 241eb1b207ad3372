"""Each fault is one readable block, and what was there stays there: arguments, commands that are
missing, locks, keys, words from other hosts.
"""

import json
import signal
from collections.abc import Callable

import pytest

from breakglass.sandbox.environment import NODES, TAG, VM
from tests.front.blocks import is_inert, is_reported
from tests.front.listing import differences, listing
from tests.front.rows import OTHER_TAG, configure
from tests.front.world import World

HOSTILE = (
    ";touch x",
    "$(id)",
    "`id`",
    "-rf",
    "a\nb",
    "a\x1b[2Jb",
    "a\x7fb",
    "x" * 300,
    "../x",
    "/etc/passwd",
    "a b",
    "ä",
    "",
)
TAKES_A_TAG: tuple[Callable[[str], tuple[str, ...]], ...] = (
    lambda text: ("snapshot", f"--tag={text}"),
    lambda text: ("fetch", "k8s-node1", f"--tag={text}"),
    lambda text: ("import", "k8s-node1", f"--tag={text}"),
    lambda text: ("check", f"--tag={text}"),
)
TAKES_A_NODE: tuple[Callable[[str], tuple[str, ...]], ...] = (
    lambda text: ("fetch", "--", text),
    lambda text: ("import", "--", text),
    lambda text: ("pin", "--yes", "--", text),
    lambda text: ("restore", "--yes", "--", text),
    lambda text: ("drill", "--", text),
)


@pytest.fixture
def dark(world: World) -> World:
    """Nothing of the environment answers."""
    for name in world.environment.status():
        world.environment.stop(name)
    return world


def test_a_hostile_tag_is_a_usage_error_before_anything_is_contacted(dark: World) -> None:
    for number, arguments in enumerate(TAKES_A_TAG):
        for text in HOSTILE if number == 0 else HOSTILE[:2]:
            ended = dark.run(*arguments(text))
            is_reported(ended, 2, "nothing was contacted")


def test_a_hostile_node_is_a_usage_error_before_anything_is_contacted(dark: World) -> None:
    for number, arguments in enumerate(TAKES_A_NODE):
        for text in HOSTILE if number == 0 else HOSTILE[:2]:
            is_reported(dark.run(*arguments(text)), 2, "nothing was contacted")


def test_a_hostile_source_is_a_usage_error_before_anything_is_contacted(dark: World) -> None:
    for text in HOSTILE:
        is_reported(dark.run("fetch", "k8s-node1", f"--from={text}"), 2, "nothing was contacted")


def test_a_hostile_commit_is_a_usage_error(dark: World) -> None:
    is_reported(
        dark.run("snapshot", environ={"CI_COMMIT_SHA": "$(id)$(id)"}), 2, "nothing was contacted"
    )


@pytest.mark.parametrize("command", ["snapshot", "fetch", "import"])
def test_a_tag_that_no_tarball_can_have_is_a_usage_error_before_anything_is_contacted(
    dark: World, command: str
) -> None:
    is_reported(dark.run(command, "--tag", "foo-latest"), 2, "foo-latest", "nothing was contacted")


def test_a_name_that_no_file_can_have_is_a_usage_error_before_anything_is_contacted(
    dark: World,
) -> None:
    configure(dark, "image", name="x" * 100)
    is_reported(dark.run("snapshot", "--tag", "y" * 128), 2, "236", "nothing was contacted")


def test_latest_is_no_tag_for_a_snapshot(dark: World) -> None:
    is_reported(dark.run("snapshot", "--tag", "latest"), 2, "--tag TAG")


def test_a_hostile_configuration_is_refused_before_anything_is_contacted(dark: World) -> None:
    configure(dark, "registry_vm", ssh="-oProxyCommand=touch x", directory="/opt/../etc")
    configure(dark, "nodes", hosts={"k8s-node1": "$(id)"}, ctr=["ctr", ";"])
    is_reported(
        dark.run("check"),
        2,
        "registry_vm.ssh",
        "registry_vm.directory",
        "nodes.hosts.k8s-node1",
        "nodes.ctr",
    )


@pytest.mark.parametrize("command", ["fetch", "import", "pin", "restore", "drill"])
def test_a_node_that_nobody_knows_is_refused_with_the_names_that_there_are(
    world: World, command: str
) -> None:
    is_reported(world.run(command, "k8s-node9"), 3, "k8s-node9", "k8s-node10")


@pytest.mark.parametrize("command", ["fetch", "import"])
def test_a_tag_that_there_is_no_tarball_of_is_refused(world: World, command: str) -> None:
    world.publish()
    is_reported(world.run(command, "k8s-node1", "--tag", "deadbeef"), 3, "deadbeef")


def test_a_source_that_there_is_none_of_is_refused_with_the_names_that_there_are(
    world: World,
) -> None:
    is_reported(
        world.run("fetch", "k8s-node1", "--from", "tape"), 3, "tape", "registry-vm, synology"
    )


@pytest.mark.parametrize(
    ("host", "program", "arguments"),
    [
        (VM, "docker", ("snapshot", "--tag", TAG, "--via", "docker")),
        (VM, "python3", ("snapshot", "--tag", TAG)),
        ("k8s-node1", "python3", ("fetch", "k8s-node1")),
        ("k8s-node1", "python3", ("import", "k8s-node1")),
    ],
    ids=["docker", "python3 for snapshot", "python3 for fetch", "python3 for import"],
)
def test_a_program_that_a_host_lacks_is_named(
    world: World, host: str, program: str, arguments: tuple[str, ...]
) -> None:
    if host != VM:
        world.fetch("k8s-node2")
    with world.without_program(host, program):
        is_reported(world.run(*arguments), 3, host, f"has no {program}")


def test_without_a_registry_a_local_copy_is_not_passed_off_as_fresh(world: World) -> None:
    world.publish()
    world.environment.push(OTHER_TAG)
    world.done("snapshot", "--tag", OTHER_TAG)
    for file in world.environment.vm_directory.glob(f"infra-ci-{OTHER_TAG}*"):
        file.unlink()
    before = listing(world.environment.vm_directory)
    world.environment.stop("registry-private")
    is_reported(world.run("snapshot", "--tag", OTHER_TAG, "--via", "docker"), 5, "was not used")
    by_registry = ("snapshot", "--tag", OTHER_TAG, "--via", "registry")
    is_reported(world.run(*by_registry), 5, "registry-vm: ", OTHER_TAG)
    is_reported(world.run("snapshot", "--tag", OTHER_TAG), 5, "was not used")
    assert [
        line
        for line in differences(listing(world.environment.vm_directory), before)
        if "latest" not in line and ".lock" not in line
    ] == []


def test_an_index_whose_child_is_gone_is_reported_apart_from_a_missing_tag(world: World) -> None:
    digest, _ = world.environment.break_image("registry-private", TAG)
    is_reported(world.run("snapshot", "--tag", TAG), 6, "broken", digest)
    is_reported(world.run("snapshot", "--tag", "deadbeef"), 3, "does not have")
    assert list(world.environment.vm_directory.glob("infra-ci*")) == []


def test_of_two_snapshots_at_once_one_wins_and_the_other_names_the_holder(world: World) -> None:
    with world.held(VM, "docker", "save*") as gate:
        winner = world.start("snapshot", "--tag", TAG, "--via", "docker")
        gate.reached()
        loser = world.run("snapshot", "--tag", TAG)
        gate.open()
        assert winner.end().status == 0
    is_reported(loser, 7, "is held by", "run ", "@", " s")


@pytest.mark.slow
def test_after_the_holder_of_the_lock_was_killed_the_next_run_succeeds(world: World) -> None:
    with world.held(VM, "docker", "save*") as gate:
        killed = world.start("snapshot", "--tag", TAG, "--via", "docker")
        gate.reached()
        killed.send(signal.SIGKILL)
        assert killed.end().status == -9
    assert not (world.environment.vm_directory / f"infra-ci-{TAG}.tar.gz").exists()
    assert world.done("snapshot", "--tag", TAG)["changed"] is True


def test_what_another_host_says_is_printed_inert_however_much_it_is(world: World) -> None:
    script = r"""case "$1" in pull) head -c 3000000 /dev/zero | tr '\0' x >&2; printf '[/root] [bold red]\033[2J\033]0;title\007\377\376\r denied\n' >&2; exit 1;; esac; exec $REAL "$@" """  # noqa: E501
    with world.program(VM, "docker", script):
        ended = world.run("snapshot", "--tag", TAG, "--via", "docker")
        reported = world.run("snapshot", "--tag", TAG, "--via", "docker", "--json").reported
    block = is_reported(ended, 5, "[/root] [bold red]", "denied")
    assert len(block) < 3000
    is_inert(reported["error"]["message"])


@pytest.mark.parametrize(
    ("break_it", "status"),
    [
        (lambda world: world.environment.stop(VM), 5),
        (lambda world: world.environment.break_image("registry-private", TAG), 6),
    ],
    ids=["VM down", "image broken"],
)
def test_a_tolerated_failure_exits_0_and_prints_its_block_all_the_same(
    world: World, break_it: Callable[[World], object], status: int
) -> None:
    break_it(world)
    ended = world.run("snapshot", "--tag", TAG, "--tolerate-failure", "--json")
    assert (ended.status, ended.reported["exit_code"]) == (0, status)
    assert "breakglass: " in ended.stderr
    assert f"the snapshot failed with exit code {status}; ending with 0" in ended.stderr


def test_usage_errors_are_not_tolerated(world: World) -> None:
    is_reported(world.run("snapshot", "--tag", ";x", "--tolerate-failure"), 2)
    is_reported(
        world.run("snapshot", "--tolerate-failure", environ={"BREAKGLASS_CONFIG": "/nonexistent"}),
        2,
    )


def test_without_the_api_server_nothing_is_cordoned(world: World) -> None:
    world.bring_in("k8s-node1")
    world.environment.stop("api")
    ended = world.run("pin", "k8s-node1", "--yes")
    is_reported(ended, 5)


def test_without_the_api_server_restore_cleans_the_nodes_and_says_that_nobody_was_uncordoned(
    world: World,
) -> None:
    world.bring_in("k8s-node1")
    world.environment.stop("api")
    first = world.run("restore", "--yes", "--json")
    is_reported(first, 4, "API", "breakglass restore")
    assert (first.reported["result"]["cleaned"], first.reported["result"]["unreached"]) == (
        ["k8s-node1"],
        ["api"],
    )
    is_reported(world.run("restore", "--yes"), 5, "API", "breakglass restore")


def test_a_node_that_restore_cannot_reach_is_listed_and_the_others_are_restored(
    world: World,
) -> None:
    world.bring_in("k8s-node1")
    world.environment.stop("k8s-node2")
    hold = '{"run":"aaaa0000","by":"other@box","at":"2026-04-19T00:00:00Z"}'
    marked = {"metadata": {"annotations": {"breakglass/holds": hold}}}
    world.environment.api.patch_node("k8s-node2", marked)
    ended = world.run("restore", "--yes", "--json")
    is_reported(ended, 4, "k8s-node2")
    assert (ended.reported["result"]["cleaned"], ended.reported["result"]["unreached"]) == (
        ["k8s-node1"],
        ["k8s-node2"],
    )


@pytest.mark.parametrize("command", ["fetch", "import", "drill"])
def test_without_the_api_server_and_without_a_node_the_known_hosts_are_listed(
    world: World, command: str
) -> None:
    world.environment.stop("api")
    is_reported(world.run(command), 5, *NODES, f"\n         breakglass {command} {NODES[0]}\n")


def test_without_the_api_server_naming_a_node_does_not_help_a_pin(world: World) -> None:
    world.environment.stop("api")
    assert "k8s-node1" not in is_reported(world.run("pin"), 5, "bring it back")


def test_with_the_api_server_down_a_named_node_is_served(world: World) -> None:
    world.publish()
    world.environment.stop("api")
    world.done("fetch", "k8s-node1")
    world.done("import", "k8s-node1")


def test_an_annotation_under_our_name_that_is_not_ours_stops_a_pin_before_anything_is_patched(
    world: World,
) -> None:
    world.bring_in("k8s-node1")
    world.environment.api.patch_node(
        "k8s-node2", {"metadata": {"annotations": {"breakglass/pinned": "{broken"}}}
    )
    before = world.nodes()
    is_reported(world.run("pin", "k8s-node1", "--yes"), 3, "breakglass/pinned")
    assert world.nodes() == before


def test_another_target_is_refused_while_a_pin_is_in_force(world: World) -> None:
    world.bring_in("k8s-node1")
    world.done("pin", "k8s-node1", "--yes", "--reason", "Forgejo is down")
    before = world.nodes()
    is_reported(world.run("pin", "k8s-node2", "--yes"), 3, "Forgejo is down", "breakglass restore")
    assert world.nodes() == before


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda world: world.environment.api.patch_node(
                "k8s-node1", {"spec": {"unschedulable": True}}
            ),
            ("does not fit: cordoned",),
        ),
        (
            lambda world: (
                world.environment.api.remove_node("k8s-node1"),
                world.environment.api.add_node("k8s-node1", internal_ip="127.0.0.1", ready=False),
            ),
            ("does not fit: not Ready",),
        ),
        (
            lambda world: world.environment.run(
                "k8s-node1",
                ["sh", "-c", "ctr -n k8s.io images ls -q | xargs ctr -n k8s.io images rm"],
            ),
            ("does not have the image", "breakglass import k8s-node1"),
        ),
    ],
    ids=["cordoned", "not Ready", "without the image"],
)
def test_a_target_that_does_not_fit_is_refused_and_nothing_is_changed(
    world: World, spoil: Callable[[World], object], words: tuple[str, ...]
) -> None:
    world.bring_in("k8s-node1")
    spoil(world)
    before = world.nodes()
    is_reported(world.run("pin", "k8s-node1", "--yes"), 3, *words)
    assert world.nodes() == before


def test_json_and_words_tell_the_same_error(world: World) -> None:
    reported = json.loads(world.run("import", "k8s-node1", "--json").stdout)["error"]
    is_reported(world.run("import", "k8s-node1"), 3, reported["message"], reported["next"])
