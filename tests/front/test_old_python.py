"""A host whose python3 is too old for our scripts: refused in a sentence, nothing changed."""

from typing import Any

import pytest

from breakglass.sandbox.environment import TAG, VM
from tests.front.blocks import is_reported
from tests.front.listing import State, listing
from tests.front.rows import OTHER_TAG
from tests.front.world import World

NODE = "k8s-node1"
OLD = """shift; loader=$2; shift 2
exec $REAL -IS -c "import sys; sys.version_info = (3, 6, 15); $loader" "$@"
"""
"""Today's python3, as the loader meets one of 2016."""


def looked_at(world: World) -> tuple[State, State, dict[str, Any]]:
    return listing(world.root(NODE)), listing(world.environment.vm_directory), world.nodes()


@pytest.mark.parametrize(
    ("host", "arguments"),
    [
        (VM, ("snapshot", "--tag", OTHER_TAG)),
        (NODE, ("fetch", NODE)),
        (NODE, ("import", NODE)),
        (NODE, ("drill", NODE)),
        (NODE, ("recover", NODE, "--yes")),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) else None,
)
def test_an_old_python_is_refused_with_its_version_and_nothing_is_changed(
    world: World,
    host: str,
    arguments: tuple[str, ...],
) -> None:
    world.publish()
    world.environment.push(OTHER_TAG)
    if arguments[0] == "import":
        world.fetch(NODE)
    if arguments[0] == "recover":
        for registry in world.environment.registries:
            world.environment.stop(registry)
    before = looked_at(world)
    with world.program(host, "python3", OLD):
        ended = world.run(*arguments)
    block = is_reported(ended, 3, host, "python3 is 3.6 there", "3.8 or newer", "python3 --version")
    assert "SyntaxError" not in ended.stdout + ended.stderr
    nothing = "Nothing of the drill is left" if arguments[0] == "drill" else "Nothing was changed"
    assert nothing in block
    assert looked_at(world) == before


def test_status_names_it_and_shows_the_rest(world: World) -> None:
    world.publish()
    with world.program(NODE, "python3", OLD):
        ended = world.run("status")
    assert ended.status == 0
    assert "python3 is 3.6 there" in ended.stdout + ended.stderr
    assert TAG in ended.stdout
