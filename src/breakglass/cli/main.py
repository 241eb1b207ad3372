"""The entry: what comes before and after a command's run, and arguments that are not understood."""

import os
import sys

from typer.exceptions import Abort, Exit, TyperException

from breakglass.cli import completion, signals
from breakglass.cli.app import app
from breakglass.cli.arguments import before_dashes, command_of, typed_next
from breakglass.cli.inherited import allow_open_files, drop_impossible_sizes
from breakglass.cli.streams import prepare, write_last_words
from breakglass.errors import BreakglassError, Failed, Interrupted, Next, Usage, then

OUTSIDE = (
    "It came before or after the work itself: whatever this run had changed by then is reported "
    "above."
)


def main() -> None:
    """The entry point."""
    streams = prepare()
    status = run(sys.argv[1:])
    for stream in streams:
        stream.end()
    fault = next((stream.fault for stream in streams if stream.fault), None)
    if fault is not None and status in (0, 10, 11):
        write_last_words(
            f"breakglass: failed: what was to be printed could not be written: {fault.strerror}\n"
        )
        status = Failed.exit_code
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Do what the arguments say; the exit code."""
    drop_impossible_sizes(os.environ)
    if os.environ.get(completion.VARIABLE):
        return completion.answer(lambda: app([], standalone_mode=False, prog_name="breakglass"))
    words = before_dashes(arguments)
    try:
        allow_open_files()
        if {"--show-completion", "--install-completion"} & set(words):
            completion.check_shell()
        with signals.handled():
            return _run(arguments)
    except signals.Signalled as ended:
        return _report(
            arguments, Interrupted(ended.number, state=OUTSIDE, next_step=then("breakglass status"))
        )
    except TyperException as error:
        return _report(arguments, _usage(words, error))
    except BreakglassError as error:
        return _report(arguments, error)
    except Abort:
        return 1
    except Exit as error:
        number = signals.noted()
        if number is not None:
            return _report(
                arguments, Interrupted(number, state=OUTSIDE, next_step=then("breakglass status"))
            )
        return error.exit_code


def _run(arguments: list[str]) -> int:
    status = app(arguments, standalone_mode=False, prog_name="breakglass", obj=tuple(arguments))
    number = signals.noted()
    if number is not None and not signals.is_over():
        # typer makes a status of what is raised outside of a command's run.
        raise signals.Signalled(number)
    return int(status or 0)


def _usage(words: list[str], error: TyperException) -> Usage:
    """What typer says of the arguments, with what to type in their place."""
    context = getattr(error, "ctx", None)
    where = getattr(context, "command_path", f"breakglass {command_of(words)}".strip())
    return Usage(
        error.format_message() or "a command is missing",
        next_step=_instead(where, getattr(error, "option_name", "")),
    )


def _instead(where: str, option: str) -> Next:
    """What to type in place of what cannot be understood. A `-c` may be COMMAND's, whose `--` was
    forgotten.
    """
    takes_command = where in ("breakglass recover", "breakglass sandbox")
    if where != "breakglass" and (option == "--config" or (option == "-c" and not takes_command)):
        advice = "--config stands before the command"
    else:
        advice = "a COMMAND stands behind --, with its options" if takes_command else ""
    return then(f"{where} --help", advice=advice)


def _report(arguments: list[str], error: BreakglassError) -> int:
    """Report an error from before there was a session."""
    from breakglass.cli.outcome import Outcome
    from breakglass.cli.screen import Screen

    error = error.replaced(next_step=typed_next(error, arguments))
    words = before_dashes(arguments)
    wants_json = "--json" in words
    screen = Screen(json=wants_json, verbose=False)
    screen.error(error)
    if wants_json:
        screen.object(Outcome(command_of(words), error=error, exit_code=error.exit_code).to_json())
    return error.exit_code
