"""The front door: arguments, signals, the error block, the exit code."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from typer.exceptions import Abort, Exit, TyperException

from breakglass.cli.directories import home, working_directory
from breakglass.cli.streams import prepare, write_last_words
from breakglass.errors import BreakglassError, Failed, Interrupted, Usage

if TYPE_CHECKING:
    from breakglass.cli.session import Session


OUTSIDE = (
    "It came before or after the work itself: if this run had begun to change anything, it was "
    "told above."
)
SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
IMPATIENT_SECONDS = 2.0
"""While everything is being given back, a signal that comes so soon after the first is the same one
once more.
"""
_typed: list[str] = []
"""The arguments of this run."""
_seen: list[int] = []
"""Signals that have come."""
_came_at = 0.0
"""When the first signal came, or giving back began after it."""
_is_undisturbed = False
"""Whether the first signal is only noted, and raised when what is under way is done."""
_is_told = False
"""Whether the command has come to its end, and only telling it is left."""


class Signalled(KeyboardInterrupt):
    """A signal asked us to end. Not an Exception: no library may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True)
class Global:
    """The options that every command has."""

    config: Path | None
    json: bool
    verbose: bool

    def with_these(self, *, json: bool, verbose: bool) -> "Global":
        """Two of them are understood after the command as well."""
        return replace(self, json=json or self.json, verbose=verbose or self.verbose)


def main() -> None:
    """The entry point."""
    streams = prepare()
    status = run(sys.argv[1:])
    for stream in streams:
        stream.end()
    fault = next((stream.fault for stream in streams if stream.fault), None)
    if fault is not None and status in (0, 10):
        write_last_words(
            f"breakglass: failed: what was to be printed could not be written: {fault.strerror}\n"
        )
        status = Failed.exit_code
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Do what the arguments say; the exit code."""
    from breakglass.cli import completion
    from breakglass.cli.app import app

    if os.environ.get(completion.VARIABLE):
        return completion.answer(lambda: app([], standalone_mode=False, prog_name="breakglass"))
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    wants_json = "--json" in words
    global _is_told
    _is_told = False
    _typed[:] = arguments
    _seen.clear()
    try:
        if {"--show-completion", "--install-completion"} & set(words):
            completion.check_shell()
        with _signals():
            status = int(app(arguments, standalone_mode=False, prog_name="breakglass") or 0)
            if _seen and not _is_told:  # typer makes a status of what is raised outside of `carry`
                raise Signalled(_seen[0])
            return status
    except Signalled as ended:
        return _report(
            _command_of(words), Interrupted(ended.number, state=OUTSIDE), wants_json=wants_json
        )
    except TyperException as error:
        where = getattr(
            getattr(error, "ctx", None), "command_path", f"breakglass {_command_of(words)}".strip()
        )
        usage = Usage(
            error.format_message() or "a command is missing",
            next_step=_instead(where, getattr(error, "option_name", "")),
        )
        return _report(_command_of(words), usage, wants_json=wants_json)
    except BreakglassError as error:
        return _report(_command_of(words), error, wants_json=wants_json)
    except Abort:
        return 1
    except Exit as error:
        if _seen:
            return _report(
                _command_of(words), Interrupted(_seen[0], state=OUTSIDE), wants_json=wants_json
            )
        return error.exit_code


def carry(
    command: str,
    work: Callable[["Session"], dict[str, Any]],
    *,
    given: Global,
    dry_run: bool = False,
    tolerate_failure: bool = False,
) -> int:
    """Run one command's work in a session, and tell how it ended."""
    from breakglass.cli.outcome import Outcome, progress_of
    from breakglass.cli.screen import Screen
    from breakglass.config import find, load

    screen = Screen(json=given.json, verbose=given.verbose)
    outcome = Outcome(command, dry_run=dry_run)
    session = None
    try:
        found = load(
            find(
                None if given.config is None else str(given.config),
                environ=os.environ,
                cwd=working_directory(),
                home=home(),
            )
        )
        screen.detail(f"configuration: {found.source}")
        from breakglass.cli import session as sessions

        session = sessions.Session(config=found, screen=screen, outcome=outcome)
        outcome.result = work(session)
    except BreakglassError as error:
        outcome.error = error
    except Signalled as ended:
        outcome.error = Interrupted(
            ended.number,
            state=_with_notes(progress_of(outcome), ended),
            next_step=(
                "run the same command again: it reads the state first and does only what is missing"
            ),
        )
    except Exception as error:
        screen.bug(error)
        outcome.error = BreakglassError(
            f"a bug in breakglass: {type(error).__name__}",
            state=_with_notes(progress_of(outcome), error),
            next_step="breakglass status"
            if command != "status"
            else "runbook.md, 6: without breakglass",
        )
    finally:
        # How it ended is told whole: a signal that comes now changes nothing any more.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        global _is_told
        _is_told = True
        if session is not None:
            session.close()
    if outcome.error is not None:
        outcome.exit_code = outcome.error.exit_code
        screen.error(outcome.error)
        if given.verbose and outcome.error.__cause__ is not None:
            screen.trace(outcome.error.__cause__)
    if session is not None:
        session.journal.end(outcome.exit_code)
    if given.json:
        screen.object(outcome.told())
    if tolerate_failure and 3 <= outcome.exit_code <= 7:
        screen.warn(
            f"--tolerate-failure: the snapshot failed with exit code {outcome.exit_code}; "
            f"ending with 0"
        )
        return 0
    return outcome.exit_code


