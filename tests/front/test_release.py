"""What is given away: the wheel, the source archive, the bundle for the stick in the drawer, and
the list of what comes along.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from release.bundle import make_bundle
from release.packages import Missing, index_answers, is_pure, musl_wheels

from breakglass import __version__
from breakglass.remote.pack import pack
from tests.front.documents import DOCUMENTS, ROOT, blocks, links

# Each of them sends scripts to the hosts, which are read from the installed package; `import` asks
# the API too.
WALK = (
    "breakglass snapshot --tag 0a1b2c3d && breakglass fetch k8s-node1 && breakglass import "
    "k8s-node1"
)


def test_wheel_and_source_archive_hold_what_they_are_for(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    tracked = {
        str(path.relative_to(ROOT))
        for place in ("src", "tests", "docs", "examples", "release")
        for path in (ROOT / place).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(tmp_path / f"breakglass-{__version__}-py3-none-any.whl") as wheel:
        assert {name for name in wheel.namelist() if ".dist-info/" not in name} == {
            path.removeprefix("src/") for path in tracked if path.startswith("src/")
        } | {"breakglass/breakglass-remote.pyz"}
        assert wheel.read("breakglass/breakglass-remote.pyz") == pack()
    with tarfile.open(tmp_path / f"breakglass-{__version__}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= tracked | {
        "Makefile",
        "README.md",
        "runbook.md",
        "CHANGELOG.md",
        "LICENSE",
        "pyproject.toml",
        "breakglass.example.yaml",
    }
    assert not [name for name in names if re.match(r"\.venv|\.git/|dist/|breakglass\.yaml$", name)]


@pytest.mark.slow
def test_wheel_and_source_archive_have_the_same_bytes_wherever_and_whenever_they_are_built(
    tmp_path: Path,
) -> None:
    without = shutil.ignore_patterns(".git", ".venv*", "dist", "__pycache__", ".*_cache")
    built = []
    for place, rights, time in (("one", 0o644, 1_000_000_000), ("another", 0o600, 1_500_000_000)):
        copy = tmp_path / place / "tree"
        shutil.copytree(ROOT, copy, ignore=without)
        for path in filter(Path.is_file, copy.rglob("*")):
            path.chmod(rights | (path.stat().st_mode & 0o100))
            os.utime(path, (time, time))
        made = tmp_path / place / "dist"
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "--directory", str(made)],
            cwd=copy,
            capture_output=True,
            check=True,
        )
        built.append({path.name: path.read_bytes() for path in made.iterdir()})
    assert len(built[0]) == 2
    assert built[0] == built[1]


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert (project["project"].get("version"), project["project"]["dynamic"]) == (None, ["version"])
    assert project["tool"]["hatch"]["version"]["path"] == "src/breakglass/__init__.py"


def test_every_package_that_the_project_names_stands_in_the_list() -> None:
    listed = dict(
        re.findall(
            r"^\| ([a-z0-9-]+) \| \S+ \| (pure Python|musllinux wheels) \|$",
            (ROOT / "docs/packages.md").read_text("utf-8"),
            re.MULTILINE,
        )
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {canonicalize_name(Requirement(line).name) for line in project["dependencies"]} <= set(
        listed
    )
    assert {name for name, kind in listed.items() if kind == "musllinux wheels"} >= {
        "cryptography",
        "bcrypt",
        "pynacl",
        "pyyaml",
    }


@pytest.mark.slow
@pytest.mark.parametrize(("machine", "python"), [("x86_64", "3.12"), ("aarch64", "3.14")])
def test_alpine_gets_everything_that_comes_along_as_a_wheel(machine: str, python: str) -> None:
    try:
        wheels = musl_wheels(machine=machine, python=python)
    except Missing as missing:
        if index_answers():
            pytest.fail(str(missing))
        pytest.skip(
            "the package index cannot be reached, so nobody can say which wheels there are; "
            "docs/packages.md has the list of the last time"
        )
    built = {name for name, wheel in wheels.items() if not is_pure(wheel)}
    assert {
        name for name in built if not re.search(rf"-musllinux_1_\d_{machine}\.whl$", wheels[name])
    } == set()
    assert built >= {"cryptography", "bcrypt", "pynacl", "pyyaml"}


@pytest.mark.slow
def test_the_bundle_is_installed_by_the_lines_of_its_readme_and_works_where_there_is_no_network(
    tmp_path: Path,
) -> None:
    apart = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    if subprocess.run(
        [*apart, "ip", "link", "set", "lo", "up"], capture_output=True, check=False
    ).returncode:
        pytest.skip(
            "this machine lets us make no network namespace: needs unshare and ip, and root "
            "or user namespaces"
        )
    try:
        bundle = make_bundle(tmp_path)
    except subprocess.CalledProcessError:
        if index_answers():
            raise
        pytest.skip("the package index cannot be reached, so there is nothing to make a bundle of")
    readme = (bundle / "README.txt").read_text("utf-8")
    lines = re.findall(
        r"^    (\S.*)$", readme.partition("type:")[2].partition("pip is in here")[0], re.MULTILINE
    )
    assert [line.split()[0] for line in lines] == [
        "sha256sum",
        "python3",
        "~/breakglass-venv/bin/python",
        "export",
        "breakglass",
    ]
    # Which Python the page asks for; and without the time that compiling everything takes.
    python = Path(sys.executable).resolve().parent
    environ = {
        "PATH": f"{python}:{os.defpath}:/usr/sbin:/sbin",
        "HOME": str(tmp_path),
        "PIP_NO_COMPILE": "0",
        "PIP_CONFIG_FILE": os.devnull,
        "TMPDIR": str(tmp_path),
    }
    script = "\n".join(
        ("set -e", "ip link set lo up", *lines, f"breakglass sandbox -- sh -ec {WALK!r}")
    )
    ended = subprocess.run(
        [*apart, "sh", "-c", script],
        cwd=bundle,
        env=environ,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"\nbreakglass {__version__}\n" in f"\n{ended.stdout}"
    assert str(ROOT) not in ended.stdout + ended.stderr
    assert ended.stdout.count("Done, and read back: ") == 4
    # The runbook's lines can be typed here, and the links of every page lead somewhere.
    copied = [
        line.split()[1]
        for block in blocks("runbook.md")
        for line in block.text.splitlines()
        if line.startswith("scp ")
    ]
    assert copied
    assert all(list(bundle.glob(pattern)) for pattern in copied)
    for document in DOCUMENTS:
        assert [
            target
            for target in links(document)
            if not (bundle / target.partition("#")[0]).is_file()
        ] == []
