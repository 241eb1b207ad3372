"""The tool under another Python than the one that runs these tests: in an environment of its
own.
"""

import sys

import pytest
from release.packages import index_answers

from tests.interpreters import find, parameter
from tests.nested import run

CHOSEN = (
    "tests/unit/test_config.py",
    "tests/unit/test_kube.py",
    "tests/unit/test_kubeconfig.py",
    "tests/unit/test_plan_cluster.py",
    "tests/unit/test_plan_snapshot.py",
    "tests/unit/test_registry.py",
    "tests/unit/test_registry_proxies.py",
    "tests/unit/test_registry_tls.py",
    "tests/unit/test_ssh.py",
    "tests/front/test_errors.py",
)
"""What a Python version may change: TLS, the libraries for SSH and the API, the front door. All of
them would take minutes.
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", [parameter("3.11"), parameter("3.13")])
def test_the_tool_works_under_the_oldest_and_the_newest_python(version: str) -> None:
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        pytest.skip(f"these tests run under Python {version} themselves")
    directory = f".venv-{version}"
    made = run("make", f"PYTHON={find(version)}", f"VENV={directory}", f"{directory}/.ready")
    if made.returncode and not index_answers():
        pytest.skip(f"no environment for Python {version}: the package index cannot be reached")
    assert made.returncode == 0, made.stdout + made.stderr
    pytest_there = f"{directory}/bin/pytest"
    ended = run(
        pytest_there, "-q", "-n", "2", "-m", "not lab and not slow and not thorough", *CHOSEN
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
