"""A registry, asked with a login."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from breakglass.remote.distribution.answers import Answer, NotServed, State, too_many
from breakglass.remote.distribution.connection import Connection
from breakglass.remote.distribution.logins import Credentials, Login, basic
from breakglass.remote.distribution.session import Session
from breakglass.remote.distribution.tokens import scope_of, token_in
from breakglass.remote.distribution.urls import gets_login


class LoginSession(Session):
    """One repository of a registry, and its login where there is one."""

    without_head = (400, 403, 405, 501)

    def __init__(
        self, connection: Connection, url: str, repository: str, credentials: Credentials
    ) -> None:
        """`url`: of the registry, without /v2."""
        super().__init__(connection, f"{url}/v2", repository)
        self._url = url
        host = urlsplit(url).netloc
        self._login = credentials.find(host, repository)
        self.has_helper = self._login is None and credentials.helper_for(host) is not None
        """Whether a program that is not run keeps its login."""
        self._login_words = (
            f"the login in {credentials.source} was not enough"
            if self._login
            else credentials.explain(host)
        )

    def _answer_to(self, challenges: dict[str, dict[str, str]]) -> str | None:
        if "bearer" in challenges:
            return f"Bearer {self._token(challenges['bearer'])}"
        return basic(self._login) if "basic" in challenges and self._login else None

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
            raise too_many(answer, f"{service}: HTTP 429, ")
        if answer.status in (400, 401, 403):
            raise NotServed(State.REFUSES, f"{service}: HTTP {answer.status}; {self._login_words}")
        return token_in(answer, service)

    def _ask_token(self, realm: str, form: dict[str, str]) -> Answer:
        login: Login | None = self._login
        if login and login.identity_token:
            grant = {
                "grant_type": "refresh_token",
                "refresh_token": login.identity_token,
                "client_id": "breakglass",
            }
            content_type = {"Content-Type": "application/x-www-form-urlencoded"}
            return self.send("POST", realm, content_type, body=urlencode({**form, **grant}))
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(form)}"
        return self.send("GET", url, {}, authorization=basic(login) if login else None)
