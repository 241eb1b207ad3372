"""`breakglass`, and `python -m breakglass`: the little that has to be there before the rest is read
from the disk.
"""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

PR_SET_DUMPABLE = 4
"""Of prctl(2)."""


def main() -> None:
    """The entry point."""
    _leave_ascii()
    _hide_memory()
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)
    # Where it is ignored, the kernel takes the status of what we start, and Python says 0.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    from breakglass.cli.main import main as front_door

    front_door()


def _leave_ascii() -> None:
    """Start again in UTF-8 mode where the locale has ASCII only: there Python cannot open a file,
    send a reason or start a command whose name has an umlaut.
    """
    if sys.getfilesystemencoding() == "ascii" and sys.executable:
        with suppress(OSError):
            os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _hide_memory() -> None:
    """No other process of this user may read our memory or the environment that we started with:
    COMMAND, or a credential plugin, would find the key there. Linux only; root may read both.
    """
    if sys.platform == "linux":
        # A Python that was built without ctypes, or a C library without prctl.
        with suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def _end(number: int, frame: FrameType | None) -> None:
    """A signal before a command has begun, or after it has ended: a sentence, and no traceback
    of an import.
    """
    del frame
    try:
        os.write(
            2, f"breakglass: signal: ended by signal {number}; nothing was under way\n".encode()
        )
    finally:
        os._exit(128 + number)


if __name__ == "__main__":
    main()
