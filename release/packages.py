"""`make packages`: docs/packages.md, what breakglass needs at run time, and that an Alpine
container gets all of it as wheels, without a compiler.
"""

import json
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

from packaging.utils import canonicalize_name

from release.lock import needed, pins

MACHINES = ("x86_64", "aarch64")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MUSL = ("musllinux_1_2", "musllinux_1_1")
"""Alpine from 3.19 on (Python 3.11) has musl 1.2.4 or newer, which runs wheels of both kinds."""

PAGE = """\
# Packages

`pip install` installs these packages with breakglass. The versions are those of `requirements.lock`. Alpine (musl in place of
glibc) gets each of them as a wheel: pure Python, or a musllinux wheel for each of Python {pythons} on each of
{machines}. No compiler is needed. `make packages` writes this page, and asks the package index for every combination.

| package | version | for Alpine |
| --- | --- | --- |
{rows}
"""  # noqa: E501


class Missing(Exception):
    """For at least one package there is no such wheel, or the index cannot be reached. The text is
    pip's.
    """


def musl_wheels(*, machine: str, python: str) -> dict[str, str]:
    """The wheel's file name of every package, as pip would choose it there. Nothing is installed.
    Raises Missing.
    """
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory, "report.json")
        platforms = [word for musl in MUSL for word in ("--platform", f"{musl}_{machine}")]
        where = [
            "--target",
            str(Path(directory, "nowhere")),
            "--python-version",
            python,
            *platforms,
        ]
        _pip(
            "install",
            "--dry-run",
            "--ignore-installed",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--report",
            str(report),
            *where,
            *pins(),
        )
        chosen = json.loads(report.read_text("utf-8"))["install"]
    return {
        canonicalize_name(item["metadata"]["name"]): item["download_info"]["url"].rpartition("/")[2]
        for item in chosen
    }


def index_answers() -> bool:
    """Whether one of the packages can be had for this machine: otherwise it is the index that is
    missing, not a wheel.
    """
    try:
        _pip(
            "install",
            "--dry-run",
            "--ignore-installed",
            "--no-deps",
            next(pin for pin in pins() if pin.startswith("typer==")),
        )
    except Missing:
        return False
    return True


def is_pure(wheel: str) -> bool:
    return wheel.endswith("-none-any.whl")


def page() -> str:
    chosen = [
        musl_wheels(machine=machine, python=python)
        for machine, python in product(MACHINES, PYTHONS)
    ]
    rows = [
        (
            f"| {name} | {version} | "
            f"{'pure Python' if all(is_pure(wheels[name]) for wheels in chosen) else 'musllinux wheels'} "  # noqa: E501
            f"|"
        )
        for name, version in needed().items()
    ]
    return PAGE.format(
        pythons=f"{', '.join(PYTHONS[:-1])} and {PYTHONS[-1]}",
        machines=" and ".join(MACHINES),
        rows="\n".join(rows),
    )


def _pip(*arguments: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise Missing(ended.stderr)


if __name__ == "__main__":
    try:
        print(page(), end="")
    except Missing as missing:
        sys.exit(
            str(missing)
            if index_answers()
            else f"The package index cannot be reached; the page stays as it is.\n{missing}"
        )
