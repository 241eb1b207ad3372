"""`check`: is this the right runbook? Every state that leads to a verdict, and every `Next:` typed
in it.
"""

import json
import shlex

import pytest

from breakglass.sandbox.environment import NAS, TAG, VM
from tests.front.blocks import is_reported
from tests.front.commands import Ended
from tests.front.rows import OTHER_TAG, REGISTRIES, configure
from tests.front.test_json import keeps_the_contract
from tests.front.world import World


def name_in(world: World, registry: str) -> str:
    """The repository by which pods pull from a registry."""
    repository = {"forgejo": "viktor/infra-ci", "registry-private": "infra-ci"}[registry]
    return f"{world.environment.registries[registry].authority}/{repository}"


def verdict_of(ended: Ended) -> tuple[int, str]:
    return ended.status, keeps_the_contract(ended)["result"]["verdict"]


def next_commands(ended: Ended) -> list[list[str]]:
    """The lines of breakglass below `Next:`."""
    text = ended.stdout + ended.stderr
    lines = text[text.index("Next:  ") :].removeprefix("Next:  ").splitlines()
    return [shlex.split(line) for line in lines if line.strip().startswith("breakglass ")]


def test_every_registry_serves_the_image_so_the_runbook_is_not_needed(world: World) -> None:
    served = world.run("check", "--json")
    assert verdict_of(served) == (10, "not needed")
    assert served.reported["ok"] is True
    assert all(
        {"name", "state", "digest", "missing"} <= set(registry)
        for registry in served.reported["result"]["registries"]
    )
    assert served.reported["result"]["not_starting"] == []
    lines = world.run("check").stdout.splitlines()
    assert lines[-2:] == [
        "Next:  nothing to do: pipelines work, so skip the runbook",
        "Exit code 10: not needed: served by forgejo and registry-private",
    ]


@pytest.mark.parametrize("down", REGISTRIES)
def test_one_of_two_registries_is_down_so_some_pods_start_and_some_do_not(
    world: World, down: str
) -> None:
    world.publish()
    world.environment.stop(down)
    (up,) = set(REGISTRIES) - {down}
    partly = world.run("check", "--json")
    assert verdict_of(partly) == (11, "partly")
    assert (partly.reported["ok"], partly.reported["error"]) == (True, None)
    assert partly.reported["result"]["starting"] == [f"{name_in(world, up)}:latest"]
    assert partly.reported["result"]["not_starting"] == [f"{name_in(world, down)}:latest"]
    ended = world.run("check")
    assert ended.stdout.splitlines()[-1] == (
        f"Exit code 11: partly: pods that name {name_in(world, up)}:latest start; pods that name "
        f"{name_in(world, down)}:latest do not"
    )
    assert next_commands(ended) == [["breakglass", "recover"]]


def test_no_registry_serves_the_image_so_the_runbook_starts(world: World) -> None:
    world.publish()
    for registry in REGISTRIES:
        world.environment.stop(registry)
    ended = world.run("check")
    assert ended.stdout.splitlines()[-2:] == [
        "Next:  breakglass recover",
        "Exit code 0: no registry serves the image",
    ]
    assert verdict_of(world.run("check", "--json")) == (0, "start")
    assert world.run("recover", "--dry-run").status == 0


def test_without_a_tarball_it_leads_to_a_page_that_shows_what_the_nodes_have(world: World) -> None:
    for registry in REGISTRIES:
        world.environment.stop(registry)
    ended = world.run("check")
    assert (ended.status, next_commands(ended)) == (0, [["breakglass", "status"]])
    assert "no source has a tarball" in ended.stdout


def test_a_machine_that_reaches_nothing_is_sent_to_its_own_network_and_never_into_the_runbook(
    world: World,
) -> None:
    for part in world.environment.status():
        world.environment.stop(part)
    ended = world.run("check")
    block = is_reported(ended, 5, "no registry, no source and no API server", "network first")
    assert "recover" not in block
    assert next_commands(ended) == [["breakglass", "check"]]
    assert verdict_of(world.run("check", "--json")) == (5, "unknown")
    assert world.run("check", "--expect-served").status == 5


@pytest.mark.parametrize("part", [VM, NAS, "api"])
def test_one_part_that_answers_shows_that_the_network_is_there(world: World, part: str) -> None:
    for other in world.environment.status():
        if other != part:
            world.environment.stop(other)
    assert verdict_of(world.run("check", "--json")) == (0, "start")


def test_a_host_that_answers_and_lets_nobody_in_shows_that_the_network_is_there(
    world: World,
) -> None:
    for other in world.environment.status():
        if other != NAS:
            world.environment.stop(other)
    world.environment.known_hosts.rename(world.directory / "aside")
    try:
        ended = world.run("check", "--json")
    finally:
        (world.directory / "aside").rename(world.environment.known_hosts)
    assert verdict_of(ended) == (0, "start")
    assert ended.reported["result"]["unreached"] == [VM, NAS, "API server"]


@pytest.mark.parametrize("code", [401, 403])
def test_a_registry_that_refuses_us_leaves_it_unknown_and_the_way_to_log_in_is_printed(
    world: World, code: int
) -> None:
    world.environment.stop("forgejo")
    world.environment.refuse("registry-private", code)
    ended = world.run("check", "--json")
    assert (verdict_of(ended), ended.reported["ok"]) == ((5, "unknown"), False)
    authority = world.environment.registries["registry-private"].authority
    is_reported(
        world.run("check", "--tag", TAG),
        5,
        "registry-private refused us",
        f"Next:  log in:\n         docker login {authority}\n         breakglass check --tag {TAG}",
    )


