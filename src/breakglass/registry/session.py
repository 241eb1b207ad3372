"""A registry, asked with the login that docker or podman keep for it."""

import base64
import os
import time
from functools import partial
from pathlib import Path
from ssl import SSLContext
from urllib.parse import urlencode, urlsplit

from breakglass import __version__
from breakglass.config import Registry
from breakglass.local_files import read_regular
from breakglass.registry.credentials import Credentials, Login
from breakglass.remote.distribution.answers import Answer, NotServed, State, rate_limit
from breakglass.remote.distribution.connection import Connection
from breakglass.remote.distribution.session import Session
from breakglass.remote.distribution.tokens import scope_of, token_in
from breakglass.remote.distribution.urls import gets_login, origin
from breakglass.remote.tls import system_context


class LoginSession(Session):
    """One registry for the time of one look, and its login."""

    without_head = (400, 403, 405, 501)

    def __init__(
        self, registry: Registry, credentials: Credentials, deadline_seconds: float
    ) -> None:
        connection = Connection(
            partial(_context, registry.ca),
            ends_at=time.monotonic() + deadline_seconds,
            late=f"no complete answer within {deadline_seconds:g} s",
            user_agent=f"breakglass/{__version__}",
            environ=os.environ,
        )
        super().__init__(connection, f"{registry.url}/v2", registry.repository)
        self._url = registry.url
        host = urlsplit(registry.url).netloc
        self._login = credentials.find(host, registry.repository)
        self._login_words = (
            f"the login in {credentials.source} was not enough"
            if self._login
            else credentials.explain(host)
        )

    def ping(self) -> None:
        """Whether there is a registry at all, and which login it wants."""
        answer = self.send("GET", f"{self._url}/v2/", {})
        if answer.status == 401 and origin(answer.url) == origin(self._url):
            # Where no login will do, the manifest may still be there for everybody.
            self.authorize(answer, None)
        elif answer.status == 429:
            raise NotServed(State.UNREACHABLE, f"HTTP 429 for /v2/: {rate_limit(answer)}")
        elif answer.status == 403:
            raise NotServed(State.REFUSES, f"HTTP 403 for /v2/; {self._login_words}")
        elif answer.status != 200 or urlsplit(answer.url).hostname != urlsplit(self._url).hostname:
            raise NotServed(
                State.UNREACHABLE,
                f"what answers there is no registry: HTTP {answer.status} for {answer.url}",
            )

    def _answer_to(self, challenges: dict[str, dict[str, str]]) -> str | None:
        if "bearer" in challenges:
            return f"Bearer {self._token(challenges['bearer'])}"
        return _basic(self._login) if "basic" in challenges and self._login else None

    def _refusal(self, status: int, elsewhere: str | None) -> str:
        del status
        return (
            f"; said by {elsewhere}, where it redirects to"
            if elsewhere
            else (f"; {self._login_words}")
        )

    def _token(self, challenge: dict[str, str]) -> str:
        realm = challenge.get("realm", "")
        service = f"its token service {realm.partition('?')[0]}"
        if not gets_login(realm, self._url):
            raise NotServed(State.REFUSES, f"{service} is not https://; no login is sent there")
        form = {"scope": scope_of(challenge, self.repository)}
        if challenge.get("service"):
            form["service"] = challenge["service"]
        try:
            answer = self._ask_token(realm, form)
        except NotServed as not_served:
            raise NotServed(not_served.state, f"{service}: {not_served.detail}") from not_served
        if answer.status == 429:
            raise NotServed(State.UNREACHABLE, f"{service}: HTTP 429, {rate_limit(answer)}")
        if answer.status in (400, 401, 403):
            raise NotServed(State.REFUSES, f"{service}: HTTP {answer.status}; {self._login_words}")
        return token_in(answer, service)

    def _ask_token(self, realm: str, form: dict[str, str]) -> Answer:
        if self._login and self._login.identity_token:
            grant = {
                "grant_type": "refresh_token",
                "refresh_token": self._login.identity_token,
                "client_id": "breakglass",
            }
            content_type = {"Content-Type": "application/x-www-form-urlencoded"}
            return self.send("POST", realm, content_type, body=urlencode(form | grant))
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(form)}"
        return self.send("GET", url, {}, authorization=_basic(self._login) if self._login else None)


def _context(ca: Path | None) -> SSLContext:
    context = system_context()
    if ca is not None:
        try:
            read_regular(ca)
            context.load_verify_locations(ca)
        except OSError as error:
            raise NotServed(
                State.UNREACHABLE, f"the CA file {ca} cannot be used: {error.strerror or error}"
            ) from error
    return context


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
