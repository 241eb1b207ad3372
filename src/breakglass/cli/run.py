"""One command in a session, from its options to its exit code."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from breakglass.cli import signals
from breakglass.cli.arguments import typed_next
from breakglass.cli.directories import home, working_directory
from breakglass.errors import RUN_AGAIN, BreakglassError, Interrupted, then

if TYPE_CHECKING:
    from breakglass.cli.outcome import Outcome
    from breakglass.cli.screen import Screen
    from breakglass.cli.session import Session

Work = Callable[["Session"], object]


@dataclass(frozen=True)
class Options:
    """The options that every command has, and the whole line as it was typed."""

    config: Path | None
    json: bool
    verbose: bool
    typed: tuple[str, ...] = ()

    def with_these(self, *, json: bool, verbose: bool) -> "Options":
        """The same options, with `--json` and `--verbose` as they stand after the command."""
        return replace(self, json=json or self.json, verbose=verbose or self.verbose)


def run_command(
    command: str,
    work: Work,
    options: Options,
    *,
    dry_run: bool = False,
    tolerate_failure: bool = False,
) -> int:
    """Run one command's work in a session, and report how it ended. Returns the exit code."""
    from breakglass.cli.outcome import Outcome
    from breakglass.cli.screen import Screen

    screen = Screen(json=options.json, verbose=options.verbose)
    outcome = Outcome(command, dry_run=dry_run)
    session = _work(work, options, screen, outcome)
    if outcome.error is not None:
        from breakglass.cli.outcome import with_true_state

        cluster = session.cluster.name() if session is not None else None
        error = with_true_state(outcome, outcome.error)
        outcome.error = error.replaced(next_step=typed_next(error, options.typed, cluster))
        outcome.exit_code = outcome.error.exit_code
        screen.error(outcome.error)
        is_bug = type(outcome.error) is BreakglassError
        if (options.verbose or is_bug) and outcome.error.__cause__ is not None:
            screen.trace(outcome.error.__cause__)
    if session is not None:
        session.journal.end(outcome.exit_code)
    if options.json:
        outcome.cluster = session.cluster.name() if session is not None else None
        screen.object(outcome.to_json())
    if tolerate_failure and 3 <= outcome.exit_code <= 7:
        screen.warn(
            f"--tolerate-failure: the snapshot failed with exit code {outcome.exit_code}; "
            f"ending with 0"
        )
        return 0
    return outcome.exit_code


def _work(work: Work, options: Options, screen: "Screen", outcome: "Outcome") -> "Session | None":
    """Do the work. An exception or a signal becomes the outcome's error. The session is closed.

    Returns None if no session was opened.
    """
    from breakglass.cli.outcome import progress_of

    session = None
    try:
        session = _open(options, screen, outcome)
        outcome.result = work(session)
    except BreakglassError as error:
        outcome.error = error
    except signals.Signalled as ended:
        outcome.error = Interrupted(
            ended.number,
            state=_with_notes(progress_of(outcome), ended),
            next_step=RUN_AGAIN,
        )
    except Exception as error:
        screen.bug(error)
        outcome.error = BreakglassError(
            f"a bug in breakglass: {type(error).__name__}",
            state=_with_notes(progress_of(outcome), error),
            next_step=then("breakglass status")
            if outcome.command != "status"
            else then("breakglass check", advice="runbook.md, 6, needs no breakglass"),
        )
    finally:
        signals.hold_back()
        if session is not None:
            session.close()
    return session


def _open(options: Options, screen: "Screen", outcome: "Outcome") -> "Session":
    """A session with the configuration that was found. Raises Usage."""
    from breakglass.config import find, load

    config = load(
        find(
            None if options.config is None else str(options.config),
            environ=os.environ,
            cwd=working_directory(),
            home=home(),
        )
    )
    screen.detail(f"configuration: {config.source}")
    from breakglass.cli.session import Session

    return Session(config=config, screen=screen, outcome=outcome, typed=options.typed)


def _with_notes(state: str, error: BaseException) -> str:
    """The state, and what was undone while the error went up."""
    return " ".join([state, *getattr(error, "__notes__", ())])
