"""The lock files, which `make lock` writes: each package in one version, with the sha256 of every
file that the package index has of it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
RUN_TIME = ROOT / "requirements.lock"
"""What breakglass needs at run time."""
DEVELOPMENT = ROOT / "requirements-dev.lock"
"""The same, and what building and testing need."""
ENTRY = re.compile(
    r"^(?P<requirement>[^\s#][^\\\n]*)(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})*)"
    r"(?P<why>(?:\n    #.*)*)\n",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Locked:
    """One package of a lock file."""

    requirement: Requirement
    hashes: frozenset[str]
    why: str
    """The comment below it: which packages it is there for."""
    text: str

    @property
    def version(self) -> str:
        (specifier,) = self.requirement.specifier
        return specifier.version


def read_lock(file: Path = RUN_TIME) -> dict[str, Locked]:
    found: dict[str, Locked] = {}
    for entry in ENTRY.finditer(file.read_text("utf-8")):
        requirement = Requirement(entry["requirement"])
        found[canonicalize_name(requirement.name)] = Locked(
            requirement,
            frozenset(re.findall("[0-9a-f]{64}", entry["hashes"])),
            entry["why"],
            entry[0],
        )
    return found


def needed() -> dict[str, str]:
    """Name and version of each package that breakglass needs at run time on this machine."""
    return {
        name: locked.version
        for name, locked in sorted(read_lock().items())
        if locked.requirement.marker is None or locked.requirement.marker.evaluate()
    }


def pins() -> list[str]:
    return [f"{name}=={version}" for name, version in needed().items()]
