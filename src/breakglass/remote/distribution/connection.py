"""HTTP under one rule for how long it may take: resolving, connecting, TLS, and every byte of
every answer.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from breakglass.remote.distribution.answers import Answer, NotServed, State
from breakglass.remote.distribution.proxies import Proxy, open_tunnel, proxy_for, wants_login
from breakglass.remote.distribution.timed import Timed, positive
from breakglass.remote.limits import DOCUMENT_BYTES


class Connection:
    """What stands between this machine and one registry, and how long it may take."""

    def __init__(
        self,
        make_context: Callable[[], ssl.SSLContext],
        *,
        left: Callable[[], float],
        late: str,
        user_agent: str,
        environ: Mapping[str, str],
        connect_seconds: float | None = None,
    ) -> None:
        """`left`: the seconds that the next wait may take (timed.until, timed.silence).
        `environ`: where HTTPS_PROXY, HTTP_PROXY and NO_PROXY are read.
        """
        self._make_context, self._left, self._late = make_context, left, late
        self._user_agent, self._connect_seconds = user_agent, connect_seconds
        self._environ = environ
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
        first: int | None = None,
        keep: contextlib.ExitStack | None = None,
    ) -> Answer:
        """One request and its answer, without redirects. Raises NotServed, or what `explain` has
        words for: OSError, HTTPException, ValueError.

        `first`: only so many bytes of the answer are read. There may be fewer. `keep`: the body of
        a 200 or 206 is left to be read from `stream`, and this closes what it comes through.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url} is no address for HTTP")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        context = self._tls() if parts.scheme == "https" else None
        proxy = proxy_for(url, self._environ)
        with contextlib.ExitStack() as opened:
            wire = self._connect(parts.hostname, port, context, proxy)
            opened.callback(wire.close)
            connection = http.client.HTTPConnection(parts.hostname)
            connection.sock = Timed(wire, self._left)
            path, about = self._request(parts, proxy if context is None else None)
            connection.request(method, path, body, {**about, **headers})
            response = opened.enter_context(connection.getresponse())
            if proxy and response.status == 407:
                raise wants_login(proxy)
            if keep is not None and response.status in (200, 206):
                keep.push(opened.pop_all())
                return Answer(response.status, response.headers, b"", url, response)
            content = _whole(response) if first is None else _beginning(response, first)
            return Answer(response.status, response.headers, content, url)

    def _request(self, parts: SplitResult, proxy: Proxy | None) -> tuple[str, dict[str, str]]:
        """Its target and headers. `proxy`: one that gets the request itself, not a tunnel."""
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = parts.netloc.rpartition("@")[2]
        about = {
            "Host": host,
            "User-Agent": self._user_agent,
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        return (f"http://{host}{path}", {**about, **proxy.headers}) if proxy else (path, about)

    def shown_certificate(self, url: str) -> bytes:
        """What the server shows, as DER and unverified, to say whose it is; empty if none comes."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with contextlib.suppress(OSError, NotServed, ValueError):
            parts, proxy = urlsplit(url), proxy_for(url, self._environ)
            host, port = parts.hostname or "", parts.port or 443
            with contextlib.closing(self._connect(host, port, context, proxy)) as wire:
                assert isinstance(wire, ssl.SSLSocket)
                return wire.getpeercert(binary_form=True) or b""
        return b""

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

    def _connect(
        self, host: str, port: int, context: ssl.SSLContext | None, proxy: Proxy | None
    ) -> socket.socket:
        def secured(wire: socket.socket) -> socket.socket:
            wire.settimeout(self._left())
            return context.wrap_socket(wire, server_hostname=host) if context else wire

        if proxy is None:
            return self._dial(host, port, secured)

        def tunnelled(wire: socket.socket) -> socket.socket:
            if context is not None:
                open_tunnel(Timed(wire, self._left), proxy, host, port)
            return wire

        try:
            wire = self._dial(proxy.host, proxy.port, tunnelled)
        except (OSError, http.client.HTTPException) as error:
            raise NotServed(State.UNREACHABLE, f"{proxy}: {self.explain(error)}") from error
        try:
            return secured(wire)
        except BaseException:
            wire.close()
            raise

    def _dial(
        self, host: str, port: int, prepared: Callable[[socket.socket], socket.socket]
    ) -> socket.socket:
        """A connection to one of the host's addresses, and what is made of it."""
        addresses = self._resolve(host, port)
        ends_at = time.monotonic() + self._left()
        until = ends_at
        if self._connect_seconds is not None:
            until = min(until, time.monotonic() + self._connect_seconds)
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            is_last = index == len(addresses) - 1
            wire = socket.socket(family, kind, protocol)
            try:
                # An address that swallows everything must leave time for the next.
                wire.settimeout(positive((until - time.monotonic()) / (len(addresses) - index)))
                wire.connect(address)
                return prepared(wire)
            except OSError as error:
                wire.close()
                is_late = isinstance(error, (TimeoutError, socket.timeout))
                has_time = time.monotonic() < ends_at - 0.05
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


def _whole(response: http.client.HTTPResponse) -> bytes:
    content = response.read(DOCUMENT_BYTES + 1)
    if len(content) > DOCUMENT_BYTES:
        raise NotServed(
            State.BROKEN, f"more than {DOCUMENT_BYTES} bytes where a manifest should be"
        )
    # What is left of the announced length when nothing more comes: the connection was cut.
    if response.length:
        raise http.client.IncompleteRead(content, response.length)
    return content


def _beginning(response: http.client.HTTPResponse, count: int) -> bytes:
    try:
        return response.read(count)
    except http.client.IncompleteRead as error:
        return error.partial
