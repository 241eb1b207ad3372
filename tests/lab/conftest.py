"""Fixtures: `environment` is raised once for the session, `fresh` is the same one with
everything restored that is cheap to restore.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .environment import Environment, in_use, provision

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def environment() -> Iterator[Environment]:
    """The environment, up; a second session waits for the first. One that is up already is used and
    left up; BREAKGLASS_LAB_FRESH=1 raises a new one all the same.
    """
    if os.geteuid() != 0:
        pytest.skip("the lab needs root")
    provision()
    lab = Environment()
    with in_use(wait=True):
        borrowed = lab.standing and not os.environ.get("BREAKGLASS_LAB_FRESH")
        try:
            if not borrowed:
                signal.signal(signal.SIGTERM, lambda *_: pytest.exit("SIGTERM", 143))
                lab.up()
            yield lab
        finally:
            if not borrowed:
                lab.down()


@pytest.fixture
def fresh(environment: Environment) -> Environment:
    """The environment as it was after `up`: everything powered and answering, no images, no
    tarballs, nothing pinned.
    """
    environment.reset()
    return environment
