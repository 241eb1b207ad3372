"""The start of the script `archive`, and its end when the caller is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import Any, NoReturn

from breakglass.remote import lifeline as lifelines
from breakglass.remote.archive.arguments import READS_STDIN, parse
from breakglass.remote.archive.canonical import write_canonical
from breakglass.remote.archive.partial import Interrupted
from breakglass.remote.archive.publish import discard, publish
from breakglass.remote.archive.pull import pull
from breakglass.remote.archive.receive import receive
from breakglass.remote.archive.signature import sign
from breakglass.remote.archive.verify import verify
from breakglass.remote.archive.write import write
from breakglass.remote.faults import fail, run_command

COMMANDS = {
    "write": write,
    "pull": pull,
    "receive": receive,
    "verify": verify,
    "sign": sign,
    "canonical": write_canonical,
    "publish": publish,
    "discard": discard,
}
GOES_ON = ("canonical",)
"""When the caller is gone these end by themselves: an import that is killed leaves its blobs."""


def main(argv: list[str], lifeline: int | None) -> int:
    """Returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)

    def command() -> Any:
        arguments = parse(argv)
        # Where standard input carries the tarball, its end is the sign that the caller is gone.
        arguments.stdin_is_lifeline = lifeline == 0 and arguments.command in READS_STDIN
        ends_itself = arguments.stdin_is_lifeline or arguments.command in GOES_ON
        if lifeline is not None and not ends_itself:
            threading.Thread(target=die_with_the_caller, args=(lifeline,), daemon=True).start()
        return COMMANDS[arguments.command](arguments)

    try:
        return run_command(command)
    except Interrupted as interrupted:
        return fail(128 + interrupted.signal, f"ended by signal {interrupted.signal}")


def interrupt(number: int, _frame: object) -> NoReturn:
    """Handle a signal."""
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        # A second signal must not cut the cleaning up short.
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted(number)


def die_with_the_caller(lifeline: int) -> None:
    """End docker, the compressor and this process when the caller is gone."""
    with contextlib.suppress(OSError):
        lifelines.wait_for_silence(lifeline, lifelines.SILENCE_SECONDS)
    os.killpg(0, signal.SIGTERM)
    time.sleep(5)  # for removing the partial
    os.killpg(0, signal.SIGKILL)
