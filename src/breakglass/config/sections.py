"""Takes values out of a section of the configuration, checks them, and collects every fault with
its path.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from breakglass.errors import Usage
from breakglass.grammar import show
from breakglass.local_files import why_not_regular

T = TypeVar("T")


class Section:
    """One mapping of the file. Keys that are taken are known; `close` reports the others."""

    def __init__(self, value: object, path: str, faults: list[str]) -> None:
        self._path, self._faults = path, faults
        self._asked: list[str] = []
        self._is_mapping = value is None or isinstance(value, dict)
        self._values: dict[Any, object] = value if isinstance(value, dict) else {}
        if not self._is_mapping:
            faults.append(f"{path}: {show(value)} is not a mapping of keys to values")

    def take(self, key: str, convert: Callable[[object], T], *default: T) -> T:
        """One value, or the default. Without a default a missing key is a fault."""
        self._asked.append(key)
        if key in self._values:
            return self._convert(self._at(key), convert, self._values[key])
        if not default and self._is_mapping:
            self._faults.append(f"{self._at(key)}: is missing")
        return default[0] if default else _nothing()

    def take_or_derive(
        self, key: str, convert: Callable[[object], T], derived: T, *, origin: str
    ) -> T:
        """One value, or a value derived from the key `origin`, which must pass the same check."""
        self._asked.append(key)
        value = self._values.get(key)
        if value is not None:
            return self._convert(self._at(key), convert, value)
        if not derived:
            # The value at `origin` has a fault itself.
            nothing: T = _nothing()
            return nothing
        return self._convert(
            f"{self._at(key)} (not given, so taken from {origin})", convert, derived
        )

    def items(self, key: str, convert: Callable[[object], T]) -> tuple[T, ...]:
        """A list's values; without the key there are none."""
        values: list[object] = self.take(key, _list, []) or []
        return tuple(
            self._convert(f"{self._at(key)}[{index}]", convert, value)
            for index, value in enumerate(values)
        )

    def pairs(
        self, key: str, convert_key: Callable[[object], str], convert: Callable[[object], str]
    ) -> dict[str, str]:
        """A mapping whose keys are names that a person chooses."""
        section = self.section(key)
        pairs: dict[str, str] = {}
        for name, value in section._values.items():
            converted = self._convert(self._at(key), convert_key, name)
            pairs[converted] = self._convert(section._at(name), convert, value)
        return pairs

    def section(self, key: str) -> "Section":
        """The mapping at this key. A missing mapping is an empty section."""
        self._asked.append(key)
        return Section(self._values.get(key), self._at(key), self._faults)

    def sections(self, key: str) -> list["Section"]:
        """The mappings of the list at this key."""
        values: list[object] = self.take(key, _list, []) or []
        return [
            Section(value, f"{self._at(key)}[{index}]", self._faults)
            for index, value in enumerate(values)
        ]

    def close(self) -> None:
        """Report every key that was not taken."""
        for key in self._values:
            if key not in self._asked:
                from difflib import get_close_matches

                meant = get_close_matches(str(key), self._asked, 1)
                known = f"known here: {', '.join(self._asked)}"
                advice = f"did you mean {meant[0]}?" if meant else known
                self._faults.append(f"{self._at(key)}: unknown key; {advice}")

    def _at(self, key: object) -> str:
        return join(self._path, key)

    def _convert(self, path: str, convert: Callable[[object], T], value: object) -> T:
        try:
            return convert(value)
        except Usage as error:
            self._faults.append(f"{path}: {error.message}")
            nothing: T = _nothing()
            return nothing


def text(check: Callable[[str], str]) -> Callable[[object], str]:
    """Make a converter: it accepts a text that passes `check`, a function of grammar.py."""

    def convert(value: object) -> str:
        if isinstance(value, str):
            return check(value)
        if value is None or isinstance(value, (list, dict)):
            raise Usage(f"{show(value)} is not text")
        # YAML reads 0123 as a number and `on` as a truth value.
        raise Usage(f"{show(value)} is not text; put it in quotes if it is meant as text")

    return convert


def optional(convert: Callable[[object], T]) -> Callable[[object], T | None]:
    """A converter that also accepts nothing."""
    return lambda value: None if value is None else convert(value)


def truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise Usage(f"{show(value)} is neither true nor false")
    return value


def positive_whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Usage(f"{show(value)} is not a positive whole number")
    return value


def positive(value: object) -> float:
    # The upper bound keeps a number of seconds within what the system's clocks and time-outs can
    # hold. NaN is not within any bounds.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1e6:
        return float(value)
    raise Usage(f"{show(value)} is not a positive number (of at most a million)")


def local_path(base: Path) -> Callable[[object], Path]:
    """A converter for a file of this machine. A relative path starts at `base`, the configuration
    file's directory. A file that is missing is reported where it is needed.
    """

    def check(text: str) -> str:
        if not text or not text.isprintable() or re.search(r"[`$;|&<>]", text):
            raise Usage(
                f"{show(text)} is not a path; a leading ~ is understood, variables and "
                f"commands are not"
            )
        expanded = os.path.expanduser(text)  # noqa: PTH111 (Path raises for an unknown user)
        if expanded.startswith("~"):
            raise Usage(f"{show(text)}: there is no such home directory")
        return expanded

    def convert(value: object) -> Path:
        path = base / text(check)(value)
        if why := why_not_regular(path):
            raise Usage(f"{path} cannot be used: {why}")
        return path

    return convert


def join(path: str, key: object) -> str:
    """The path of a key inside the section at `path`, for messages."""
    is_plain = isinstance(key, str) and key.isprintable() and 0 < len(key) <= 80
    name = key if is_plain else show(key)
    return f"{path}.{name}" if path else str(name)


def _list(value: object) -> list[object]:
    if value is not None and not isinstance(value, list):
        raise Usage(f"{show(value)} is not a list")
    return value or []


def _nothing() -> Any:
    """A placeholder for a value with a fault. `load` raises before it can be used."""
    return ""
