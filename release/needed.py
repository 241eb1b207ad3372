"""What breakglass needs at run time, read from what is installed here: that is what the tests ran
with.
"""

from collections.abc import Iterator
from importlib.metadata import distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(name: str = "breakglass") -> dict[str, str]:
    """Each package that this one needs, directly or not: name and installed version."""
    found: dict[str, str] = {}
    _add(name, frozenset({""}), found, seen=set())
    del found[name]
    return dict(sorted(found.items()))


def pins() -> list[str]:
    return [f"{name}=={version}" for name, version in needed().items()]


def _add(
    name: str,
    extras: frozenset[str],
    found: dict[str, str],
    *,
    seen: set[tuple[str, frozenset[str]]],
) -> None:
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    installed = distribution(name)
    found[name] = installed.version
    for requirement in _applying(installed.requires or [], extras):
        _add(
            canonicalize_name(requirement.name),
            frozenset({"", *requirement.extras}),
            found,
            seen=seen,
        )


def _applying(lines: list[str], extras: frozenset[str]) -> Iterator[Requirement]:
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras
        ):
            yield requirement
