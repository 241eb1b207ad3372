"""`make bundle`: breakglass and everything it needs in one directory, for the stick in the drawer.

The wheels are those that requirements.lock names, for this Python, processor and C library.
"""

import argparse
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from breakglass import __version__
from breakglass.errors import Refused
from breakglass.remote.arguments import PROGRAM
from breakglass.remote.pack import pack
from breakglass.signatures.sshsig import armor
from breakglass.ssh.signing import public_key, sign
from release.lock import DEVELOPMENT, ROOT, RUN_TIME, read_lock

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
NAMESPACE = "breakglass-bundle"
"""What the signature of the sums is for: that of a record is none."""
REQUIREMENTS = "requirements.txt"
DOWNLOAD = ("--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:")
INSTALL = ("install", "--no-index", "--find-links", ".", "--require-hashes", "-r", REQUIREMENTS)
"""What pip is given in the directory. A wheel with other bytes, and one more wheel, are not
installed.
"""

SIGNED = """\
{sums} is signed. Verify this first, with a list of signers that did not come
with these files. It has a line for each: NAME KEY, where NAME is any name.

    ssh-keygen -Y verify -f SIGNERS -I NAME -n {namespace} -s {sums}.sig < {sums}
"""
UNSIGNED = """\
{sums} is not signed: it shows damage, and not who made these files.
"""
README = """\
breakglass {version}, with everything it needs, for a machine without a network.

These files are for Linux on {machine}, Python {python} and {libc} or newer.
`python3 --version` has to say {python}. For another one: `make bundle` with that one.

{origin}
In this directory, type:

    sha256sum --check --quiet {sums}
    python3 -m venv --without-pip ~/breakglass-venv
    ~/breakglass-venv/bin/python {pip}/pip {install}
    export PATH=~/breakglass-venv/bin:$PATH
    breakglass --version

(The line with PATH is for this shell; put it into ~/.profile for the next ones.)

pip is in here as well, because not every Python brings one. In a virtual
environment that has pip this is enough:

    pip {install}

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


def make_bundle(into: Path, *, sign_with: Path | None = None) -> Path:
    """Make the directory anew and return it. Raises CalledProcessError, pip having said why, or
    Refused where nothing can be signed with this key.
    """
    if sign_with is not None:
        public_key(sign_with, os.environ)
    directory = into.resolve() / f"breakglass-{__version__}-bundle"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    _run("hatchling", "build", "--target", "wheel", "--directory", str(directory))
    (wheel,) = directory.glob("*.whl")
    requirements = directory / REQUIREMENTS
    requirements.write_text(
        RUN_TIME.read_text("utf-8") + read_lock(DEVELOPMENT)["pip"].text + requirement(wheel),
        encoding="utf-8",
    )
    _run(
        "pip",
        "download",
        *DOWNLOAD,
        "--dest",
        str(directory),
        "--find-links",
        str(directory),
        "--requirement",
        str(requirements),
    )
    for document in (path for pattern in DOCUMENTS for path in ROOT.glob(pattern)):
        copy = directory / document.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(document, copy)
    (directory / PROGRAM).write_bytes(pack())
    (directory / "README.txt").write_text(_readme(directory, sign_with), encoding="utf-8")
    seal(directory, sign_with)
    return directory


def requirement(wheel: Path) -> str:
    """The line by which pip installs this wheel and no other."""
    name, version = wheel.name.split("-")[:2]
    return f"{name}=={version} --hash=sha256:{_sha256(wheel)}\n"


def seal(directory: Path, sign_with: Path | None) -> None:
    """Write the sums of all files, and their signature. Raises Refused."""
    sums = "".join(
        f"{_sha256(path)}  {path.relative_to(directory)}\n"
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    ).encode()
    (directory / SUMS).write_bytes(sums)
    if sign_with is not None:
        signature = armor(sign(sign_with, os.environ, sums, namespace=NAMESPACE))
        (directory / f"{SUMS}.sig").write_text(signature, encoding="ascii")


def _readme(directory: Path, sign_with: Path | None) -> str:
    (pip,) = directory.glob("pip-*.whl")
    origin = UNSIGNED if sign_with is None else SIGNED
    return README.format(
        version=__version__,
        machine=platform.machine(),
        python=".".join(platform.python_version_tuple()[:2]),
        libc=" ".join(filter(None, platform.libc_ver())) or "musl",
        pip=pip.name,
        sums=SUMS,
        install=shlex.join(INSTALL),
        origin=origin.format(sums=SUMS, namespace=NAMESPACE),
    )


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _run(module: str, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, check=True
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes the bundle; see its README.txt.")
    parser.add_argument("--into", type=Path, default=ROOT / "dist")
    parser.add_argument(
        "--sign-with", type=Path, metavar="KEY", help="a key, as for ssh-keygen -Y sign -f KEY"
    )
    given = parser.parse_args()
    try:
        made = make_bundle(given.into, sign_with=given.sign_with)
    except Refused as refused:
        sys.exit(f"{refused.message}\nNext: {refused.next_step.typed_commands[0]}")
    size = sum(path.stat().st_size for path in made.rglob("*"))
    print(
        f"{made}: {len(list(made.glob('*.whl')))} wheels, {size / 1e6:.0f} MB; "
        f"{made.name}/README.txt has the lines to type"
    )
