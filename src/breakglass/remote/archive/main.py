"""The start of the script `archive`, and its end when the caller is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
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
ENDS_ALONE = ("canonical",)
"""When the caller is gone only this process ends. `ctr` or `docker` behind it meets the end of the
stream, before any name came, and cleans up: killed it would leave its blobs.
"""


def main(argv: list[str], lifeline: int | None) -> int:
    """Returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)

    def command() -> Any:
        arguments = parse(argv)
        # Where standard input carries the tarball, its end is the sign that the caller is gone.
        arguments.stdin_is_lifeline = lifeline == 0 and arguments.command in READS_STDIN
        if lifeline is not None and not arguments.stdin_is_lifeline:
            end = end_alone if arguments.command in ENDS_ALONE else end_all
            threading.Thread(target=wait_for_the_end, args=(lifeline, end), daemon=True).start()
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


def wait_for_the_end(lifeline: int, end: Callable[[], None]) -> None:
    """End what runs here when the caller is gone."""
    with contextlib.suppress(OSError):
        lifelines.wait_for_silence(lifeline, lifelines.SILENCE_SECONDS)
    end()


def end_alone() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def end_all() -> None:
    """docker, the compressor and this process."""
    os.killpg(0, signal.SIGTERM)
    time.sleep(5)  # for removing the partial
    os.killpg(0, signal.SIGKILL)
