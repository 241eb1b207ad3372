"""The `trial` of a test: its row, and the estate as it was after `up`."""

import pytest

from ..estate import Estate
from .trial import Trial, plant_canaries


@pytest.fixture
def trial(request: pytest.FixtureRequest, fresh: Estate) -> Trial:
    marker = request.node.get_closest_marker("fault")
    assert marker is not None, "this test has no row"
    plant_canaries(fresh)
    return Trial(fresh, marker.args[0])
