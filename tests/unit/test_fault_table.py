"""docs/faults.md says what the tests do."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_table_of_faults_is_the_one_that_the_tests_make() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "tests.lab.faults.document"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert (ROOT / "docs/faults.md").read_text() == made.stdout, (
        "docs/faults.md is not what the tests say: make docs"
    )
