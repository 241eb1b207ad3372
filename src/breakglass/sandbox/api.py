"""A Kubernetes API server for nodes and pods, in memory, on loopback: enough for breakglass, and
for kubectl get, cordon, uncordon.

What it answers is what a real one answers to these requests; what it does not know it refuses. The
rules: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

import base64
import contextlib
import json
import ssl
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from breakglass.sandbox import tables
from breakglass.sandbox.objects import Declined, Object, Objects, needs_schema

REVIEWS = ("apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews")
MERGE_PATCHES = ("application/merge-patch+json", "application/strategic-merge-patch+json")


@dataclass(frozen=True)
class Request:
    method: str
    path: tuple[str, ...]
    query: Mapping[str, str]
    content_type: str
    accept: str
    authorization: str
    body: Any = None


class Api(Objects):
    """Serves its objects on 127.0.0.1, on a port of the kernel's choice where none is given. With
    `certificate` and `key` it speaks https.

    With `token`, only who sends it has any right. kubectl sends a token over https only.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        token: str | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        super().__init__()
        self._token, self._certificate = token, certificate
        self._server = _Server(self, port)
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate, key)
            # The handshake comes with the first read, in the connection's own thread.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{'http' if self._certificate is None else 'https'}://127.0.0.1:{self.port}"

    def start(self) -> Self:
        # Short: the time that stop() waits for the accept loop to notice.
        threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="api",
            daemon=True,
        ).start()
        return self

    def stop(self) -> None:
        """Close the listener and every connection: nobody is answered after this."""
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig for this server, readable by its owner only."""
        cluster: Object = {"server": self.url} | (
            {"certificate-authority": str(self._certificate)} if self._certificate else {}
        )
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "sandbox",
            "clusters": [{"name": "sandbox", "cluster": cluster}],
            "users": [{"name": "sandbox", "user": {"token": self._token} if self._token else {}}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "sandbox"}}],
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        return path

    def may(self, verb: str, resource: str) -> bool:  # noqa: ARG002
        """Whether the user has a right. Here everybody has every right."""
        return True

    def answer(self, request: Request) -> Object:
        """The object that answers a request. Raises Declined."""
        if self._token is not None and request.authorization not in ("", f"Bearer {self._token}"):
            raise Declined(401, "Unauthorized", "Unauthorized")
        if request.method == "POST" and request.path == REVIEWS:
            self._demand(request, "create", REVIEWS[-1], group=REVIEWS[1])
            wanted = request.body["spec"]["resourceAttributes"]
            review: Object = request.body
            return review | {
                "status": {
                    "allowed": self.may(str(wanted.get("verb")), str(wanted.get("resource")))
                }
            }
        if request.method == "GET" and request.path in tables.DISCOVERY:
            return tables.DISCOVERY[request.path]
        match request.path:
            case ("api", "v1", ("nodes" | "pods" | "persistentvolumes") as kind):
                return self._list(kind, None, request)
            case ("api", "v1", "nodes", name):
                return self._one("nodes", "", name, request)
            case ("api", "v1", "namespaces", namespace, "pods"):
                return self._list("pods", namespace, request)
            case ("api", "v1", "namespaces", namespace, "pods", name):
                return self._one("pods", namespace, name, request)
        raise Declined(404, "NotFound", "the server could not find the requested resource")

    def _list(self, kind: str, namespace: str | None, request: Request) -> Object:
        if request.method != "GET" or request.query.get("watch", "false") not in ("false", "0"):
            raise Declined(405, "MethodNotAllowed", "the sandbox does not watch, create or delete")
        self._demand(request, "list", kind, namespace=namespace)
        version, found = self.select(kind, namespace, request.query.get("fieldSelector", ""))
        if token := request.query.get("continue"):
            last = tuple(json.loads(base64.urlsafe_b64decode(token)))
            found = [(key, item) for key, item in found if key > last]
        metadata: Object = {"resourceVersion": version}
        limit = int(request.query.get("limit") or 0)
        if limit and len(found) > limit:
            metadata |= {
                "continue": base64.urlsafe_b64encode(
                    json.dumps(found[limit - 1][0]).encode()
                ).decode(),
                "remainingItemCount": len(found) - limit,
            }
            found = found[:limit]
        items = [item for _, item in found]
        if tables.wanted(request.accept):
            return tables.table(kind, items, metadata)
        return {
            "kind": tables.KINDS[kind] + "List",
            "apiVersion": "v1",
            "metadata": metadata,
            "items": items,
        }

    def _one(self, kind: str, namespace: str, name: str, request: Request) -> Object:
        if request.method == "GET":
            self._demand(request, "get", kind, namespace=namespace, name=name)
            item = self.find(kind, namespace, name)
            return tables.table(kind, [item], {}) if tables.wanted(request.accept) else item
        if request.method != "PATCH" or kind != "nodes":
            raise Declined(405, "MethodNotAllowed", "the sandbox changes nodes only, by PATCH")
        self._demand(request, "patch", kind, name=name)
        if request.content_type not in MERGE_PATCHES:
            raise Declined(
                415, "UnsupportedMediaType", f"the sandbox knows {' and '.join(MERGE_PATCHES)} only"
            )
        if not isinstance(request.body, dict):
            raise Declined(400, "BadRequest", "the patch is not an object")
        if request.content_type == MERGE_PATCHES[1] and needs_schema(request.body):
            raise Declined(
                422, "Invalid", "the sandbox knows no directives and no lists merged by key"
            )
        return self.patch_node(name, request.body, dry_run=request.query.get("dryRun") == "All")

    def _demand(
        self,
        request: Request,
        verb: str,
        resource: str,
        *,
        group: str = "",
        namespace: str | None = None,
        name: str = "",
    ) -> None:
        is_anonymous = self._token is not None and not request.authorization
        if self.may(verb, resource) and not is_anonymous:
            return
        user = "system:anonymous" if is_anonymous else "sandbox"
        what = (f"{resource}.{group}" if group else resource) + (f' "{name}"' if name else "")
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        right = f'cannot {verb} resource "{resource}" in API group "{group}" {where}'
        raise Declined(403, "Forbidden", f'{what} is forbidden: User "{user}" {right}')


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, api: Api, port: int) -> None:
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
        with self._guard:
            self._hung_up = True
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients come and go; only a fault of our own is worth a traceback."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        self._respond()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            parts = urlsplit(self.path)
            if "protobuf" in self.headers.get("Content-Type", ""):
                raise Declined(415, "UnsupportedMediaType", "the sandbox reads JSON only")
            request = Request(
                method=self.command,
                path=tuple(unquote(part) for part in parts.path.strip("/").split("/")),
                query=dict(parse_qsl(parts.query)),
                content_type=self.headers.get("Content-Type", "").partition(";")[0].strip(),
                accept=self.headers.get("Accept", ""),
                authorization=self.headers.get("Authorization", ""),
                body=json.loads(body) if body else None,
            )
            # The only thing that is posted is a review, and it counts as created.
            code, answer = 201 if request.method == "POST" else 200, self.server.api.answer(request)
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

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: stderr is the operator's."""


def _status(code: int, reason: str, message: str) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
