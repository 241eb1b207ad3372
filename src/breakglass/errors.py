"""Every expected failure is one class with one exit code; anything else is a bug and shows its
traceback.
"""

from collections.abc import Sequence
from typing import Self


class BreakglassError(Exception):
    """A fault in three sentences: what is wrong, what state things are in, what to type
    next.
    """

    kind = "bug"
    exit_code = 1
    state_by_default = ""

    def __init__(
        self, message: str, *, state: str = "", next_step: str = "", where: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.state = state or self.state_by_default
        self.next_step = next_step
        self.where = where
        """The host, registry or API server that it is about, where the message begins with it."""

    def named(self, name: str) -> str:
        """The message, which begins with this name."""
        return self.message if self.where == name else f"{name}: {self.message}"

    def unnamed(self, name: str) -> str:
        """The message, for a line that begins with this name already."""
        if self.where != name:
            return self.message
        return self.message.removeprefix(name).removeprefix(":").lstrip()

    def replaced(
        self, *, message: str | None = None, state: str | None = None, next_step: str | None = None
    ) -> Self:
        """A new error of the same kind that differs in these sentences only."""
        error = type(self).__new__(type(self))
        error.__dict__ |= self.__dict__
        error.message = self.message if message is None else message
        error.state = self.state if state is None else state
        error.next_step = self.next_step if next_step is None else next_step
        error.args = (error.message,)
        error.__cause__ = self.__cause__
        return error


class Usage(BreakglassError):
    """Usage or configuration: nothing was contacted."""

    kind, exit_code, state_by_default = "usage", 2, "Nothing was changed, nothing was contacted."


class Refused(BreakglassError):
    """A precondition does not hold."""

    kind, exit_code, state_by_default = "refused", 3, "Nothing was changed."


class Failed(BreakglassError):
    """Failed part-way."""

    kind, exit_code = "failed", 4


class Unreachable(BreakglassError):
    """A host, registry or API was not reached, or did not let us in."""

    kind, exit_code, state_by_default = "unreachable", 5, "Nothing was changed."


class NoAnswer(Unreachable):
    """Nothing answered. Where nothing at all answers, this machine's own network is down."""


class Integrity(BreakglassError):
    """What was found is not what was recorded; it was not used."""

    kind, exit_code, state_by_default = "integrity", 6, "It was not used."


class Busy(BreakglassError):
    """Another run holds the lock."""

    kind, exit_code, state_by_default = "busy", 7, "Nothing was changed."


class Interrupted(BreakglassError):
    """Ended by a signal; its number is known only when it comes."""

    kind = "signal"

    def __init__(self, signal_number: int, *, state: str = "", next_step: str = "") -> None:
        super().__init__(f"ended by signal {signal_number}", state=state, next_step=next_step)
        self.exit_code = 128 + signal_number


def bug_at(where: str, bug: Exception) -> BreakglassError:
    """A bug in one part of a run whose other parts go on."""
    error = BreakglassError(
        f"{where}: a bug in breakglass ({type(bug).__name__}: {bug})",
        next_step="run the same command again",
        where=where,
    )
    error.__cause__ = bug
    return error


BY_EXIT_CODE: dict[int, type[BreakglassError]] = {
    kind.exit_code: kind for kind in (Usage, Refused, Failed, Unreachable, Integrity, Busy)
}


def worst(
    errors: Sequence[BreakglassError],
    *,
    message: str | None = None,
    state: str | None = None,
    next_step: str | None = None,
) -> BreakglassError:
    """A new error like the one of several that decides the exit code, with other sentences where
    they are given: 6 before 4 before 5 before 3.
    """
    order = [6, 4, 5, 3, 7, 2]
    decisive = min(
        errors, key=lambda error: order.index(error.exit_code) if error.exit_code in order else -1
    )
    return decisive.replaced(message=message, state=state, next_step=next_step)
