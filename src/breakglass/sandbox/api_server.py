"""The HTTP side of the sandbox's API server: requests in, JSON out."""

import contextlib
import json
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from breakglass.sandbox.rules import Declined, Object


@dataclass(frozen=True)
class Request:
    """One request to the API."""

    method: str
    path: tuple[str, ...]
    """The parts of the path, without escapes."""
    query: Mapping[str, str]
    content_type: str
    accept: str
    authorization: str
    body: Any = None
    user_agent: str = ""


class Answers(Protocol):
    """An API that answers requests."""

    def answer(self, request: Request) -> Object:
        """The object that answers a request. Raises Declined."""
        ...


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1, and gives every request to the API."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, api: Answers, port: int) -> None:
        self.api = api
        self._open: set[socket] = set()
        self._guard = threading.Lock()
        self._hung_up = False
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open.add(request)
            closing = self._hung_up
        try:
            if closing:
                self.shutdown_request(request)
            else:
                super().process_request_thread(request, client_address)
        finally:
            with self._guard:
                self._open.discard(request)

    def hang_up(self) -> None:
        """Break every connection, and those that are accepted later."""
        with self._guard:
            self._hung_up = True
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print a traceback, unless the client has gone away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def do_GET(self) -> None:
        self._respond()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            request = self._request(body)
            answer = self.server.api.answer(request)
            # Only reviews are posted, and a review counts as created.
            code = 201 if request.method == "POST" else 200
        except Declined as error:
            code, answer = error.code, _status(error.code, error.reason, str(error))
        except (ValueError, KeyError, TypeError):
            code, answer = 400, _status(400, "BadRequest", "the request is malformed")
        content = json.dumps(answer, separators=(",", ":")).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _request(self, body: bytes) -> Request:
        if "protobuf" in self.headers.get("Content-Type", ""):
            raise Declined(415, "UnsupportedMediaType", "the sandbox reads JSON only")
        parts = urlsplit(self.path)
        return Request(
            method=self.command,
            path=tuple(unquote(part) for part in parts.path.strip("/").split("/")),
            query=dict(parse_qsl(parts.query)),
            content_type=self.headers.get("Content-Type", "").partition(";")[0].strip(),
            accept=self.headers.get("Accept", ""),
            authorization=self.headers.get("Authorization", ""),
            body=json.loads(body) if body else None,
            user_agent=self.headers.get("User-Agent", ""),
        )

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: stderr belongs to the operator."""


def _status(code: int, reason: str, message: str) -> Object:
    """The API's Status object for a request that failed."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
