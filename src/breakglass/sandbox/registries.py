"""Registries over plain HTTP on loopback, for pulling only (OCI distribution specification).

They are served from files, which may be damaged: a file that is deleted is missing in the next
answer.
"""

import json
import re
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from breakglass.sandbox.image import Image
from breakglass.sandbox.ports import ADDRESS, Reservation

NAME = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
DIGEST = r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}"
OBJECT = re.compile(
    rf"/v2/(?P<name>{NAME})/(?P<kind>manifests|blobs)/(?P<reference>{DIGEST}|\w[\w.-]{{0,127}})"
)
TAGS = re.compile(rf"/v2/(?P<name>{NAME})/tags/list")


class Registry:
    """A registry that can be stopped, started on the same port, and made to refuse requests."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.root = name, root
        self.reservation = Reservation()
        self.port = self.reservation.port
        self.refuses_with: int | None = None
        """The status for every request, 401 or 403. None: serve."""
        self._server: _Server | None = None
        (root / "blobs").mkdir(parents=True, exist_ok=True)

    @property
    def up(self) -> bool:
        return self._server is not None

    @property
    def authority(self) -> str:
        """`host:port`, as image references begin."""
        return f"{ADDRESS}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.authority}"

    def start(self) -> None:
        """Listen, each time on the same port."""
        if self.up:
            return
        self._server = _Server(self)
        self._server.thread.start()

    def stop(self) -> None:
        server, self._server = self._server, None
        if server:
            server.shutdown()
            server.server_close()
            server.break_connections()
            server.thread.join(5)

    def push(self, repository: str, tag: str, image: Image) -> None:
        for digest, content in image.blobs.items():
            self.blob(digest).write_bytes(content)
        tags = self.root / "repositories" / repository
        tags.mkdir(parents=True, exist_ok=True)
        (tags / tag).write_text(image.index, encoding="ascii")

    def delete_children(
        self, repository: str, tag: str, architecture: str | None = None
    ) -> list[str]:
        """Delete the manifests of the tag's index and keep the index: the fault of 2026-04-19.
        `architecture`: only those for it. Returns their digests.
        """
        digest = (self.root / "repositories" / repository / tag).read_text(encoding="ascii")
        index = json.loads(self.blob(digest).read_bytes())
        children = [
            str(child["digest"])
            for child in index["manifests"]
            if architecture in (None, child["platform"]["architecture"])
        ]
        for child in children:
            self.blob(child).unlink(missing_ok=True)
        return children

    def blob(self, digest: str) -> Path:
        """The file of a blob or manifest."""
        return self.root / "blobs" / digest.removeprefix("sha256:")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, registry: Registry) -> None:
        super().__init__((ADDRESS, registry.port), _Handler)
        self.registry = registry
        self.thread = threading.Thread(
            target=self.serve_forever,
            kwargs={"poll_interval": 0.05},
            name=f"sandbox {registry.name}",
            daemon=True,
        )
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about a client that has gone away."""

    def break_connections(self) -> None:
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        registry = self.server.registry
        path = self.path.partition("?")[0]
        if registry.refuses_with is not None:
            code = "UNAUTHORIZED" if registry.refuses_with == 401 else "DENIED"
            self._error(registry.refuses_with, code, "authentication required")
        elif path == "/v2/":
            self._answer(200, "application/json", b"{}")
        elif match := TAGS.fullmatch(path):
            self._tags(match["name"])
        elif match := OBJECT.fullmatch(path):
            self._object(match["name"], match["kind"], match["reference"])
        else:
            self._error(404, "NAME_UNKNOWN", "repository name not known to registry")

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        self.close_connection = True  # its body is not read
        self._error(
            405,
            "UNSUPPORTED",
            "The operation is unsupported: this registry is filled by the sandbox.",
        )

    do_POST = do_PATCH = do_DELETE = do_PUT

    def _tags(self, name: str) -> None:
        directory = self.server.registry.root / "repositories" / name
        if not directory.is_dir():
            return self._error(404, "NAME_UNKNOWN", "repository name not known to registry")
        tags = sorted(entry.name for entry in directory.iterdir() if entry.is_file())
        listing = json.dumps({"name": name, "tags": tags})
        return self._answer(200, "application/json", listing.encode())

    def _object(self, name: str, kind: str, reference: str) -> None:
        registry = self.server.registry
        repository = registry.root / "repositories" / name
        try:
            if not repository.is_dir():
                raise FileNotFoundError(name)
            digest = reference
            if ":" not in reference:
                digest = (repository / reference).read_text(encoding="ascii")
            content = registry.blob(digest).read_bytes()
        except OSError:
            return self._unknown(kind)
        media_type = media_type_of(content)
        if kind == "blobs":
            # A real registry keeps manifests elsewhere.
            if media_type is not None:
                return self._unknown(kind)
            return self._answer(200, "application/octet-stream", content, digest=digest)
        if media_type is None:
            # Somebody has damaged the file.
            return self._error(500, "UNKNOWN", "unknown error")
        if media_type not in self.headers.get("Accept", ""):
            message = f"{media_type} found, but accept header does not support it"
            return self._error(404, "MANIFEST_UNKNOWN", message)
        return self._answer(200, media_type, content, digest=digest)

    def _unknown(self, kind: str) -> None:
        if kind == "manifests":
            return self._error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        return self._error(404, "BLOB_UNKNOWN", "blob unknown to registry")

    def _error(self, status: int, code: str, message: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": message}]})
        self._answer(status, "application/json", body.encode())

    def _answer(
        self, status: int, media_type: str, body: bytes, *, digest: str | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="sandbox"')
        if digest:
            self.send_header("Docker-Content-Digest", digest)
            self.send_header("ETag", f'"{digest}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the terminal belongs to the command in the sandbox."""


def media_type_of(content: bytes) -> str | None:
    """The media type that an index or a manifest states; None for anything else."""
    try:
        return str(json.loads(content)["mediaType"])
    except (ValueError, KeyError, TypeError):
        return None
