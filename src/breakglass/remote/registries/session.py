"""One endpoint of a registry: its TLS, its anonymous token, its redirects."""

from __future__ import annotations

import http.client
import json
import posixpath
import re
import socket
import ssl
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from breakglass.remote.registries.answers import Answer, Ended
from breakglass.remote.registries.manifests import ACCEPT

BODY_BYTES = 4 << 20
CONNECT_SECONDS = 3.0
AT_ONCE, REDIRECTS = 8, 5
REDIRECTIONS = (301, 302, 303, 307, 308)


class Session:
    """One endpoint for one repository: its TLS, its anonymous token, and the blobs that were asked
    for.
    """

    def __init__(
        self, question: dict[str, Any], endpoint: dict[str, Any], began: float, seconds: float
    ) -> None:
        self.repository: str = question["repository"]
        self.no_answer = f"no answer within {seconds:g} s"
        self._endpoint, self._ends_at, self._connect_seconds = (
            endpoint,
            began + seconds,
            min(CONNECT_SECONDS, seconds),
        )
        self._names = urlencode({"ns": question["registry"]})
        self._blobs: dict[str, Future[Answer]] = {}
        self._tls: ssl.SSLContext | None = None
        self._token: str | None = None
        self._no_token: Ended | None = None
        self._lock, self._authorizing = threading.Lock(), threading.Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE)

    def ask(self, method: str, path: str) -> Answer:
        """Ask about the repository. Raises Ended where we are refused or nothing answers; judges no
        other status.
        """
        url, used = f"{base_of(self._endpoint)}/{self.repository}/{path}?{self._names}", self._token
        is_blob = path.startswith("blobs/")
        answer = self._follow(method, url, token=used, is_blob=is_blob)
        is_here = origin(answer.url) == origin(url)
        if answer.status == 401 and is_here and self._authorize(answer, used):
            answer = self._follow(method, url, token=self._token, is_blob=is_blob)
            is_here = origin(answer.url) == origin(url)
        if answer.status in (401, 403, 429):
            why = {
                401: "it wants a login",
                403: "it is not for everybody",
                429: "too many requests",
            }[answer.status]
            raise Ended(
                "refuses",
                f"HTTP {answer.status} for {self.repository}/{path}: {why}"
                + ("" if is_here else f", says {host_of(answer.url)}, where it redirects to"),
            )
        return answer

    def blob(self, digest: str) -> Future[Answer]:
        """Each is asked for once, however many tags need it."""
        with self._lock:
            if digest not in self._blobs:
                self._blobs[digest] = self._pool.submit(self._ask_blob, digest)
            return self._blobs[digest]

    def left(self) -> float:
        return max(0.0, self._ends_at - time.monotonic())

    def without_token(self, text: str) -> str:
        return text.replace(self._token, "(token)") if self._token else text

    def _ask_blob(self, digest: str) -> Answer:
        answer = self.ask("HEAD", f"blobs/{digest}")
        return self.ask("GET", f"blobs/{digest}") if answer.status == 405 else answer

    def _authorize(self, answer: Answer, used: str | None) -> bool:
        """An anonymous token, asked for once; False where there is none to be had, or the one that
        there is was not enough.
        """
        challenges = challenges_of(answer.headers.get_all("WWW-Authenticate", []))
        with self._authorizing:
            if self._no_token is not None:
                raise self._no_token
            if self._token is None and "bearer" in challenges:
                try:
                    self._token = self._ask_token(challenges["bearer"])
                except Ended as ended:
                    self._no_token = ended
                    raise
            return self._token != used

    def _ask_token(self, challenge: dict[str, str]) -> str:
        realm, wanted = challenge.get("realm", ""), challenge.get("scope", "")
        form = {"service": challenge["service"]} if challenge.get("service") else {}
        form["scope"] = (
            wanted if wanted.startswith("repository:") else f"repository:{self.repository}:pull"
        )
        where = f"its token service {host_of(realm)}"
        try:
            answer = self._follow("GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(form)}")
        except Ended as ended:
            raise Ended(ended.state, f"{where}: {ended.detail}") from ended
        if answer.status in (400, 401, 403, 429):
            raise Ended("refuses", f"{where} gives no token without a login: HTTP {answer.status}")
        try:
            document = json.loads(answer.body) if answer.status == 200 else {}
            token = str(document.get("token") or document.get("access_token") or "")
        except (ValueError, AttributeError, RecursionError):
            token = ""
        if not re.fullmatch("[!-~]+", token):
            raise Ended("unreachable", f"{where}: HTTP {answer.status} without a token")
        return token

    def _follow(
        self, method: str, url: str, *, token: str | None = None, is_blob: bool = False
    ) -> Answer:
        """One request and the redirects that it leads through. The token goes to the first server
        only.
        """
        target, accept = url, {"Accept": "*/*" if is_blob else ACCEPT}
        try:
            for _ in range(REDIRECTS + 1):
                allowed = (
                    {"Authorization": f"Bearer {token}"}
                    if token and origin(target) == origin(url)
                    else {}
                )
                # Of a blob that only GET tells about nothing is taken along.
                answer = self._send(
                    method,
                    target,
                    {**accept, **allowed},
                    takes_body=method != "HEAD" and not is_blob,
                )
                location = answer.headers.get("Location")
                if location is None or answer.status not in REDIRECTIONS:
                    return answer
                target = urljoin(target, location)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Ended(
                "unreachable",
                self._words(error)
                if target == url
                else f"redirected to {host_of(target)}: {self._words(error)}",
            ) from error
        raise Ended("unreachable", "it redirects without end")

    def _send(self, method: str, url: str, headers: dict[str, str], *, takes_body: bool) -> Answer:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise http.client.InvalidURL
        wire = self._connect(
            parts.hostname,
            parts.port or (443 if parts.scheme == "https" else 80),
            is_tls=parts.scheme == "https",
        )
        connection = http.client.HTTPConnection(parts.hostname)
        connection.sock = wire
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            about = {
                "Host": parts.netloc.rpartition("@")[2],
                "User-Agent": "breakglass",
                "Accept-Encoding": "identity",
                "Connection": "close",
            }
            connection.request(method, path, headers={**about, **headers})
            with connection.getresponse() as response:
                content = response.read(BODY_BYTES + 1) if takes_body else b""
                if len(content) > BODY_BYTES:
                    raise Ended(
                        "broken", f"more than {BODY_BYTES} bytes where a manifest should be"
                    )
                if takes_body and response.length:
                    raise http.client.IncompleteRead(content, response.length)
                return Answer(response.status, response.headers, content, url)
        finally:
            connection.close()
            wire.close()

    def _connect(self, host: str, port: int, *, is_tls: bool) -> socket.socket:
        context = self._context() if is_tls else None
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        until = time.monotonic() + self._connect_seconds
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            wire = socket.socket(family, kind, protocol)
            try:
                # An address that swallows everything must leave time for the next.
                wire.settimeout(
                    self._timeout(
                        min(until - time.monotonic(), self.left()) / (len(addresses) - index)
                    )
                )
                wire.connect(address)
                wire.settimeout(self._timeout(self.left()))
                return context.wrap_socket(wire, server_hostname=host) if context else wire
            except OSError as error:
                wire.close()
                is_last = index == len(addresses) - 1
                if (
                    is_last
                    and isinstance(error, (TimeoutError, socket.timeout))
                    and self.left() > 0.05
                ):  # two things until Python 3.10
                    raise OSError(f"no connection within {self._connect_seconds:g} s") from error
                if is_last or isinstance(error, ssl.SSLError):
                    raise
        raise OSError("its name has no address")

    def _timeout(self, seconds: float) -> float:
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def _context(self) -> ssl.SSLContext:
        """What containerd, a Go program, would accept; neither stricter nor laxer."""
        with self._lock:
            if self._tls is None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                if ssl.HAS_NEVER_CHECK_COMMON_NAME:
                    context.hostname_checks_common_name = False
                context.load_default_certs()
                # Python 3.13 judges private CAs more strictly than Go; Go trusts what it was given
                # without looking for a root above it.
                context.verify_flags = (
                    context.verify_flags | ssl.VerifyFlags(0x80000)
                ) & ~ssl.VERIFY_X509_STRICT
                if self._endpoint["skip_verify"]:
                    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                for file in self._endpoint["ca"]:
                    self._load(file, context.load_verify_locations, file)
                for pair in reversed(
                    self._endpoint["client"]
                ):  # the last one loaded is the one that is shown
                    # Without a password of its own OpenSSL would ask a terminal for it.
                    self._load(
                        pair[0],
                        context.load_cert_chain,
                        pair[0],
                        (pair[1:] or [""])[0] or None,
                        lambda: "",
                    )
                self._tls = context
            return self._tls

    def _load(self, file: str, load: Any, *arguments: Any) -> None:
        try:
            load(*arguments)
        except (OSError, ValueError) as error:
            reason = (
                "it holds nothing usable"
                if isinstance(error, (ssl.SSLError, ValueError))
                else (error.strerror or "it cannot be read").lower()
            )
            raise Ended("unreachable", f"the TLS file {file} cannot be used: {reason}") from error

    def _words(self, error: Exception) -> str:
        """Why there is no answer."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {error.verify_message}"
        if isinstance(error, (TimeoutError, socket.timeout)) and not error.errno:
            return self.no_answer
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


def base_of(endpoint: dict[str, Any]) -> str:
    """containerd's rule: the path as it is with override_path, else ending in /v2."""
    url: str = (
        endpoint["url"] if endpoint["url"].startswith("http") else f"https://{endpoint['url']}"
    )
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # and asking it says that it cannot be used
    path = posixpath.normpath("/" + parts.path.strip("/")).rstrip("/")
    if not endpoint["override_path"] and not path.endswith("/v2"):
        path += "/v2"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{quote(path, safe='/%:@!$&+,;=~')}"


def origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def host_of(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "(no host)"
    except ValueError:
        return "(no host)"


def challenges_of(headers: list[str]) -> dict[str, dict[str, str]]:
    """Scheme -> parameters. Several challenges may share a header, and a quoted value may hold
    commas (RFC 9110, 11.6.1).
    """
    found: dict[str, dict[str, str]] = {}
    for header in headers:
        parameters: dict[str, str] = {}
        for name, quoted, plain in re.findall(
            r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|([^\s,"]+)))?""", header
        ):
            if quoted:
                parameters.setdefault(name.lower(), plain or re.sub(r"\\(.)", r"\1", quoted[1:-1]))
            else:
                parameters = found.setdefault(name.lower(), {})
    return found
