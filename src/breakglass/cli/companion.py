"""The COMMAND of `recover`: run while pinned, with every signal that comes in its place."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType

from breakglass.errors import Failed, then
from breakglass.ssh import SECRETS

KEYS = (signal.SIGINT, signal.SIGQUIT)
"""What a terminal sends for a key, to all that runs in front of it: Ctrl-C and Ctrl-\\."""
GRACE_SECONDS = 30.0
"""Asked to end, it has so long; then it is killed."""


@dataclass(frozen=True)
class Ended:
    status: int
    """As a shell reports it: 128+n for one that signal n ended."""
    asked: int | None
    """The signal that asked us to end meanwhile."""


def run(argv: tuple[str, ...], *, environ: Mapping[str, str], stdout: int | None) -> Ended:
    """Run it to its end. Raises Failed where it cannot be started.

    SIGTERM and SIGHUP are handed on, and what a key of the terminal sends where no terminal has
    given it to the command already. A second SIGTERM or SIGHUP kills it.
    """
    command = _Command()
    before = {
        number: signal.signal(number, command.hand_on)
        for number in (*KEYS, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        command.start(argv, environ=environ, stdout=stdout)
        code = command.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    status = code if code >= 0 else 128 - code
    ending = next(
        (number for number in command.asked if number not in KEYS or status == 128 + number), None
    )
    return Ended(status, ending)


class _Command:
    """The process, and the signals that have come for it."""

    def __init__(self) -> None:
        # Without a terminal nothing but us signals what the command has started: then it gets a
        # separate process group, and the whole group is signalled.
        self._has_group = not _has_terminal()
        self._child: subprocess.Popen[bytes] | None = None
        self._ends_at = float("inf")
        self.asked: list[int] = []

    def start(
        self, argv: tuple[str, ...], *, environ: Mapping[str, str], stdout: int | None
    ) -> None:
        sys.stdout.flush()
        given = {name: value for name, value in environ.items() if name not in SECRETS}
        try:
            self._child = subprocess.Popen(
                argv, env=given, stdout=stdout, process_group=0 if self._has_group else None
            )
        except OSError as error:
            raise Failed(
                f"{argv[0]} cannot be run: {error.strerror}",
                next_step=then(
                    "breakglass recover --help",
                    advice=f"see whether {argv[0]} is there and may be executed",
                ),
            ) from error
        for number in self.asked:  # that came before there was a command
            self._signal(number)

    def wait(self) -> int:
        assert self._child is not None
        while True:
            try:
                return self._child.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                if time.monotonic() > self._ends_at:
                    self._signal(signal.SIGKILL)

    def hand_on(self, number: int, _frame: FrameType | None) -> None:
        """The handler of the signals."""
        is_second = any(earlier not in KEYS for earlier in self.asked)
        self.asked.append(number)
        if number not in KEYS:
            self._ends_at = min(self._ends_at, time.monotonic() + GRACE_SECONDS)
        if number in KEYS and _is_in_front():
            return
        self._signal(signal.SIGKILL if is_second else number)

    def _signal(self, number: int) -> None:
        if self._child is None or self._child.poll() is not None:
            return
        try:
            (os.killpg if self._has_group else os.kill)(self._child.pid, number)
        except ProcessLookupError:
            return


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
