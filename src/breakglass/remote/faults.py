"""Expected failures of the scripts: an exit code of breakglass and one sentence on stderr."""

from __future__ import annotations

import contextlib
import errno
import json
import sys
from collections.abc import Callable
from typing import Any

USAGE, REFUSED, FAILED, UNREACHABLE, INTEGRITY = 2, 3, 4, 5, 6


DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_ROOM = "@no-room "
"""What a sentence begins with where a disk is full: a mark for programs, as `@progress` is."""
NO_LOGIN = "@no-login "
"""The same where a registry wants a login that this host does not have."""


class Fault(Exception):
    """An expected failure: its exit code, and one sentence."""

    def __init__(self, status: int, sentence: str, *, mark: str = "") -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.mark = status, sentence, mark


def run_command(command: Callable[[], Any]) -> int:
    """Run a command and print its result, if it has one, as one line of JSON; returns the exit
    code.
    """
    try:
        result = command()
        if result is not None:
            print(json.dumps(result, separators=(",", ":")), flush=True)
        return 0
    except Fault as fault:
        return fail(fault.status, fault.mark + fault.sentence)
    except BrokenPipeError:
        return FAILED  # the reader is gone, and says why itself
    except OSError as error:
        mark = NO_ROOM if error.errno in DISK_IS_FULL else ""
        return fail(FAILED, f"{mark}{error.filename or 'reading or writing'}: {error.strerror}")


def fail(status: int, sentence: str) -> int:
    """Print the sentence on stderr; returns the exit code."""
    with contextlib.suppress(OSError):
        print(inert(sentence), file=sys.stderr, flush=True)
    return status


def inert(text: str) -> str:
    """Text from elsewhere is data: no control characters, no line ends, no megabytes."""
    return "".join(character if character.isprintable() else " " for character in text)[:2000]
