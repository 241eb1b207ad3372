"""The three standard streams. A stream that is closed, or that cannot be written, never ends a run
half-way.
"""

import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast


def prepare() -> "tuple[Unbroken, Unbroken]":
    """Make the standard streams usable, whatever was inherited; stdout and stderr, to be ended.

    A stream that was closed becomes one to nowhere. A character that the encoding of a stream
    lacks is printed as an escape, and read as a replacement.
    """
    _open_descriptors()
    for stream, errors in (
        (sys.stdin, "replace"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    ):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    if sys.stdin is None:
        sys.stdin = _nowhere("r")
    streams = tuple(Unbroken(stream or _nowhere("w")) for stream in (sys.stdout, sys.stderr))
    sys.stdout, sys.stderr = cast(tuple[TextIO, TextIO], streams)
    return cast(tuple[Unbroken, Unbroken], streams)


def _open_descriptors() -> None:
    """Put /dev/null where descriptor 0, 1 or 2 is closed: else the next file or socket that is
    opened would get the number, and be read or written as a standard stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.set_inheritable(number, True)


def _nowhere(mode: str) -> TextIO:
    return cast(TextIO, Path(os.devnull).open(mode, encoding="utf-8"))


class Unbroken:
    """A stream whose reader may go away, a terminal that is closed or `| head`: what is printed
    then is lost, what is being done goes on.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault: OSError | None = None
        """Why it could not be written, where that is another reason: a full disk, say."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def end(self) -> None:
        """Write what is left. Where that fails Python would try again at its end, and make exit
        status 120 of it.
        """
        self.flush()
        try:
            self._stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def _try(self, do: Callable[[], object]) -> None:
        try:
            do()
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO, errno.ENXIO, errno.EBADF):
                self.fault = self.fault or error


def write_last_words(sentence: str) -> None:
    """Write a sentence to stderr from where Python's streams may not be used: a signal handler, or
    the end of the process.
    """
    with suppress(OSError):
        os.write(2, sentence.encode())
