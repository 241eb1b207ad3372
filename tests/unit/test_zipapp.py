"""breakglass-remote.pyz: what runs on other hosts, in one file."""

import io
import shlex
import subprocess
import zipfile

import pytest

from breakglass import plan
from breakglass.remote import arguments
from breakglass.remote.__main__ import SCRIPTS
from breakglass.remote.pack import pack
from breakglass.ssh.wire import wire
from tests.interpreters import HOST, zipapp

pytestmark = pytest.mark.usefixtures("host_python")

HELP = ("python3", "breakglass-remote.pyz", "archive", "--help")


def by_hand(*argv: str) -> subprocess.CompletedProcess[str]:
    line = [HOST.python, zipapp().name, *argv]
    return subprocess.run(
        line, cwd=zipapp().parent, capture_output=True, text=True, timeout=30, check=False
    )


def test_the_same_files_make_the_same_bytes() -> None:
    assert pack.__wrapped__() == pack() == zipapp().read_bytes()
    with zipfile.ZipFile(io.BytesIO(pack())) as archive:
        names = archive.namelist()
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert names == sorted(names)
    assert all(name.startswith("breakglass/") for name in names if name != "__main__.py")


def test_a_person_can_type_the_lines_of_a_dry_run() -> None:
    ended = by_hand("archive", "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("usage: breakglass-remote.pyz archive ")
    assert plan.script("archive", "--help") == HELP
    assert arguments.PROGRAM == plan.PROGRAM


@pytest.mark.parametrize("argv", [(), ("archiv",)])
def test_without_a_script_it_says_which_there_are(argv: tuple[str, ...]) -> None:
    ended = by_hand(*argv)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert all(f"  {script} " in ended.stderr for script in SCRIPTS)


@pytest.mark.parametrize("missing", ["", "import os; del os.memfd_create; "])
def test_it_runs_from_memory_and_else_from_a_file_without_a_name(missing: str) -> None:
    sent = wire((HELP,), sudo=False)
    _, isolated, _, loader, *argv = shlex.split(sent.line)
    ended = subprocess.run(
        [HOST.python, isolated, "-c", missing + loader, *argv],
        input=sent.opening,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr, ended.stdout[:6]) == (0, b"", b"usage:")
