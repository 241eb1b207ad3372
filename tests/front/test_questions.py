"""What is known already is not asked again."""

import re

import pytest

from breakglass.sandbox.environment import TAG
from tests.front.rows import REGISTRIES
from tests.front.world import World

NODE = "k8s-node1"


@pytest.mark.parametrize("node", [(), (NODE,)], ids=["chosen", "named"])
@pytest.mark.parametrize("command", ["fetch", "import", "recover"])
def test_a_dry_run_asks_the_machine_of_its_node_once(
    world: World, command: str, node: tuple[str, ...]
) -> None:
    world.bring_in(NODE)
    for name in REGISTRIES:
        world.environment.stop(name)
    ended = world.run(command, *node, "--dry-run", "--verbose")
    shown = ended.stdout + ended.stderr
    assert ended.status == 0, shown
    asked = re.findall(rf"^ *{NODE}\$ .*sh -c \S+ machine .*$", shown, re.MULTILINE)
    assert len(asked) == 1, shown
    assert TAG in shown
