"""Every `Next:` helps, in the very state in which it was printed.

Two laws. The first one holds in all front-door tests: `World.run` looks at each error that any of
them meets. Its commands must be lines that the shell and breakglass understand, without a
place-holder (`next_steps.check_next`).

The second one is here. Each row leads to an error, and every command of breakglass in it is typed,
in order, in that state. It must end well, or be another stage of the way: an error with other words
and another `Next:`. The same command again may be named only where something has to be done first.
The row does that (`mend`), as the sentence before the command says.

Commands for other programs (ssh, kubectl, an editor) are for a person: they are parsed, not run.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from breakglass.sandbox.environment import TAG, VM
from tests.front.commands import Ended
from tests.front.next_steps import next_commands
from tests.front.rows import REGISTRIES
from tests.front.world import World, flip_a_bit

ASKS = ("pin", "restore", "recover")
CHANGES_NOTHING = ("breakglass sandbox",)
"""It would wait for a person."""


def nothing(_: World) -> None:
    return


@dataclass(frozen=True)
class Way:
    """An error, and what leads to it."""

    name: str
    arguments: tuple[str, ...]
    status: int
    given: Callable[[World], object] = nothing
    mend: Callable[[World], object] | None = None
    slow: bool = False

    def __str__(self) -> str:
        return self.name


def outage(world: World) -> None:
    for registry in REGISTRIES:
        world.environment.stop(registry)


def published_outage_without_api(world: World) -> None:
    world.publish()
    outage(world)
    world.environment.stop("api")


def without_api(world: World) -> None:
    world.publish()
    world.environment.stop("api")


def stopped(part: str) -> Callable[[World], object]:
    return lambda world: world.environment.stop(part)


def started(part: str) -> Callable[[World], object]:
    return lambda world: world.environment.start(part)


def imported(world: World) -> None:
    world.bring_in("k8s-node1")


def imported_without_api(world: World) -> None:
    imported(world)
    world.environment.stop("api")


def cordoned(world: World) -> None:
    imported(world)
    world.environment.api.patch_node("k8s-node1", {"spec": {"unschedulable": True}})


def pinned(world: World) -> None:
    imported(world)
    world.done("pin", "k8s-node1", "--yes")


def damaged(world: World) -> None:
    world.fetch("k8s-node1")
    flip_a_bit(world.shelf("k8s-node1") / f"infra-ci-{TAG}.tar.gz")


WAYS = (
    Way("import without a tarball", ("import", "k8s-node1"), 3, World.publish),
    Way("pin without the image", ("pin", "k8s-node1", "--yes"), 3, World.publish, slow=True),
    Way("pin of a cordoned node", ("pin", "k8s-node1", "--yes"), 3, cordoned, slow=True),
    Way("a second pin", ("pin", "k8s-node2", "--yes"), 3, pinned, slow=True),
    Way("a question without a terminal", ("pin", "k8s-node1"), 2, imported),
    Way("a source that is none", ("fetch", "k8s-node1", "--from", "tape"), 3, World.publish),
    Way("a tag without a tarball", ("fetch", "k8s-node1", "--tag", "deadbeef"), 3, World.publish),
    Way("a node that is none", ("fetch", "k8s-node9"), 3),
    Way("recover while the API is down", ("recover",), 5, published_outage_without_api),
    Way("fetch while the API is down", ("fetch",), 5, without_api, slow=True),
    Way("recover on a good day", ("recover", "--yes"), 3, World.publish, slow=True),
    Way("snapshot while the VM is down", ("snapshot", "--tag", TAG), 5, stopped(VM), started(VM)),
    Way("snapshot without a tag", ("snapshot",), 2),
    Way("a damaged tarball", ("import", "k8s-node1"), 6, damaged, slow=True),
    Way(
        "restore while the API is down",
        ("restore", "--yes"),
        4,
        imported_without_api,
        started("api"),
        slow=True,
    ),
    Way("a command that is none", ("unpin",), 2, imported, slow=True),
    Way("a registry lacks the tag", ("snapshot", "--tag", "deadbeef"), 3),
)


@pytest.mark.parametrize(
    "way",
    [pytest.param(way, id=str(way), marks=pytest.mark.slow if way.slow else ()) for way in WAYS],
)
def test_every_next_command_helps_in_the_state_in_which_it_was_printed(
    world: World, way: Way
) -> None:
    way.given(world)
    failed = world.run(*way.arguments, "--json")
    assert failed.status == way.status, failed.stderr
    again = shlex.join(["breakglass", *way.arguments, "--json"])
    commands = [each for each in next_commands(failed) if each.startswith("breakglass ")]
    if way.mend is None:
        assert again not in commands, "the same command would fail again"
    else:
        way.mend(world)
    for command in commands:
        helps(world, command, failed)


def helps(world: World, command: str, failed: Ended) -> None:
    """Type it: it ends well, or it is another stage of the way."""
    if command.startswith(CHANGES_NOTHING):
        return
    ended = typed(world, command)
    if ended.status in (0, 10, 11):
        return
    assert ended.status != 2, f"{command}: {ended.stderr}"
    error, before = ended.reported["error"], failed.reported["error"]
    assert error["message"] != before["message"], f"{command} fails as before"
    assert error["next_commands"] != before["next_commands"], f"{command} leads nowhere else"


def typed(world: World, command: str) -> Ended:
    words = shlex.split(command)[1:]
    if words[-1] == "--help":
        return world.run(*words)
    consent = ["--yes"] if set(ASKS) & set(words) and "--yes" not in words else []
    return world.run(*words, *consent, *([] if "--json" in words else ["--json"]))


def test_the_next_commands_name_the_configuration_that_the_command_named(world: World) -> None:
    world.publish()
    here = str(world.environment.config)
    nowhere: dict[str, str | None] = {"BREAKGLASS_CONFIG": None}
    failed = world.run("--config", here, "import", "k8s-node1", environ=nowhere)
    (command,) = next_commands(failed)
    assert command == f"breakglass --config {here} fetch k8s-node1"
    assert world.run(*shlex.split(command)[1:], "--dry-run", environ=nowhere).status == 0


@pytest.mark.parametrize("given", [outage, published_outage_without_api, pinned, imported])
@pytest.mark.slow
def test_what_status_says_to_type_next_helps(
    world: World, given: Callable[[World], object]
) -> None:
    given(world)
    status = world.run("status", "--json")
    commands = status.reported["result"]["next_commands"]
    assert commands
    for command in commands:
        if command.startswith("breakglass "):
            ended = typed(world, command)
            assert ended.status in (0, 10, 11) or ended.reported["error"]["next_commands"]
            assert ended.status != 2
