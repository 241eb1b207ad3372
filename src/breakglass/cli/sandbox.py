"""`breakglass sandbox`: the environment in a box, for a command or a shell."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from breakglass.cli.arguments import typed_next
from breakglass.cli.outcome import Outcome
from breakglass.cli.run import Options
from breakglass.cli.screen import Screen
from breakglass.errors import BreakglassError, Refused, then


@dataclass(frozen=True)
class SandboxResult:
    command: tuple[str, ...]
    status: int


def run_sandbox(options: Options, *, command: tuple[str, ...]) -> int:
    """Raises the environment, runs the command (or a shell) in it, and ends with its status."""
    from breakglass.sandbox.environment import raise_environment

    screen = Screen(json=options.json, verbose=options.verbose)
    outcome = Outcome("sandbox")
    try:
        if not command and "BREAKGLASS_SANDBOX_CONTROL" in os.environ:
            raise Refused(
                "this shell is in a sandbox already",
                next_step=then(
                    "sandbox", "exit", advice="see what you can stop or break, or leave"
                ),
            )
        with raise_environment() as environment:
            argv = command or environment.shell()
            leave = () if command else ("Type `exit` to leave, and first of all: breakglass check",)
            for line in (*environment.banner.splitlines(), *leave):
                screen.aside(line)
            status = _run(
                argv, environment.variables(), stdout=sys.stderr if options.json else None
            )
            outcome.exit_code = status if status >= 0 else 128 - status
            outcome.result = SandboxResult(tuple(argv), outcome.exit_code)
    except BreakglassError as error:
        outcome.error = error.replaced(next_step=typed_next(error, options.typed))
        outcome.exit_code = error.exit_code
        screen.error(outcome.error)
    if options.json:
        screen.object(outcome.to_json())
    return outcome.exit_code


def _run(argv: Sequence[str], environ: Mapping[str, str], *, stdout: TextIO | None) -> int:
    """The status of the command. Ctrl-C is for it, and not for us."""
    before = signal.getsignal(signal.SIGINT)
    # A handler of ours, unlike SIG_IGN, is not inherited by the command. What was to be ignored, in
    # the background of a script say, stays ignored.
    if before != signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.run(argv, env=environ, stdout=stdout, check=False).returncode
    except OSError as error:
        raise Refused(
            f"{argv[0]} cannot be run: {error.strerror}",
            next_step=then("breakglass sandbox --help", advice="a COMMAND stands behind --"),
        ) from error
    finally:
        signal.signal(signal.SIGINT, before)
