"""It is the right machine and the right cluster, or nothing is changed and it is reported why."""

import json
import os
from collections.abc import Iterator

import pytest

from breakglass.sandbox.environment import NODES
from tests.front.blocks import is_reported
from tests.front.listing import differences, listing
from tests.front.rows import REGISTRIES, configure
from tests.front.world import World

NODE, OTHER = "k8s-node1", "k8s-node3"
CHANGING = (
    ("fetch",),
    ("recover", "--yes"),
    pytest.param(("import",), marks=pytest.mark.slow),
    pytest.param(("drill",), marks=pytest.mark.slow),
)
FIRST = "Nothing was changed."


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = os.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def imported(world: World) -> World:
    """The node has the image, and no registry serves it."""
    world.bring_in(NODE)
    for name in REGISTRIES:
        world.environment.stop(name)
    return world


def points_at(world: World, name: str, host: str) -> None:
    """In nodes.hosts, the name has the address of this host."""
    document = json.loads(world.environment.config.read_text("utf-8"))
    hosts = document["nodes"]["hosts"]
    configure(world, "nodes", hosts=hosts | {name: hosts[host]})


def everything(world: World) -> dict[str, str]:
    return {
        path: text
        for path, text in listing(world.environment.root).items()
        if not path.startswith("state/")
    }


@pytest.mark.parametrize("command", [*CHANGING, ("pin", "--yes")], ids=" ".join)
def test_a_name_that_leads_to_another_machine_is_refused_before_anything_is_run_as_root(
    imported: World, command: tuple[str, ...]
) -> None:
    points_at(imported, OTHER, NODE)
    files, nodes = everything(imported), imported.nodes()
    with imported.without_program(NODE, "sudo"):
        ended = imported.run(command[0], OTHER, *command[1:])
    is_reported(ended, 3, f"is not {OTHER}", f"are those of {NODE}", FIRST, "nodes.hosts")
    assert differences(files, everything(imported)) == []
    assert imported.nodes() == nodes


@pytest.mark.parametrize(
    "command",
    [*CHANGING, ("pin", NODE, "--yes"), pytest.param(("pin", "--yes"), marks=pytest.mark.slow)],
    ids=" ".join,
)
def test_another_cluster_with_the_same_node_names_is_left_alone(
    imported: World, command: tuple[str, ...]
) -> None:
    files = everything(imported)
    with imported.other_cluster(*NODES) as other:
        before = other.select("nodes", None, "")[1]
        ended = imported.run(*command)
        assert other.select("nodes", None, "")[1] == before
    where = f"cluster elsewhere ({other.url})"
    is_reported(ended, 3, where, FIRST, "kubectl config get-contexts")
    assert f"asking {where}" in ended.stderr
    assert differences(files, everything(imported)) == [
        line for line in differences(files, everything(imported)) if line.startswith("kubeconfig")
    ]


@pytest.mark.parametrize(
    ("boot", "machine", "why"),
    [
        ("of today", NODE, "was rebooted and kubelet has not reported that yet"),
        (NODE, "regenerated", "generated anew after kubelet started"),
        ("of today", "another", f"is not the node {NODE}"),
    ],
)
def test_what_differs_and_why_that_can_be_is_reported(
    world: World, boot: str, machine: str, why: str
) -> None:
    world.publish()
    world.is_machine(NODE, boot, machine)
    is_reported(world.run("fetch", NODE), 3, why, FIRST)
    # The choice passes it over, and says why.
    chosen = world.done("fetch")
    assert chosen["result"]["node"] != NODE


@pytest.mark.slow
def test_pin_and_recover_go_on_anyway_with_a_warning(imported: World) -> None:
    imported.is_machine(NODE, "of today", NODE)
    for command in ("pin", "recover"):
        is_reported(imported.run(command, NODE, "--yes"), 3, "rebooted")
        ended = imported.run(command, NODE, "--yes", "--anyway")
        assert (ended.status, ended.stderr.count("going on because of --anyway")) == (0, 1)
        assert sorted(imported.cordoned()) == sorted({*NODES} - {NODE})
    is_reported(imported.run("restore", NODE, "--yes"), 4, "rebooted", "restore", "--anyway")
    assert imported.done("restore", "--yes", "--anyway")["result"]["cleaned"] == [NODE]