def typed_with(option: str) -> str:
    """The command as it was typed, with one more option. What follows the `--` of recover is
    told by its first word: a COMMAND may hold secrets.
    """
    at = _typed.index("--") if "--" in _typed else len(_typed)
    shown = at + 2 if _command_of(_typed[:at]) == "recover" else len(_typed)
    return shlex.join(["breakglass", *_typed[:at], option, *_typed[at:shown]]) + (
        " ..." if len(_typed) > shown else ""
    )


def _with_notes(state: str, error: BaseException) -> str:
    """With what was put or given back on the way out."""
    return " ".join([state, *getattr(error, "__notes__", ())])


def _report(command: str, error: BreakglassError, *, wants_json: bool) -> int:
    """An error from before there was a session."""
    from breakglass.cli.outcome import Outcome
    from breakglass.cli.screen import Screen

    screen = Screen(json=wants_json, verbose=False)
    screen.error(error)
    if wants_json:
        screen.object(Outcome(command, error=error, exit_code=error.exit_code).told())
    return error.exit_code


def _instead(where: str, option: str) -> str:
    """What to type in place of what cannot be understood. A `-c` may be COMMAND's, whose `--` was
    forgotten.
    """
    takes_command = where in ("breakglass recover", "breakglass sandbox")
    if where != "breakglass" and (option == "--config" or (option == "-c" and not takes_command)):
        return "--config stands before the command: breakglass --config PATH COMMAND ..."
    return f"{where} --help" + (
        "; a COMMAND stands behind --, with its options" if takes_command else ""
    )


def _command_of(words: list[str]) -> str:
    rest = iter(words)
    for word in rest:
        if word in ("-c", "--config"):
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return ""


@contextmanager
def undisturbed() -> Iterator[None]:
    """A first signal does not end what is done in here: it is `noted`."""
    global _is_undisturbed
    _is_undisturbed = True
    try:
        yield
    finally:
        _is_undisturbed = False


@contextmanager
def disturbed() -> Iterator[None]:
    """Within `undisturbed`: signals end this part all the same."""
    global _is_undisturbed, _came_at
    _is_undisturbed = False
    try:
        yield
    finally:
        _is_undisturbed, _came_at = True, time.monotonic()


def noted() -> int | None:
    """The number of the signal that has come, if one has."""
    return _seen[0] if _seen else None


@contextmanager
def _signals() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the run in order; a second one ends it at once."""

    def on(number: int, frame: FrameType | None) -> None:
        del frame
        global _came_at
        if _seen:
            # A terminal that is closed may say so twice.
            if number == signal.SIGHUP or (
                _is_undisturbed and time.monotonic() - _came_at < IMPATIENT_SECONDS
            ):
                return
            write_last_words(
                "\nbreakglass: ended at once by a second signal; what was under way may "
                "be half done. Next: breakglass status\n"
            )
            os._exit(128 + number)
        _came_at = time.monotonic()
        _seen.append(number)
        if not _is_undisturbed:
            raise Signalled(number)
        write_last_words(
            "\nbreakglass: everything is being given back; a further signal, two "
            "seconds from now or later, ends that at once\n"
        )

    # What was to be ignored, by nohup say, stays ignored.
    before = {
        number: signal.signal(number, on)
        for number in SIGNALS
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            # One that comes when all is told has nothing to end any more.
            signal.signal(number, signal.SIG_IGN if _is_told else handler)
