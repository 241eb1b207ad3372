"""The script lock: held for as long as whoever started it lives, and reported to the next."""

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from breakglass.remote.lock import hold
from tests.interpreters import script

pytestmark = pytest.mark.usefixtures("host_python")


@contextmanager
def locking(path: Path, holder: str, silence: float = 60) -> Iterator[subprocess.Popen[str]]:
    line = script("lock", path, holder, silence)
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_it_is_held_until_standard_input_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locking(path, "ana@laptop") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with locking(path, "viktor@desk") as second:
            reported, said = second.communicate(timeout=10)
        assert (second.returncode, json.loads(reported)["holder"], said) == (7, "ana@laptop", "")
        first.communicate(timeout=10)
    assert (first.returncode, path.exists()) == (0, False)


def test_it_is_let_go_of_where_standard_input_is_silent(tmp_path: Path) -> None:
    with locking(tmp_path / "lock", "ana@laptop", 0.2) as process:
        assert process.wait(10) == 0
    assert not (tmp_path / "lock").exists()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with locking(tmp_path / "lock", "ana@laptop") as process:
        reported, said = process.communicate(timeout=10)
    assert (process.returncode, reported, said) == (4, "", "it is a symbolic link\n")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("code", "status", "printed"), [(errno.ENOSPC, 0, "held\n"), (errno.EIO, 4, "")]
)
def test_on_a_full_disk_it_is_held_though_nobody_can_write_down_by_whom(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
    status: int,
    printed: str,
) -> None:
    def fails(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pwrite", fails)
    lifeline, caller = os.pipe()
    os.close(caller)
    assert hold(str(tmp_path / "lock"), "ana@laptop", lifeline, 60) == status
    assert capsys.readouterr().out == printed
