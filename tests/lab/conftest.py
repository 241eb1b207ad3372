"""Fixtures: `estate` is raised once for the session, `fresh` is the same estate with everything
cheap put back.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .estate import Estate, in_use, provision

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def estate() -> Iterator[Estate]:
    """The estate, standing; a second session waits for the first. One that stands already is used
    and left standing; BREAKGLASS_LAB_FRESH=1 raises a new one all the same.
    """
    if os.geteuid() != 0:
        pytest.skip("the lab needs root")
    provision()
    lab = Estate()
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
def fresh(estate: Estate) -> Estate:
    """The estate as it was after `up`: everything powered and answering, no images, no tarballs,
    nothing pinned.
    """
    estate.reset()
    return estate
