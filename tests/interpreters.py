"""The Pythons of hosts, which run our scripts: those that are here, and why a test is skipped."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

from breakglass.remote.pack import pack

OLDEST, NEWEST = "3.8", "3.13"
HOST_VERSIONS = (OLDEST, "3.9", NEWEST)
TOO_OLD = ("3.6", "3.7")


class _Host:
    """The fixture `host_python` sets it; the helpers of a test file start scripts with it."""

    python = sys.executable


HOST = _Host()


@cache
def zipapp() -> Path:
    """A breakglass-remote.pyz of this source, for as long as the tests run."""
    directory = Path(tempfile.mkdtemp(prefix="breakglass-remote-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    # The Python of another user, or one without rights, has to read it.
    directory.chmod(0o755)
    path = directory / "breakglass-remote.pyz"
    path.write_bytes(pack())
    return path


def script(name: str, *argv: object) -> list[str]:
    """How a script is run: the zipapp by a host's Python, the package's modules by ours."""
    start = ["-IS", str(zipapp())]
    if HOST.python == sys.executable:
        start = ["-m", "breakglass.remote"]
    return [HOST.python, *start, name, *map(str, argv)]


def program(text: str) -> str:
    """Text for `python3 -c` that imports our package from the zipapp."""
    return f"import sys; sys.path.insert(0, {str(zipapp())!r})\n{text}"


@cache
def find(version: str) -> str | None:
    """The path of a Python of this version, `3.8` say: pyenv's newest, else that on PATH."""
    paths = [*reversed(_of_pyenv(version)), shutil.which(f"python{version}")]
    return next((path for path in paths if path and _version(path) == version), None)


def _of_pyenv(version: str) -> list[str]:
    """Oldest first."""
    root = Path(os.environ.get("PYENV_ROOT") or Path("~/.pyenv").expanduser())
    found = {}
    for path in root.glob(f"versions/{version}.*/bin/python3"):
        patch = path.parents[1].name.rpartition(".")[2]
        if patch.isdigit():
            found[int(patch)] = str(path)
    return [found[patch] for patch in sorted(found)]


def _version(path: str) -> str:
    """Empty where it does not run: pyenv's shims are there for versions that are not chosen."""
    line = "import sys; print('%d.%d' % sys.version_info[:2])"
    ran = subprocess.run([path, "-ISc", line], capture_output=True, text=True, check=False)
    return ran.stdout.strip()


def python3_in(directory: Path, path: str | None = None) -> Path:
    """A directory for PATH in which `python3` is the host's Python, or that of `path`."""
    directory.mkdir(exist_ok=True)
    (directory / "python3").unlink(missing_ok=True)
    (directory / "python3").symlink_to(path or HOST.python)
    return directory


def parameter(version: str, *marks: pytest.MarkDecorator) -> pytest.ParameterSet:
    """The version as a parameter of a test, which is skipped where it is not here."""
    where = f"neither in pyenv (pyenv install {version}) nor on PATH"
    lacks = () if find(version) else (pytest.mark.skip(f"no Python {version} here: {where}"),)
    return pytest.param(version, id=version, marks=(*marks, *lacks))


def parameters() -> list[pytest.ParameterSet]:
    """What the scripts are run with: the oldest in every run, the newest in the slow tests with one
    variant of each test, 3.9 by `make thorough`.

    Where the oldest is not here: the Python that runs the tests, in its place.
    """
    others = [parameter("3.9", pytest.mark.thorough), parameter(NEWEST, pytest.mark.slow)]
    here = [] if find(OLDEST) else [pytest.param("", id="this Python")]
    return [*here, parameter(OLDEST), *others]
