"""Every expected failure is one class with one exit code; anything else is a bug and shows its
traceback.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Self


class Again(Enum):
    """Stands for the command that is running: only `cli` knows how it was typed."""

    AGAIN = "the same command again"


AGAIN = Again.AGAIN
Command = str | Again


@dataclass(frozen=True)
class Next:
    """What to do next: a sentence, and commands that can be typed as they stand, in this order."""

    commands: tuple[Command, ...] = ()
    advice: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """The advice and the commands, a line each."""
        advice = self.advice
        if advice and self.commands and not advice.endswith((":", ".")):
            advice += ":"
        return (*((advice,) if advice else ()), *self.typed_commands)

    @property
    def typed_commands(self) -> tuple[str, ...]:
        return tuple(
            command.value if isinstance(command, Again) else command for command in self.commands
        )

    @property
    def without_again(self) -> "Next":
        """For a part of a larger command: the same command again would be another one there."""
        return replace(self, commands=tuple(each for each in self.commands if each is not AGAIN))

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def __bool__(self) -> bool:
        return bool(self.advice or self.commands)

    def replaced(self, change: Callable[[Command], Command]) -> "Next":
        """The same with each command changed."""
        return replace(self, commands=tuple(map(change, self.commands)))


def then(*commands: Command, advice: str = "") -> Next:
    """The next commands, with a sentence before them."""
    return Next(commands, advice)


def with_tag(command: str, tag: str | None) -> str:
    """The command for this tag. None: for what `latest` means."""
    return f"{command} --tag {tag}" if tag else command


def look_first(*commands: str, advice: str = "see the cause, then try again") -> Next:
    """Commands that show the cause, and the same command again."""
    return then(*commands, AGAIN, advice=advice)


def joined(steps: Sequence[Next]) -> Next:
    """Several of them as one: each sentence and each command once."""
    sentences = list(dict.fromkeys(step.advice for step in steps if step.advice))
    ended = [each if each.endswith((".", "?")) else f"{each}." for each in sentences[:-1]]
    advice = " ".join([*ended, *sentences[-1:]])
    commands = dict.fromkeys(command for step in steps for command in step.commands)
    return Next(tuple(sorted(commands, key=lambda command: command is AGAIN)), advice)


def _as_next(step: Next | str) -> Next:
    return then(advice=step) if isinstance(step, str) else step


NOTHING = Next()
RUN_AGAIN = then(AGAIN)


class BreakglassError(Exception):
    """A fault: what is wrong, what state things are in, what to type next."""

    kind = "bug"
    exit_code = 1
    state_by_default = ""

    def __init__(
        self, message: str, *, state: str = "", next_step: Next | str = NOTHING, where: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.state = state or self.state_by_default
        self.next_step = _as_next(next_step)
        """A text alone is advice; the same command again follows it."""
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
        self,
        *,
        message: str | None = None,
        state: str | None = None,
        next_step: Next | str | None = None,
    ) -> Self:
        """A new error of the same kind that differs in these sentences only."""
        error = type(self).__new__(type(self))
        error.__dict__ |= self.__dict__
        error.message = self.message if message is None else message
        error.state = self.state if state is None else state
        error.next_step = self.next_step if next_step is None else _as_next(next_step)
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

    def __init__(self, signal_number: int, *, state: str = "", next_step: Next = NOTHING) -> None:
        super().__init__(f"ended by signal {signal_number}", state=state, next_step=next_step)
        self.exit_code = 128 + signal_number


def bug_at(where: str, bug: Exception) -> BreakglassError:
    """A bug in one part of a run whose other parts go on."""
    error = BreakglassError(
        f"{where}: a bug in breakglass ({type(bug).__name__}: {bug})",
        next_step=RUN_AGAIN,
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
    next_step: Next | None = None,
) -> BreakglassError:
    """A new error like the one of several that decides the exit code, with other sentences where
    they are given: 6 before 4 before 5 before 3.
    """
    order = [6, 4, 5, 3, 7, 2]
    decisive = min(
        errors, key=lambda error: order.index(error.exit_code) if error.exit_code in order else -1
    )
    return decisive.replaced(message=message, state=state, next_step=next_step)
