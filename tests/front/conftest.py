"""One sandbox for each test process, and the first day again for each test."""

from collections.abc import Iterator

import pytest

from breakglass.sandbox.environment import raise_environment
from tests.front.commands import Commands
from tests.front.world import World


@pytest.fixture(scope="session")
def only_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("front")
    # The zygote first: it inherits none of the environment's sockets.
    commands = Commands(directory)
    try:
        with raise_environment() as environment:
            yield World(environment, commands, directory)
    finally:
        commands.close()


@pytest.fixture
def world(only_world: World) -> World:
    only_world.reset()
    return only_world
