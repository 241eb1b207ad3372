"""HTTP under one deadline for all of it: resolving, connecting, TLS, and every byte of every
answer. No proxy is used.
"""

import contextlib
import http.client
import io
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from breakglass import __version__
from breakglass.registry.found import Ended
from breakglass.text import inert
from breakglass.tls import judge_as_go

MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    url: str
    """Where it came from, after redirects."""


class Wire:
    """What stands between this machine and one registry, and the moment at which everything
    ends.
    """

    def __init__(self, ca: Path | None, deadline_seconds: float) -> None:
        self._ca, self._deadline_seconds, self._ends_at = (
            ca,
            deadline_seconds,
            time.monotonic() + deadline_seconds,
        )
        self._addresses: dict[tuple[str, int], list[Any]] = {}
        self._tls: ssl.SSLContext | None = None

    def send(self, method: str, url: str, headers: Mapping[str, str], body: str | None) -> Answer:
        """One request and its answer, without redirects. Raises OSError, HTTPException or
        ValueError, for which there are `words`, or Ended.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url} is no address for HTTP")
        with contextlib.closing(
            self._connect(
                parts.hostname,
                parts.port or (443 if parts.scheme == "https" else 80),
                tls=parts.scheme == "https",
            )
        ) as wire:
            connection = http.client.HTTPConnection(parts.hostname)
            connection.sock = _Timed(wire, self._left)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            about = {
                "Host": parts.netloc.rpartition("@")[2],
                "User-Agent": f"breakglass/{__version__}",
                "Connection": "close",
            }
            connection.request(method, path, body, {**about, **headers})
            with connection.getresponse() as response:
                content = b"" if method == "HEAD" else response.read(MAX_BYTES + 1)
                if len(content) > MAX_BYTES:
                    raise Ended("broken", f"more than {MAX_BYTES} bytes for {inert(parts.path)}")
                # What is left of the announced length when nothing more comes: the connection was
                # cut.
                if method != "HEAD" and response.length:
                    raise http.client.IncompleteRead(content, response.length)
                return Answer(response.status, response.headers, content, url)

    def words(self, error: Exception) -> str:
        """Why there is no answer."""
        if isinstance(error, ssl.SSLCertVerificationError):
            words = f"its certificate is not trusted: {error.verify_message}"
        elif isinstance(error, TimeoutError):
            words = f"no complete answer within {self._deadline_seconds:g} s"
        elif isinstance(error, socket.gaierror):
            words = f"its name does not resolve: {error.strerror}"
        elif isinstance(error, ssl.SSLError):
            words = f"TLS fails: {error.reason or error}"
        elif isinstance(error, http.client.IncompleteRead):
            words = "the connection was cut in the middle of an answer"
        elif isinstance(error, http.client.RemoteDisconnected) or not isinstance(error, OSError):
            words = f"it does not answer in HTTP: {error}"
        else:
            words = (error.strerror or str(error)).lower()
        return words

    def _connect(self, host: str, port: int, *, tls: bool) -> socket.socket:
        addresses = self._resolve(host, port)
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            wire = socket.socket(family, kind, protocol)
            try:
                # An address that swallows everything must leave time for the next.
                wire.settimeout(self._left() / (len(addresses) - index))
                wire.connect(address)
                wire.settimeout(self._left())
                return self._context().wrap_socket(wire, server_hostname=host) if tls else wire
            except OSError as error:
                wire.close()
                if index == len(addresses) - 1 or isinstance(error, ssl.SSLError):
                    raise
            except BaseException:
                wire.close()
                raise
        raise OSError("its name has no address")

    def _resolve(self, host: str, port: int) -> list[Any]:
        """A resolver without servers takes its time and cannot be interrupted: it gets a thread
        that may be left behind.
        """
        if (host, port) not in self._addresses:
            answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

            def resolve() -> None:
                try:
                    answers.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
                except (OSError, ValueError) as error:
                    answers.put(error)

            threading.Thread(target=resolve, daemon=True).start()
            try:
                found = answers.get(timeout=self._left())
            except queue.Empty:
                raise socket.gaierror(
                    0, f"no answer for {host} within {self._deadline_seconds:g} s"
                ) from None
            if isinstance(found, Exception):
                raise found
            self._addresses[host, port] = found
        return self._addresses[host, port]

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            context = judge_as_go(ssl.create_default_context())
            if self._ca is not None:
                try:
                    context.load_verify_locations(self._ca)
                except OSError as error:
                    raise Ended(
                        "unreachable",
                        f"the CA file {self._ca} cannot be used: {error.strerror or error}",
                    ) from error
            self._tls = context
        return self._tls

    def _left(self) -> float:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Timed:
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
