"""Turns the signals that end the sandbox into exceptions, so that it cleans up."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from breakglass.errors import Interrupted


@contextmanager
def signals_raise() -> Iterator[None]:
    """Within the context SIGTERM and SIGHUP raise Interrupted, unless they are handled already."""
    # By default they end a Python program without its `finally` blocks.

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise Interrupted(number)

    ours = []
    if threading.current_thread() is threading.main_thread():
        ours = [
            number
            for number in (signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(number) is signal.SIG_DFL
        ]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
