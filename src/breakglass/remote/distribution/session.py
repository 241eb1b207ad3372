"""One repository of one registry: the login that it wants, and where it redirects to."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from urllib.parse import urljoin, urlsplit

from breakglass.remote.distribution.answers import Answer, NotServed, State, too_many
from breakglass.remote.distribution.certificates import whose
from breakglass.remote.distribution.connection import Connection
from breakglass.remote.distribution.manifests import ACCEPT
from breakglass.remote.distribution.tokens import challenges_of
from breakglass.remote.distribution.urls import host_of, origin

MAX_REDIRECTS = 5
REDIRECTIONS = (301, 302, 303, 307, 308)


class Session:
    """Whoever derives from it says which authorization meets a challenge, and why it is refused."""

    without_head: tuple[int, ...] = (405,)
    """Answers to HEAD after which the same is asked with GET. containerd does so after 405 only."""

    def __init__(
        self, connection: Connection, base: str, repository: str, *, query: str = ""
    ) -> None:
        self.repository = repository
        self._connection, self._base, self._query = connection, base, query
        self.head_refusal: int | None = None
        """The status by which HEAD was refused, where GET was asked instead."""
        self._authorization: str | None = None
        self._authorizing = threading.Lock()

    def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        first: int | None = None,
        keep: ExitStack | None = None,
    ) -> Answer:
        """Ask about the repository. Raises NotServed where we are refused or nothing answers;
        judges no other status. `first`, `keep`: see Connection.send.
        """
        url = f"{self._base}/{self.repository}/{path}{self._query}"
        about = {"Accept": "*/*" if path.startswith("blobs/") else ACCEPT, **(headers or {})}
        used = self._authorization
        answer = self.send(method, url, about, authorization=used, first=first, keep=keep)
        if (
            answer.status == 401
            and origin(answer.url) == origin(url)
            and self.authorize(answer, used)
        ):
            used = self._authorization
            answer = self.send(method, url, about, authorization=used, first=first, keep=keep)
        if method == "HEAD" and answer.status in self.without_head:
            self.head_refusal = answer.status
            return self.ask("GET", path)
        if answer.status == 429:
            raise too_many(answer, f"HTTP 429 for {self.repository}/{path}: ")
        if answer.status in (401, 403):
            elsewhere = None if origin(answer.url) == origin(url) else host_of(answer.url)
            raise NotServed(
                State.REFUSES,
                f"HTTP {answer.status} for {self.repository}/{path}"
                + self._refusal(answer.status, elsewhere),
            )
        return answer

    def authorize(self, answer: Answer, used: str | None) -> bool:
        """Meet the challenge of a 401; False where nothing is left to try. Raises NotServed where
        the token service fails.
        """
        challenges = challenges_of(answer.headers.get_all("WWW-Authenticate", []))
        with self._authorizing:
            if self._authorization == used:
                self._authorization = self._answer_to(challenges) or used
            return self._authorization != used

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        authorization: str | None = None,
        body: str | None = None,
        first: int | None = None,
        keep: ExitStack | None = None,
    ) -> Answer:
        """One request and the redirects that it leads through. The authorization goes to the first
        server only, and not again once another one has redirected. TLS is never left.
        """
        target = url
        allowed = {**headers, **({"Authorization": authorization} if authorization else {})}
        try:
            for _ in range(MAX_REDIRECTS + 1):
                answer = self._connection.send(
                    method, target, allowed, body, first=first, keep=keep
                )
                location = answer.headers.get("Location")
                if method == "POST" or location is None or answer.status not in REDIRECTIONS:
                    return answer
                target = urljoin(target, location)
                if origin(target) != origin(url):
                    allowed.pop("Authorization", None)
                if (urlsplit(url).scheme, urlsplit(target).scheme) == ("https", "http"):
                    why = f"redirected to {host_of(target)} without TLS; this is not followed"
                    raise NotServed(State.UNREACHABLE, why)
        except (OSError, http.client.HTTPException, ValueError) as error:
            state, why = State.UNREACHABLE, self._connection.explain(error)
            if isinstance(error, ssl.SSLCertVerificationError):
                state, owner = State.UNTRUSTED, whose(self._connection.shown_certificate(target))
                why += f"; it is {owner}" if owner else ""
            if target != url:
                why = f"redirected to {host_of(target)}: {why}"
            raise NotServed(state, why) from error
        raise NotServed(State.UNREACHABLE, "it redirects without end")

    def _answer_to(self, challenges: dict[str, dict[str, str]]) -> str | None:
        """The value of the header Authorization; None where there is none to be had."""
        raise NotImplementedError

    def _refusal(self, status: int, elsewhere: str | None) -> str:
        """Why it is refused; elsewhere is the host that a redirect led to."""
        raise NotImplementedError
