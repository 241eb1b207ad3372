"""Signals: the first one ends the run in order, a second one ends it at once."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from breakglass.cli.streams import write_last_words

SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
IMPATIENT_SECONDS = 2.0
"""While everything is being restored, a signal that comes so soon after the first is the same one
once more.
"""
_seen: list[int] = []
"""Signals that have come."""
_came_at = 0.0
"""When the first signal came, or restoring began after it."""
_is_undisturbed = False
"""Whether the first signal is only noted, and raised when what is under way is done."""
_is_over = False
"""Whether the work has come to its end, and only the report is left."""


class Signalled(KeyboardInterrupt):
    """A signal asked us to end. Not an Exception: no library may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def handled() -> Iterator[None]:
    """SIGINT, SIGQUIT, SIGTERM and SIGHUP raise Signalled in here. What was to be ignored, by nohup
    say, stays ignored.
    """
    global _is_over
    _is_over = False
    _seen.clear()
    before = {
        number: signal.signal(number, _on_signal)
        for number in SIGNALS
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            # A signal that comes after the report has nothing to end any more.
            signal.signal(number, signal.SIG_IGN if _is_over else handler)


def hold_back() -> None:
    """From here on no signal disturbs: the work is over, and its report is printed whole."""
    global _is_over
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    _is_over = True


def is_over() -> bool:
    """Whether the work has come to its end."""
    return _is_over


def noted() -> int | None:
    """The number of the signal that has come, if any has."""
    return _seen[0] if _seen else None


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


def _on_signal(number: int, frame: FrameType | None) -> None:
    del frame
    global _came_at
    if _seen:
        # A terminal that is closed may say so twice.
        is_the_same = _is_undisturbed and time.monotonic() - _came_at < IMPATIENT_SECONDS
        if number == signal.SIGHUP or is_the_same:
            return
        write_last_words(
            "\nbreakglass: ended at once by a second signal; what was under way may be half done. "
            "Next: breakglass status\n"
        )
        os._exit(128 + number)
    _came_at = time.monotonic()
    _seen.append(number)
    if not _is_undisturbed:
        raise Signalled(number)
    write_last_words(
        "\nbreakglass: everything is being restored; a further signal, two seconds from now or "
        "later, ends that at once\n"
    )
