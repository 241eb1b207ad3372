"""Requests to the Kubernetes API, answered with plain JSON or a Fault."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from breakglass.kube.faults import Fault, declined, no_api, tls, unanswered
from breakglass.kube.session import Session
from breakglass.marks import FIELD_MANAGER
from breakglass.shape import fits, parse_json

CONNECT_SECONDS = 5.0
PAGE = 500
_PAGE = {
    "kind": re.compile("(Node|Pod|PersistentVolume)List"),
    "items": ([{"metadata": {"name": re.compile("[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")}}], None),
    "metadata": ({"continue": (str, None)}, None),
}
"""A list of nodes, pods or persistent volumes. Every name is an RFC 1123 subdomain, for names are
printed in command lines.
"""


@dataclass(frozen=True)
class Ask:
    """Sends requests within one deadline. Each returns the API's JSON, or raises Fault."""

    session: Session
    purpose: str
    """What the requests are for, such as `list nodes`: the right that is missing after a 403."""
    request_seconds: float
    deadline: float

    def __call__(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, object] | None = None,
        media_type: str = "application/json",
    ) -> dict[str, Any]:
        api = self.session.api
        headers = {"Accept": "application/json", "Content-Type": media_type}
        _, url, headers, content, _ = api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        text = self._send(method, url, headers, content)
        try:
            answer: Any = parse_json(text)
        except ValueError:
            answer = None
        if not fits(answer, {"kind": str}):
            raise no_api(self.session.server)
        document: dict[str, Any] = answer
        return document

    def _send(self, method: str, url: str, headers: Any, content: Any) -> bytes:
        """The body of an answer with a status of 2xx."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        api, server = self.session.api, self.session.server
        seconds = min(self.request_seconds, max(0.05, self.deadline - time.monotonic()))
        connect_seconds = min(CONNECT_SECONDS, seconds)
        try:
            response = api.call_api(
                method, url, headers, content, _request_timeout=(connect_seconds, seconds)
            )
            body: bytes = response.read()
        except ApiException as error:
            raise tls(str(error.reason), server) from error
        except (HTTPError, OSError) as error:
            raise unanswered(
                error, server, connect_seconds=connect_seconds, seconds=seconds
            ) from error
        except ValueError:
            # Not chained: it quotes what answered, which may be anything.
            raise no_api(server) from None
        if not 200 <= response.status < 300:
            raise declined(response.status, body, server, self.purpose)
        return body


class NodeRequests:
    """Reads and patches single nodes, for patch.py."""

    def __init__(self, session: Session, request_seconds: float) -> None:
        self._session, self._request_seconds = session, request_seconds

    def read(self, name: str, *, seconds: float) -> dict[str, Any]:
        ask = self._ask("get nodes", seconds)
        return _node(ask("GET", _node_path(name)))

    def send(self, name: str, patch: Mapping[str, object], *, seconds: float) -> dict[str, Any]:
        ask = self._ask("patch nodes", seconds)
        merge_patch = "application/merge-patch+json"
        return _node(
            ask(
                "PATCH",
                _node_path(name),
                query={"fieldManager": FIELD_MANAGER},
                body=dict(patch),
                media_type=merge_patch,
            )
        )

    def _ask(self, purpose: str, seconds: float) -> Ask:
        return Ask(self._session, purpose, self._request_seconds, time.monotonic() + seconds)


def _node_path(name: str) -> str:
    return f"/api/v1/nodes/{quote(name, safe='')}"


def _node(answer: dict[str, Any]) -> dict[str, Any]:
    if answer["kind"] != "Node" or not isinstance(answer.get("metadata"), dict):
        raise Fault("the API server answered with something else than the node")
    return answer


def list_pages(path: str, ask: Ask, **options: Any) -> list[dict[str, Any]]:
    """Every object of a list, read page by page. Raises Fault."""
    items: list[dict[str, Any]] = []
    following: dict[str, Any] = {"limit": PAGE}
    while True:
        try:
            page = ask("GET", path, query=options | following)
        except Fault as fault:
            if fault.status != 410 or "limit" not in following:
                raise
            # 410: the list that the pages are from has expired. Read it again, as one page.
            items, following = [], {}
            continue
        if not fits(page, _PAGE):
            raise no_api(ask.session.server)
        items += page.get("items") or []
        token = (page.get("metadata") or {}).get("continue")
        if not token:
            return items
        following = {"limit": PAGE, "continue": token}
