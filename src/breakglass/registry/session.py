"""A registry as a client that pulls speaks with it: the login that it wants, and where it redirects
to.

The protocol: OCI distribution specification 1.1; the token service: distribution's "Token
Authentication Specification".
"""

import base64
import http.client
import json
import re
import threading
from collections.abc import Mapping
from urllib.parse import urlencode, urljoin, urlsplit

from breakglass.config import Registry
from breakglass.registry.credentials import Credentials, Login
from breakglass.registry.found import Ended
from breakglass.registry.manifests import ACCEPT
from breakglass.registry.wire import Answer, Wire
from breakglass.text import inert

MAX_REDIRECTS = 5


class Session:
    """One registry for the time of one look, and its login."""

    def __init__(
        self, registry: Registry, credentials: Credentials, deadline_seconds: float
    ) -> None:
        self.repository, self._url = registry.repository, registry.url
        self._wire = Wire(registry.ca, deadline_seconds)
        host = urlsplit(registry.url).netloc
        self._login = credentials.find(host, registry.repository)
        self._login_words = (
            f"the login in {credentials.source} was not enough"
            if self._login
            else credentials.explain(host)
        )
        self._authorization: str | None = None
        self._authorizing = threading.Lock()

    def ping(self) -> None:
        """Whether there is a registry at all, and which login it wants."""
        answer = self._send("GET", f"{self._url}/v2/")
        if answer.status == 401:
            # Where no login will do, the manifest may still be there for everybody.
            self._authorize(answer, None)
        elif answer.status in (403, 429):
            raise Ended("refuses", f"HTTP {answer.status} for /v2/; {self._login_words}")
        elif answer.status != 200 or urlsplit(answer.url).hostname != urlsplit(self._url).hostname:
            raise Ended(
                "unreachable",
                f"what answers there is no registry: HTTP {answer.status} for {inert(answer.url)}",
            )

    def ask(self, method: str, path: str) -> Answer:
        """Ask about the repository. Raises Ended where we are refused or nothing answers; judges no
        other status.
        """
        url, headers = (
            f"{self._url}/v2/{self.repository}/{path}",
            {"Accept": ACCEPT} if path.startswith("manifests/") else {},
        )
        used = self._authorization
        answer = self._send(method, url, headers, authorization=used)
        if (
            answer.status == 401
            and _origin(answer.url) == _origin(url)
            and self._authorize(answer, used)
        ):
            answer = self._send(method, url, headers, authorization=self._authorization)
        if answer.status in (401, 403, 429):
            words = (
                self._login_words
                if _origin(answer.url) == _origin(url)
                else f"said by {inert(urlsplit(answer.url).netloc)}, where it redirects to"
            )
            raise Ended("refuses", f"HTTP {answer.status} for {self.repository}/{path}; {words}")
        return answer

    def _authorize(self, answer: Answer, used: str | None) -> bool:
        """Meet the challenge of a 401; False where nothing is left to try. Raises Ended where the
        token service fails.
        """
        challenges = challenges_of(answer.headers.get_all("WWW-Authenticate", []))
        with self._authorizing:
            if self._authorization == used:
                if "bearer" in challenges:
                    self._authorization = f"Bearer {self._token(challenges['bearer'])}"
                elif "basic" in challenges and self._login:
                    self._authorization = _basic(self._login)
            return self._authorization != used

    def _token(self, challenge: Mapping[str, str]) -> str:
        realm, wanted = challenge.get("realm", ""), challenge.get("scope", "")
        scope = wanted if wanted.startswith("repository:") else f"repository:{self.repository}:pull"
        form = {"scope": scope} | (
            {"service": challenge["service"]} if challenge.get("service") else {}
        )
        where = f"its token service {inert(realm.partition('?')[0])}"
        if not realm.startswith("https://") and not (
            realm.startswith("http://") and self._url.startswith("http://")
        ):
            raise Ended("refuses", f"{where} is not https://; no login is sent there")
        try:
            if self._login and self._login.identity_token:
                form |= {
                    "grant_type": "refresh_token",
                    "refresh_token": self._login.identity_token,
                    "client_id": "breakglass",
                }
                answer = self._send(
                    "POST",
                    realm,
                    {"Content-Type": "application/x-www-form-urlencoded"},
                    body=urlencode(form),
                )
            else:
                url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(form)}"
                answer = self._send(
                    "GET", url, authorization=_basic(self._login) if self._login else None
                )
        except Ended as ended:
            raise Ended(ended.state, f"{where}: {ended.detail}") from ended
        if answer.status in (400, 401, 403, 429):
            raise Ended("refuses", f"{where}: HTTP {answer.status}; {self._login_words}")
        try:
            document = json.loads(answer.body) if answer.status == 200 else {}
            token = str(document.get("token") or document.get("access_token") or "")
        except (ValueError, AttributeError, RecursionError):
            token = ""
        if not re.fullmatch("[!-~]+", token):
            raise Ended("unreachable", f"{where}: HTTP {answer.status} without a token")
        return token

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        authorization: str | None = None,
        body: str | None = None,
    ) -> Answer:
        """One request and the redirects it leads through. The authorization goes to the first
        server only.
        """
        origin, target = None, url
        try:
            for _ in range(MAX_REDIRECTS + 1):
                origin = origin or _origin(url)
                logged_in = (
                    {"Authorization": authorization}
                    if authorization and _origin(target) == origin
                    else {}
                )
                answer = self._wire.send(method, target, {**(headers or {}), **logged_in}, body)
                location = answer.headers.get("Location")
                if (
                    method == "POST"
                    or location is None
                    or answer.status not in (301, 302, 303, 307, 308)
                ):
                    return answer
                target = urljoin(target, location)
        except (OSError, http.client.HTTPException, ValueError) as error:
            words = self._wire.words(error)
            raise Ended(
                "unreachable",
                inert(
                    words if target == url else f"redirected to {target.partition('?')[0]}: {words}"
                ),
            ) from error
        raise Ended("unreachable", "it redirects without end")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


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
