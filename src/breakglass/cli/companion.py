"""The COMMAND of `recover`: run while pinned, with every signal that comes in its place."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType

from breakglass.errors import Failed
from breakglass.ssh import SECRETS

KEYS = (signal.SIGINT, signal.SIGQUIT)
"""What a terminal sends for a key, to all that runs in front of it: Ctrl-C and Ctrl-\\."""
GRACE_SECONDS = 30.0
"""Asked to end, it has so long; then it is killed."""


@dataclass(frozen=True)
class Ended:
    status: int
    """As a shell tells it: 128+n for one that signal n ended."""
    asked: int | None
    """The signal that asked us to end meanwhile."""


def run(argv: tuple[str, ...], *, environ: Mapping[str, str], stdout: int | None) -> Ended:
    """Run it to its end. Raises Failed where it cannot be started.

    SIGTERM and SIGHUP are handed on, and what a key of the terminal sends where no terminal has
    given it to the command already. A second SIGTERM or SIGHUP kills it.
    """
    # Of its own where there is no terminal that would take it from it: then all that it has started
    # gets the signals.
    group = not _has_terminal()
    asked: list[int] = []
    child: subprocess.Popen[bytes] | None = None
    ends_at = float("inf")

    def hand_on(number: int, _frame: FrameType | None) -> None:
        nonlocal ends_at
        again = any(one not in KEYS for one in asked)
        asked.append(number)
        if number not in KEYS:
            ends_at = min(ends_at, time.monotonic() + GRACE_SECONDS)
        if child is None or (number in KEYS and _is_in_front()):
            return
        _signal(child, signal.SIGKILL if again else number, group=group)

    before = {
        number: signal.signal(number, hand_on)
        for number in (*KEYS, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        sys.stdout.flush()
        given = {name: value for name, value in environ.items() if name not in SECRETS}
        try:
            child = subprocess.Popen(
                argv, env=given, stdout=stdout, process_group=0 if group else None
            )
        except OSError as error:
            raise Failed(
                f"{argv[0]} cannot be run: {error.strerror}",
                next_step="breakglass recover -- COMMAND ...",
            ) from error
        for number in asked:  # that came before there was a command
            _signal(child, number, group=group)
        while True:
            try:
                code = child.wait(timeout=0.5)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() > ends_at:
                    _signal(child, signal.SIGKILL, group=group)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    status = code if code >= 0 else 128 - code
    ending = next(
        (number for number in asked if number not in KEYS or status == 128 + number), None
    )
    return Ended(status, ending)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _is_in_front() -> bool:
    """Whether this process is what the terminal's keys, Ctrl-C among them, go to: then the command
    is to have them too.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _signal(child: "subprocess.Popen[bytes]", number: int, *, group: bool) -> None:
    if child.poll() is None:
        try:
            (os.killpg if group else os.kill)(child.pid, number)
        except ProcessLookupError:
            return
