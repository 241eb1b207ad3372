"""One section of the configuration after the other: what is asked of it is known, and every
fault is kept with its path.
"""

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from breakglass.errors import Usage
from breakglass.grammar import show

T = TypeVar("T")


class Section:
    """One mapping of the file: what is asked of it is known, what nobody asked for is a fault."""

    def __init__(self, value: object, path: str, faults: list[str]) -> None:
        self._path, self._faults, self._asked = path, faults, list[str]()
        self._is_mapping = value is None or isinstance(value, dict)
        self._values: dict[Any, object] = value if isinstance(value, dict) else {}
        if not self._is_mapping:
            faults.append(f"{path}: {show(value)} is not a mapping of keys to values")

    def take(self, key: str, convert: Callable[[object], T], *default: T) -> T:
        """One value, or the default."""
        self._asked.append(key)
        if key in self._values:
            return self._convert(self._at(key), convert, self._values[key])
        if not default and self._is_mapping:
            self._faults.append(f"{self._at(key)}: is missing")
        return default[0] if default else _nothing()

    def take_or_derive(
        self, key: str, convert: Callable[[object], T], derived: T, *, origin: str
    ) -> T:
        """One value, or the one that follows from another key, by the same grammar."""
        self._asked.append(key)
        value = self._values.get(key)
        if value is not None:
            return self._convert(self._at(key), convert, value)
        # Nothing follows from a value that has a fault itself.
        return (
            self._convert(f"{self._at(key)} (not given, so taken from {origin})", convert, derived)
            if derived
            else _nothing()
        )

    def items(
        self,
        key: str,
        convert: Callable[[object], T],
        *default: T,
        first: Callable[[object], T] | None = None,
    ) -> tuple[T, ...]:
        """A list's values, or the default; where there is a default, an empty list is a fault.
        `first`: what its first value has to be.
        """
        values: list[object] = (
            self.take(key, _filled_list if default else _list, list(default)) or []
        )
        return tuple(
            self._convert(
                f"{self._at(key)}[{index}]", first if first and index == 0 else convert, value
            )
            for index, value in enumerate(values)
        )

    def pairs(
        self, key: str, convert_key: Callable[[object], str], convert: Callable[[object], str]
    ) -> dict[str, str]:
        """A mapping whose keys are names that a person gives."""
        section = self.section(key)
        return {
            self._convert(self._at(key), convert_key, name): self._convert(
                section._at(name), convert, value
            )
            for name, value in section._values.items()
        }

    def section(self, key: str) -> "Section":
        self._asked.append(key)
        return Section(self._values.get(key), self._at(key), self._faults)

    def sections(self, key: str) -> list["Section"]:
        values: list[object] = self.take(key, _list, []) or []
        return [
            Section(value, f"{self._at(key)}[{index}]", self._faults)
            for index, value in enumerate(values)
        ]

    def close(self) -> None:
        """What nobody asked for is unknown."""
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
    def convert(value: object) -> str:
        if not isinstance(value, str):
            raise Usage(
                f"{show(value)} is not text"
                + (
                    ""
                    if value is None or isinstance(value, (list, dict))
                    else "; put it in quotes if it is meant as text"
                )
            )
        return check(value)

    return convert


def optional(convert: Callable[[object], T]) -> Callable[[object], T | None]:
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
    # hold.
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 < value <= 1e6
        or not math.isfinite(value)
    ):
        raise Usage(f"{show(value)} is not a positive number (of at most a million)")
    return float(value)


def local_path(base: Path) -> Callable[[object], Path]:
    """For a path on this machine; one that is relative starts at the configuration file's
    directory.
    """

    def check(text: str) -> str:
        if not text or not text.isprintable() or re.search(r"[`$;|&<>]", text):
            raise Usage(
                f"{show(text)} is not a path; a leading ~ is understood, variables and "
                f"commands are not"
            )
        if (expanded := os.path.expanduser(text)).startswith("~"):  # noqa: PTH111 (leaves an unknown user's ~ alone, where Path raises)
            raise Usage(f"{show(text)}: there is no such home directory")
        return expanded

    return lambda value: base / text(check)(value)


def join(path: str, key: object) -> str:
    name = key if isinstance(key, str) and key.isprintable() and 0 < len(key) <= 80 else show(key)
    return f"{path}.{name}" if path else name


def _list(value: object) -> list[object]:
    if value is not None and not isinstance(value, list):
        raise Usage(f"{show(value)} is not a list")
    return value or []


def _filled_list(value: object) -> list[object]:
    if not _list(value):
        raise Usage("is empty")
    return _list(value)


def _nothing() -> Any:
    """Stands for a value with a fault; `load` raises before anybody sees it."""
    return ""
