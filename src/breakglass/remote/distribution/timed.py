"""Sockets whose reads all end at one moment."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from typing import Any


def positive(seconds: float) -> float:
    """The seconds that are left. Raises TimeoutError where none are."""
    if seconds <= 0:
        raise TimeoutError
    return seconds


class Timed:
    """A socket as http.client uses one, where every read ends at one moment, however slowly bytes
    drip.
    """

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