@pytest.mark.slow
def test_restore_leaves_another_machine_alone_and_restores_the_other_nodes(world: World) -> None:
    world.bring_in(NODE)
    world.done("fetch", OTHER)
    world.done("import", OTHER)
    world.done("pin", NODE, "--yes")
    world.is_machine(NODE, "another")
    before = listing(world.root(NODE))
    ended = world.run("restore", "--yes")
    is_reported(ended, 4, f"is not the node {NODE}", "that machine is left alone")
    assert listing(world.root(NODE)) == before
    assert world.cordoned() == []
    assert not list((world.root(OTHER) / "etc/containerd/certs.d").glob("*/hosts.toml"))
    world.is_machine(NODE, NODE)
    assert world.done("restore", "--yes")["result"]["cleaned"] == [NODE]


@pytest.mark.slow
def test_a_command_of_recover_is_followed_by_restore_though_the_node_has_rebooted(
    imported: World,
) -> None:
    boot_id = imported.root(NODE) / "machine/boot_id"
    new = "00000000-0000-4000-8000-000000000000"
    ended = imported.run(
        "recover", NODE, "--yes", "--", "sh", "-c", f"echo {new} > {boot_id}; exit 9"
    )
    assert ended.status == 9, ended.stderr
    assert imported.cordoned() == []


def test_with_the_api_down_nothing_is_compared_and_the_commands_go_on(world: World) -> None:
    world.publish()
    world.is_machine(NODE, "another")
    world.environment.stop("api")
    for command in ("fetch", "import"):
        ended = world.run(command, NODE)
        assert ended.status == 0, ended.stderr
        assert f"is not known whether wizard@127.0.0.1:{world.host(NODE).port} is {NODE}" in (
            ended.stderr
        )


def test_an_address_that_several_nodes_have_is_none_of_them(world: World) -> None:
    world.publish()
    # Every node of the sandbox has this InternalIP, and no SSH server is on its port 22.
    is_reported(world.run("fetch", "127.0.0.1"), 3, "there is no node 127.0.0.1")


@pytest.mark.slow
def test_the_cluster_stands_in_the_question_in_the_lines_and_in_the_json(
    imported: World, terminal: tuple[int, int]
) -> None:
    cluster = f"sandbox ({imported.environment.api.url})"
    started = imported.start("pin", NODE, terminal=terminal[1])
    started.until("[y/N]")
    os.write(terminal[0], b"y\n")
    ended = started.end()
    assert f"On cluster {cluster}: Cordon these nodes" in ended.stderr
    assert "kubectl --context sandbox patch node" in ended.stdout
    assert cluster in imported.run("status").stdout
    restored = imported.done("restore", "--yes")
    assert restored["cluster"] == {"context": "sandbox", "server": imported.environment.api.url}
    assert all(
        "kubectl --context sandbox" in step["line"]
        for step in restored["steps"]
        if "kubectl" in step["line"]
    )
    assert f" steps on cluster {cluster}: " in imported.run("recover", NODE).stdout
    imported.environment.kubeconfig.unlink()
    assert imported.run("status", "--json").reported["cluster"] is None
    imported.environment.api.kubeconfig(imported.environment.kubeconfig)


def test_a_context_with_control_characters_is_data(imported: World) -> None:
    imported.environment.api.kubeconfig(imported.environment.kubeconfig, "a\x1b[2J'b\n")
    try:
        ended = imported.run("pin", NODE, "--yes", "--dry-run")  # run() looks for such characters
        assert """kubectl --context 'a?[2J'"'"'b' patch node""" in ended.stdout
    finally:
        imported.environment.api.kubeconfig(imported.environment.kubeconfig)


def test_an_empty_cluster_is_a_finding_and_names_itself(imported: World) -> None:
    with imported.other_cluster() as empty:
        where = f"cluster elsewhere ({empty.url}) lists no nodes"
        reported = " ".join(imported.run("status").stdout.split())
        assert where in reported
        assert reported.endswith("kubectl config get-contexts breakglass status")
        assert where in " ".join(imported.run("check").stdout.split())
        for command in ("fetch", "recover"):
            is_reported(
                imported.run(command, "--yes") if command == "recover" else imported.run(command),
                3,
                where,
            )


def test_a_cluster_of_other_names_is_doubted(world: World) -> None:
    with world.other_cluster("worker-1", "worker-2"):
        reported = " ".join(world.run("status").stdout.split())
        assert "no name in nodes.hosts is a node of cluster elsewhere" in reported
