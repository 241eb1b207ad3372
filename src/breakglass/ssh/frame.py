"""Marks around the output of a command. What a login shell prints besides is outside of them."""

import secrets
from collections.abc import Callable

from breakglass.plan import Argv

KEPT_NOISE_BYTES = 1000
# The mark comes in two halves: a shell that prints the line it runs does not print the mark.
_SCRIPT = 'm=$1$2; shift 2; echo "$m"; "$@"; s=$?; echo "$m"; exit "$s"'


class Frame:
    """Passes on what stands between the two marks of one command's output."""

    def __init__(self) -> None:
        self._halves = secrets.token_hex(16), secrets.token_hex(16)
        self._mark = "".join(self._halves).encode() + b"\n"
        self._waiting = b""
        """What may be the beginning of a mark."""
        self.noise = b""
        """The beginning of what stands outside of the marks."""
        self.has_begun = self._has_ended = False

    def around(self, words: Argv) -> Argv:
        """The command that prints a mark, runs these words, prints the mark again, and ends with
        their exit status.
        """
        return ("sh", "-c", _SCRIPT, "sh", *self._halves, *words)

    @property
    def is_cut(self) -> bool:
        """Whether the command has begun, and the end of its output is missing."""
        return self.has_begun and not self._has_ended

    def feed(self, data: bytes, take: Callable[[bytes], None]) -> None:
        """Hand to `take` what belongs to the command. No data: the output has ended."""
        is_end = not data
        data, self._waiting = self._waiting + data, b""
        while data and not self._has_ended:
            content, mark, rest = data.partition(self._mark)
            if not mark and not is_end:
                size = _common(content, self._mark)
                content, self._waiting = data[: len(data) - size], data[len(data) - size :]
            if not self.has_begun:
                self._note(content)
            elif content:
                take(content)
            self._has_ended = self.has_begun and bool(mark)
            self.has_begun = self.has_begun or bool(mark)
            data = rest
        self._note(data)

    def _note(self, data: bytes) -> None:
        self.noise = (self.noise + data[:KEPT_NOISE_BYTES])[:KEPT_NOISE_BYTES]


def _common(data: bytes, mark: bytes) -> int:
    """How many bytes at the end of the data may be the beginning of the mark."""
    sizes = range(min(len(data), len(mark) - 1), 0, -1)
    return next((size for size in sizes if data.endswith(mark[:size])), 0)