def test_the_digest_that_a_broken_index_lost_is_named(world: World) -> None:
    world.environment.stop("forgejo")
    digests = world.environment.break_image("registry-private", "latest")
    reported = keeps_the_contract(world.run("check", "--json"))
    assert (reported["exit_code"], reported["result"]["registries"][1]["missing"]) == (0, digests)


def test_after_a_push_every_registry_has_to_serve_the_same_image(world: World) -> None:
    expected = world.run("check", "--expect-served")
    assert (expected.status, expected.stdout.splitlines()[-1]) == (
        0,
        "Exit code 0: served by forgejo and registry-private, as expected",
    )
    # The push reached one of them only.
    world.environment.stop("forgejo")
    half = world.run("check", "--expect-served", "--json")
    assert verdict_of(half) == (10, "partly")
    assert "Exit code 10: served by registry-private, but forgejo was not reached" in half.stderr
    world.environment.start("forgejo")
    # forgejo has the build before it under the same tag.
    tags = world.environment.registries["forgejo"].root / "repositories" / "viktor/infra-ci"
    world.environment.push(OTHER_TAG)
    (tags / "latest").write_text((tags / TAG).read_text())
    differing = world.run("check", "--expect-served")
    assert differing.status == 10
    assert "the digests of forgejo and registry-private differ" in differing.stdout
    for registry in REGISTRIES:
        world.environment.stop(registry)
    missed = world.run("check", "--expect-served", "--json")
    assert verdict_of(missed) == (10, "start")
    assert "no registry serves the image, but " in missed.stderr
    assert next_commands(missed) == [["breakglass", "check", "--expect-served"]]


@pytest.mark.slow
def test_with_the_api_server_down_it_leads_straight_to_a_node_that_is_named(world: World) -> None:
    """Each line of `Next:` is typed as it stands."""
    world.publish()
    for part in (*REGISTRIES, "api"):
        world.environment.stop(part)
    ended = world.run("check")
    commands = next_commands(ended)
    assert (ended.status, commands) == (
        0,
        [["breakglass", "fetch", "k8s-node1"], ["breakglass", "import", "k8s-node1"]],
    )
    # recover says the same, with and without a node, and does not lead back to itself.
    for arguments in (("recover", "--yes"), ("recover", "k8s-node1", "--yes")):
        refused = world.run(*arguments)
        is_reported(refused, 5, "API server")
        assert next_commands(refused) == commands
    for _, *words in commands:
        assert world.run(*words).status == 0
    assert world.names("k8s-node1")


def test_with_the_api_server_down_and_no_known_node_an_address_is_asked_for(world: World) -> None:
    world.publish()
    for part in (*REGISTRIES, "api"):
        world.environment.stop(part)
    document = json.loads(world.environment.config.read_text("utf-8"))
    document["nodes"]["hosts"] = {}
    world.environment.config.write_text(json.dumps(document))
    assert "fetch and import work with a node's address" in world.run("check").stdout


# The smallest configuration


def smallest(world: World) -> None:
    """Three lines, for the sandbox's private registry."""
    document = json.loads(world.environment.config.read_text("utf-8"))
    repository, vm = document["image"]["repository"], document["registry_vm"]
    world.environment.config.write_text(
        f"image: {{repository: {json.dumps(repository)}}}\n"
        f"registry_vm: {{ssh: {json.dumps(vm['ssh'])},\n"
        f"  directory: {json.dumps(vm['directory'])}}}\n"
    )


def test_a_configuration_of_three_lines_is_enough_to_ask_the_registry_of_the_name(
    world: World,
) -> None:
    """The keys and the host keys are those of the home directory."""
    smallest(world)
    ended = world.run("check", "--json")
    authority = world.environment.registries["registry-private"].authority
    assert verdict_of(ended) == (10, "not needed")
    assert [registry["name"] for registry in ended.reported["result"]["registries"]] == [authority]
    # forgejo is none of its names.
    world.environment.stop("forgejo")
    assert world.run("check").status == 10
    world.environment.stop("registry-private")
    assert verdict_of(world.run("check", "--json")) == (0, "start")


def test_a_name_points_to_a_registry_that_is_not_configured(world: World) -> None:
    document = json.loads(world.environment.config.read_text("utf-8"))
    document["registries"] = document["registries"][1:]
    world.environment.config.write_text(json.dumps(document))
    world.environment.stop("forgejo")
    ended = world.run("check", "--json")
    assert verdict_of(ended) == (11, "partly")
    forgejo = world.environment.registries["forgejo"].authority
    assert [registry["name"] for registry in ended.reported["result"]["registries"]] == [
        "registry-private",
        forgejo,
    ]


def test_a_configured_registry_that_no_name_points_to_is_reported_and_decides_nothing(
    world: World,
) -> None:
    private = name_in(world, "registry-private")
    configure(world, "image", repository=private, also_known_as=[])
    world.environment.stop("forgejo")
    ended = world.run("check")
    assert ended.status == 10
    assert "forgejo: unreachable (connection refused); no name of the image points to it" in (
        ended.stdout
    )
