"""How long a socket waits: until one moment, or as long as bytes come."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from typing import Any


def positive(seconds: float) -> float:
    """The seconds that are left. Raises TimeoutError where none are."""
    if seconds <= 0:
        raise TimeoutError
    return seconds


def until(ends_at: float) -> Callable[[], float]:
    """Everything ends at one moment, however slowly bytes drip."""
    return lambda: positive(ends_at - time.monotonic())


def silence(seconds: float) -> Callable[[], float]:
    """Only silence ends it: every read may wait for so long."""
    return lambda: seconds


class Timed:
    """A socket as http.client uses one. `left`: how long the next write or read may wait."""

    def __init__(self, wire: socket.socket, left: Callable[[], float]) -> None:
        self._wire, self._left = wire, left

    def sendall(self, content: bytes) -> None:
        self._wire.settimeout(self._left())
        self._wire.sendall(content)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReads(self._wire, self._left))

    def close(self) -> None:
        """The wire is closed by who opened it: http.client closes its socket while the answer is
        still being read.
        """


class _TimedReads(io.RawIOBase):
    def __init__(self, wire: socket.socket, left: Callable[[], float]) -> None:
        self._wire, self._left = wire, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._wire.settimeout(self._left())
        return self._wire.recv_into(buffer)
