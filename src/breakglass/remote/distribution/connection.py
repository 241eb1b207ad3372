"""HTTP under one deadline for all of it: resolving, connecting, TLS, and every byte of every
answer. No proxy is used.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from breakglass.remote.distribution.answers import Answer, NotServed, State

MAX_BYTES = 4 << 20
"""Of a manifest; real ones have some kilobytes."""


class Connection:
    """What stands between this machine and one registry, and the moment at which everything
    ends.
    """

    def __init__(
        self,
        make_context: Callable[[], ssl.SSLContext],
        *,
        ends_at: float,
        late: str,
        user_agent: str,
        connect_seconds: float | None = None,
    ) -> None:
        self._make_context, self._ends_at, self._late = make_context, ends_at, late
        self._user_agent, self._connect_seconds = user_agent, connect_seconds
        self._addresses: dict[tuple[str, int], list[Any]] = {}
        self._context: ssl.SSLContext | None = None
        self._making = threading.Lock()

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: str | None = None,
        *,
        takes_body: bool = True,
    ) -> Answer:
        """One request and its answer, without redirects. Raises NotServed, or what `explain` has
        words for: OSError, HTTPException, ValueError.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url} is no address for HTTP")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        takes_body = takes_body and method != "HEAD"
        with contextlib.closing(
            self._connect(parts.hostname, port, is_tls=parts.scheme == "https")
        ) as wire:
            connection = http.client.HTTPConnection(parts.hostname)
            connection.sock = _Timed(wire, self._left)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            about = {
                "Host": parts.netloc.rpartition("@")[2],
                "User-Agent": self._user_agent,
                "Accept-Encoding": "identity",
                "Connection": "close",
            }
            connection.request(method, path, body, {**about, **headers})
            with connection.getresponse() as response:
                content = response.read(MAX_BYTES + 1) if takes_body else b""
                if len(content) > MAX_BYTES:
                    raise NotServed(
                        State.BROKEN, f"more than {MAX_BYTES} bytes where a manifest should be"
                    )
                # What is left of the announced length when nothing more comes: the connection was
                # cut.
                if takes_body and response.length:
                    raise http.client.IncompleteRead(content, response.length)
                return Answer(response.status, response.headers, content, url)

    def explain(self, error: Exception) -> str:
        """Why there is no answer."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {error.verify_message}"
        # These are two classes until Python 3.10.
        if isinstance(error, (TimeoutError, socket.timeout)) and not error.errno:
            return self._late
        if isinstance(error, socket.gaierror):
            return f"its name does not resolve: {error.strerror}"
        if isinstance(error, ssl.SSLError):
            return f"TLS fails: {(error.reason or 'no reason given').replace('_', ' ').lower()}"
        if isinstance(error, http.client.IncompleteRead):
            return "the connection was cut in the middle of an answer"
        if isinstance(error, (ValueError, http.client.InvalidURL)):
            return "its address cannot be used"
        if isinstance(error, http.client.RemoteDisconnected) or not isinstance(error, OSError):
            return f"it does not answer in HTTP: {error}"
        return (error.strerror or str(error)).lower()

    def _connect(self, host: str, port: int, *, is_tls: bool) -> socket.socket:
        context = self._tls() if is_tls else None
        addresses = self._resolve(host, port)
        until = self._ends_at
        if self._connect_seconds is not None:
            until = min(until, time.monotonic() + self._connect_seconds)
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            is_last = index == len(addresses) - 1
            wire = socket.socket(family, kind, protocol)
            try:
                # An address that swallows everything must leave time for the next.
                wire.settimeout(_positive((until - time.monotonic()) / (len(addresses) - index)))
                wire.connect(address)
                wire.settimeout(self._left())
                return context.wrap_socket(wire, server_hostname=host) if context else wire
            except OSError as error:
                wire.close()
                is_late = isinstance(error, (TimeoutError, socket.timeout))
                has_time = time.monotonic() < self._ends_at - 0.05
                if is_last and is_late and has_time and self._connect_seconds is not None:
                    raise OSError(f"no connection within {self._connect_seconds:g} s") from error
                if is_last or isinstance(error, ssl.SSLError):
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
                resolved = answers.get(timeout=self._left())
            except queue.Empty:
                raise socket.gaierror(0, f"{host}: {self._late}") from None
            if isinstance(resolved, Exception):
                raise resolved
            self._addresses[host, port] = resolved
        return self._addresses[host, port]

    def _tls(self) -> ssl.SSLContext:
        with self._making:
            if self._context is None:
                self._context = self._make_context()
            return self._context

    def _left(self) -> float:
        return _positive(self._ends_at - time.monotonic())


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise TimeoutError
    return seconds


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
