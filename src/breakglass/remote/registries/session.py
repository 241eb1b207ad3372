"""One endpoint for one repository, asked without a login."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlencode

from breakglass.remote.distribution.answers import NotServed, State, too_many
from breakglass.remote.distribution.blobs import check_blob
from breakglass.remote.distribution.connection import Connection
from breakglass.remote.distribution.session import Session
from breakglass.remote.distribution.timed import until
from breakglass.remote.distribution.tokens import scope_of, token_in
from breakglass.remote.distribution.urls import host_of
from breakglass.remote.registries.endpoints import base_of, context_of

CONNECT_SECONDS = 3.0
AT_ONCE = 8
REFUSALS = {
    401: "it wants a login",
    403: "it is not for everybody",
}


class AnonymousSession(Session):
    """With the anonymous token, and the blobs that were asked for."""

    def __init__(
        self,
        question: dict[str, Any],
        endpoint: dict[str, Any],
        began: float,
        seconds: float,
        *,
        environ: Mapping[str, str],
    ) -> None:
        self.url: str = endpoint["url"]
        self.no_answer = f"no answer within {seconds:g} s"
        self._ends_at = began + seconds
        connection = Connection(
            partial(context_of, endpoint),
            left=until(self._ends_at),
            late=self.no_answer,
            user_agent="breakglass",
            environ=environ,
            connect_seconds=min(CONNECT_SECONDS, seconds),
        )
        namespace = urlencode({"ns": question["registry"]})
        super().__init__(
            connection, base_of(endpoint), question["repository"], query=f"?{namespace}"
        )
        self._token: str | None = None
        self._no_token: NotServed | None = None
        self._blobs: dict[tuple[str, int | None], Future[None]] = {}
        self._submitting = threading.Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE)

    def blob(self, digest: str, size: int | None) -> Future[None]:
        """Whether it can be pulled. Each is asked for once, however many tags need it."""
        with self._submitting:
            if (digest, size) not in self._blobs:
                self._blobs[digest, size] = self._pool.submit(check_blob, self, digest, size)
            return self._blobs[digest, size]

    def left(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self._ends_at - time.monotonic())

    def without_token(self, text: str) -> str:
        return text.replace(self._token, "(token)") if self._token else text

    def _answer_to(self, challenges: dict[str, dict[str, str]]) -> str | None:
        # Asked for once: a second token would allow no more than the first one.
        if self._no_token is not None:
            raise self._no_token
        if self._token is not None or "bearer" not in challenges:
            return None
        try:
            self._token = self._ask_token(challenges["bearer"])
        except NotServed as not_served:
            self._no_token = not_served
            raise
        return f"Bearer {self._token}"

    def _ask_token(self, challenge: dict[str, str]) -> str:
        realm = challenge.get("realm", "")
        form = {"service": challenge["service"]} if challenge.get("service") else {}
        form["scope"] = scope_of(challenge, self.repository)
        service = f"its token service {host_of(realm)}"
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(form)}"
        try:
            answer = self.send("GET", url, {"Accept": "*/*"})
        except NotServed as not_served:
            raise NotServed(not_served.state, f"{service}: {not_served.detail}") from not_served
        if answer.status == 429:
            raise too_many(answer, f"{service}: HTTP 429, ")
        if answer.status in (400, 401, 403):
            raise NotServed(
                State.REFUSES, f"{service} gives no token without a login: HTTP {answer.status}"
            )
        return token_in(answer, service)

    def _refusal(self, status: int, elsewhere: str | None) -> str:
        redirected = f", says {elsewhere}, where it redirects to" if elsewhere else ""
        return f": {REFUSALS[status]}{redirected}"
