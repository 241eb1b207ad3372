"""`make bundle`: breakglass and everything it needs in one directory, for the stick in the drawer.

The wheels are those of the versions that are installed here, for this Python, processor and C
library.
"""

import argparse
import hashlib
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from breakglass import __version__
from breakglass.remote.arguments import PROGRAM
from breakglass.remote.pack import pack
from release.needed import pins

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    "README.md",
    "runbook.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
    "breakglass.example.yaml",
    "docs/*.md",
    "examples/*.sh",
    "examples/systemd/*.[st]*",
    "examples/woodpecker/*.yml",
)
"""In the bundle under the same names as in the repository, so that the runbook's lines can be typed
in either.
"""
SUMS = "SHA256SUMS"

README = """\
breakglass {version}, with everything it needs, for a machine without a network.

These files are for Linux on {machine}, Python {python} and {libc} or newer.
`python3 --version` has to say {python}. For another one: `make bundle` with that one.

In this directory, type:

    sha256sum --check --quiet {sums}
    python3 -m venv --without-pip ~/breakglass-venv
    ~/breakglass-venv/bin/python {pip}/pip install --no-index --find-links . breakglass
    export PATH=~/breakglass-venv/bin:$PATH
    breakglass --version

(The line with PATH is for this shell; put it into ~/.profile for the next ones.)

pip is in here as well, because not every Python brings one. In a virtual
environment that has pip this is enough:

    pip install --no-index --find-links . breakglass

runbook.md               what to do in an outage
breakglass.example.yaml  the configuration. Fill it in today, and keep yours on
                         the stick as breakglass.yaml: it is found from this
                         directory; from everywhere as
                         ~/.config/breakglass/config.yaml
README.md, docs/         all about it
examples/demo.sh         to practise, with nothing real touched; in this directory:
                         breakglass sandbox -- sh examples/demo.sh
breakglass-remote.pyz    for the day on which breakglass itself is broken:
                         see "Without breakglass" in runbook.md

There are no keys in here: breakglass uses yours.
"""


def make_bundle(into: Path) -> Path:
    """Make the directory anew and return it. Raises CalledProcessError, pip having said why."""
    directory = into.resolve() / f"breakglass-{__version__}-bundle"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    _run("hatchling", "build", "--target", "wheel", "--directory", str(directory))
    _run(
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--dest",
        str(directory),
        *pins(),
        f"pip=={version('pip')}",
    )
    for document in (path for pattern in DOCUMENTS for path in ROOT.glob(pattern)):
        copy = directory / document.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(document, copy)
    (directory / PROGRAM).write_bytes(pack())
    (pip,) = directory.glob("pip-*.whl")
    python = ".".join(platform.python_version_tuple()[:2])
    libc = " ".join(filter(None, platform.libc_ver())) or "musl"
    readme = README.format(
        version=__version__,
        machine=platform.machine(),
        python=python,
        libc=libc,
        pip=pip.name,
        sums=SUMS,
    )
    (directory / "README.txt").write_text(readme, encoding="utf-8")
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(directory)}\n"
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    ]
    (directory / SUMS).write_text("".join(sums), encoding="utf-8")
    return directory


def _run(module: str, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, check=True
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes the bundle; see its README.txt.")
    parser.add_argument("--into", type=Path, default=ROOT / "dist")
    made = make_bundle(parser.parse_args().into)
    size = sum(path.stat().st_size for path in made.rglob("*"))
    print(
        f"{made}: {len(list(made.glob('*.whl')))} wheels, {size / 1e6:.0f} MB; "
        f"{made.name}/README.txt has the lines to type"
    )
