"""The tests are green whatever they inherit: those that hear it, under each inheritance."""

import os
import sys
from pathlib import Path

import pytest

from tests.nested import run

TERMINAL = "tests/front/test_terminal.py::"
HEAR_SIGNALS = (
    f"{TERMINAL}test_a_signal_during_a_step_ends_it_with_the_state_reported",
    f"{TERMINAL}test_a_signal_that_is_to_be_ignored_stays_ignored",
    f"{TERMINAL}test_a_signal_while_the_program_is_still_being_read_from_a_slow_disk_ends_it_with_a_sentence",
    "tests/unit/test_archive.py::test_a_save_whose_caller_dies_ends_with_its_whole_process_group_and_leaves_nothing",
    "tests/unit/test_companion.py",
    "tests/unit/test_sandbox.py::test_a_signal_ends_it_with_its_files_and_its_processes",
)
SEE_WHERE_THEY_ARE = (
    f"{TERMINAL}test_without_a_terminal_and_without_yes_it_ends_naming_the_flag",
    "tests/front/test_journal.py",
    "tests/front/test_status.py",
    "tests/unit/test_age.py",
    "tests/unit/test_sandbox_api.py",
)
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-m", "not slow and not thorough")
IN_THE_BACKGROUND = 'trap "" INT QUIT; exec nohup "$@"'


@pytest.mark.slow
def test_started_by_nohup_in_a_background_job_they_are_green() -> None:
    """There SIGHUP, SIGINT and SIGQUIT are ignored."""
    ended = run("sh", "-c", IN_THE_BACKGROUND, "sh", *PYTEST, *HEAR_SIGNALS)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.slow
def test_in_another_time_zone_and_locale_beside_other_programs_they_are_green(
    tmp_path: Path,
) -> None:
    """With another docker and kubectl first in PATH, and a HOME that not even root can write."""
    for name in ("docker", "kubectl", "ctr"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho 'another {name}' >&2\nexit 64\n")
        (tmp_path / name).chmod(0o755)
    odd = {"TZ": "Asia/Kathmandu", "LANG": "C", "LC_ALL": "C", "HOME": "/proc"}
    ended = run(*PYTEST, *SEE_WHERE_THEY_ARE, PATH=f"{tmp_path}:{os.environ['PATH']}", **odd)
    assert ended.returncode == 0, ended.stdout + ended.stderr
