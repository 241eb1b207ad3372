"""How hypothesis runs everywhere, and which Python runs the scripts that run on hosts.

hypothesis: without a time limit for one example, without a directory of examples, and the same
ones every time unless many are asked for.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import interpreters
from tests.unit.strategies import TIMES

settings.register_profile(
    "breakglass",
    derandomize=TIMES == 1,
    deadline=None,
    database=None,
    print_blob=False,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
        HealthCheck.function_scoped_fixture,
    ],
)
settings.load_profile("breakglass")


@pytest.fixture(scope="module", params=interpreters.parameters())
def host_python(request: pytest.FixtureRequest) -> Iterator[str]:
    """The Python of hosts that scripts are started with, one after the other."""
    before = interpreters.HOST.python
    interpreters.HOST.python = interpreters.find(request.param) or before
    yield interpreters.HOST.python
    interpreters.HOST.python = before


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With the newest Python one variant of each test is enough; `make thorough` takes all."""
    seen = set()
    for item in items:
        params = (
            item.callspec.params
            if isinstance(item, pytest.Function) and hasattr(item, "callspec")
            else {}
        )
        if params.get("host_python") != interpreters.NEWEST:
            continue
        test = item.nodeid.partition("[")[0]
        if test in seen:
            item.add_marker(pytest.mark.thorough)
        seen.add(test)
