"""How hypothesis runs everywhere: without a time limit for one example, without a directory of examples, and the same ones every time unless many are asked for."""

from hypothesis import HealthCheck, settings

from tests.unit.strategies import TIMES

settings.register_profile(
    "breakglass",
    derandomize=TIMES == 1,
    deadline=None,
    database=None,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
settings.load_profile("breakglass")
