"""The script `registries` asked as a node is asked, and registries on loopback."""

import hashlib
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.interpreters import script
from tests.registry_server import TOKEN, RegistryServer

REGISTRY = "registry.example:5050"


@dataclass(frozen=True)
class Example:
    """A registry that serves a two-platform index, with an attestation, as `latest` and `abc`."""

    server: RegistryServer
    amd64: str
    arm64: str
    index: str

    def ask(
        self,
        *,
        tags: tuple[str, ...] = ("abc",),
        seconds: str = "6",
        architecture: str = "amd64",
        url: str | None = None,
        **endpoint: Any,
    ) -> list[dict[str, Any]]:
        return answers(
            question(
                {"url": url or self.server.url, **endpoint}, tags=tags, architecture=architecture
            ),
            seconds=seconds,
        )

    def verdict(self, **settings: Any) -> tuple[str, str, list[str]]:
        (only,) = self.ask(**settings)
        return only["state"], only["detail"], only["missing"]

    def layer(self, number: int = 0) -> str:
        return self.server.store.layers_of(self.amd64)[number]


def fill(server: RegistryServer) -> Example:
    store = server.store
    amd64, arm64 = store.add_image("amd64"), store.add_image("arm64")
    attestation = {
        **store.add_image("unknown", salt="of the build"),
        "platform": {"os": "unknown", "architecture": "unknown"},
    }
    index = store.add_index(attestation, arm64, amd64)["digest"]
    store.tags |= {"latest": index, "abc": index}
    return Example(server, amd64["digest"], arm64["digest"], index)


def question(
    *endpoints: dict[str, Any], tags: tuple[str, ...] = ("abc",), architecture: str = "amd64"
) -> dict[str, Any]:
    return {
        "registry": REGISTRY,
        "endpoints": list(endpoints),
        "repository": "infra-ci",
        "tags": list(tags),
        "architecture": architecture,
    }


def run(*argv: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        script("registries", *argv),
        capture_output=True,
        text=True,
        timeout=12,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


def answers(
    *questions: dict[str, Any], seconds: str = "6", environment: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    ended = run(json.dumps(list(questions)), seconds, environment=environment)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("\n") == 1
    assert TOKEN not in ended.stdout
    found: list[dict[str, Any]] = json.loads(ended.stdout)
    for answer in found:
        assert set(answer) == {"registry", "url", "repository", "tag", "state", "detail", "missing"}
        assert len(answer["detail"]) < 300
        assert answer["detail"].isprintable()
        assert (answer["state"] == "serves") == (answer["detail"] == "")
    return found


@dataclass
class Pages:
    """A server that gives the configured answer for a path, and notes each path and its headers."""

    url: str
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    without_head: bool = False


@contextmanager
def pages() -> Iterator[Pages]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reported.asked.append((self.command, self.path, dict(self.headers)))
            status, headers, body = reported.answers.get(
                self.path.partition("?")[0], (404, {}, b"")
            )
            if reported.without_head and self.command == "HEAD":
                status, headers, body = 405, {}, b""
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Tests ask `asked` instead."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        reported = Pages(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        thread.start()
        try:
            yield reported
        finally:
            server.shutdown()
            thread.join()


def put_image(reported: Pages, base: str, *, tag: str = "abc") -> str:
    """An image without an index, below a path; its digest."""
    layer = b"a layer"
    layer_digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    descriptor = {"digest": layer_digest, "size": len(layer)}
    manifest = json.dumps(
        {"schemaVersion": 2, "config": descriptor, "layers": [descriptor]}
    ).encode()
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    reported.answers[f"{base}/infra-ci/manifests/{tag}"] = reported.answers[
        f"{base}/infra-ci/manifests/{digest}"
    ] = (200, {"Docker-Content-Digest": digest}, manifest)
    reported.answers[f"{base}/infra-ci/blobs/{layer_digest}"] = (200, {}, layer)
    return digest
