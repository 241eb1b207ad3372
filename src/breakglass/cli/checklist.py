"""The stages of recover: what is done, what is under way, what is left."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from breakglass.cli.screen import Screen
from breakglass.errors import BreakglassError


@dataclass
class Item:
    """One line of the checklist. `status`: to do, done, not done, signal, or the kind of the error
    that ended it.
    """

    name: str
    status: str = "to do"
    seconds: float | None = None


@dataclass(frozen=True)
class StageResult:
    name: str
    status: str
    seconds: float | None


class Checklist:
    """What is done, what is under way, what is left."""

    def __init__(self, screen: Screen, names: tuple[str, ...]) -> None:
        self._screen, self.items = screen, [Item(name) for name in names]
        self.command_status: int | None = None
        """How COMMAND ended."""

    @contextmanager
    def doing(self, name: str) -> Iterator[None]:
        item = next(item for item in self.items if item.name == name)
        started = time.monotonic()
        self._screen.say(f"[>] {name}", style="bold")
        try:
            yield
        except BaseException as error:
            item.status = (
                error.kind
                if isinstance(error, BreakglassError)
                else "signal"
                if isinstance(error, KeyboardInterrupt)
                else "failed"
            )
            raise
        else:
            item.status = "done"
        finally:
            item.seconds = time.monotonic() - started
            self._screen.close()
            self._screen.say(_line(item), style="bold")

    def show(self) -> None:
        """All of it, at the end."""
        self._screen.say("--- in all")
        for item in self.items:
            item.status = "not done" if item.status == "to do" else item.status
            self._screen.say(_line(item))

    def results(self) -> tuple[StageResult, ...]:
        """For the JSON."""
        return tuple(
            StageResult(
                item.name, item.status, None if item.seconds is None else round(item.seconds, 3)
            )
            for item in self.items
        )


def _line(item: Item) -> str:
    mark = {"done": "x", "to do": " ", "not done": " "}.get(item.status, "!")
    seconds = f", {item.seconds:.1f} s" if item.seconds is not None else ""
    return f"[{mark}] {item.name}: {item.status}{seconds}"
