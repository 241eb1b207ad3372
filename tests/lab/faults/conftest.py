"""The `trial` of a test: its row, and the environment as it was after `up`."""

import pytest

from ..environment import Environment
from .trial import Trial, plant_canaries


@pytest.fixture
def trial(request: pytest.FixtureRequest, fresh: Environment) -> Trial:
    marker = request.node.get_closest_marker("fault")
    assert marker is not None, "this test has no row"
    plant_canaries(fresh)
    return Trial(fresh, marker.args[0])
