"""A registry for tests: a real HTTP(S) server on loopback with a small store of real images, and
switches for what goes wrong.
"""

import base64
import datetime
import hashlib
import ipaddress
import json
import re
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TOKEN = "a-token-of-the-test"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Store:
    """Manifests and blobs by digest, and what tags mean."""

    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add_image(
        self,
        architecture: str = "amd64",
        *,
        salt: str = "",
        layers: int = 2,
        layer_bytes: int = 0,
    ) -> dict[str, Any]:
        """Put an image in; its descriptor, as an index lists it."""
        contents = [
            (f"layer {number} of {architecture} {salt}".encode() * 9).ljust(layer_bytes, b".")
            for number in range(layers)
        ]
        configuration = json.dumps(
            {
                "os": "linux",
                "architecture": architecture,
                "rootfs": {"type": "layers", "diff_ids": [digest_of(each) for each in contents]},
            }
        ).encode()
        described = [self._add_blob(each) for each in (configuration, *contents)]
        return self.add_manifest(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": described[0],
                "layers": described[1:],
            },
            MANIFEST,
        ) | {"platform": {"os": "linux", "architecture": architecture}}

    def add_index(self, *children: dict[str, Any]) -> dict[str, Any]:
        return self.add_manifest(
            {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(children)}, INDEX
        )

    def add_manifest(self, document: object, media_type: str) -> dict[str, Any]:
        content = json.dumps(document).encode()
        self.manifests[digest_of(content)] = (content, media_type)
        return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}

    def config_of(self, digest: str) -> str:
        return str(json.loads(self.manifests[digest][0])["config"]["digest"])

    def layers_of(self, digest: str) -> list[str]:
        return [str(layer["digest"]) for layer in json.loads(self.manifests[digest][0])["layers"]]

    def _add_blob(self, content: bytes) -> dict[str, Any]:
        self.blobs[digest_of(content)] = content
        return {"digest": digest_of(content), "size": len(content)}


@dataclass
class Faults:
    """Switches. Paths are matched by what they contain."""

    status: dict[str, int] = field(default_factory=dict)
    """Path -> answered with this status."""
    hang: str | None = None
    """Accepts these, and never answers."""
    drip: str | None = None
    """Answers these a byte at a time, for ever."""
    flood: str | None = None
    """Answers these with zeros until nobody listens any more."""
    cut: str | None = None
    """Closes in the middle of the body of these."""
    lengths: dict[str, int] = field(default_factory=dict)
    """Digest -> the Content-Length of a blob."""
    bodies: dict[str, bytes] = field(default_factory=dict)
    """Digest -> what is served under it instead."""
    redirect: tuple[str, str] | None = None
    """Paths that contain the first are redirected to the second, which the path is added to."""
    login: str | None = None
    """`user:password`, asked for with Basic."""
    bearer: str | None = None
    """The WWW-Authenticate header of a Bearer challenge."""
    token_login: str | None = None
    """`user:password` that the token service wants; None: it gives a token to anybody."""
    refresh_token: str | None = None
    omit_digest: bool = False
    """HEAD of a manifest without Docker-Content-Digest."""
    head_status: int | None = None
    """The status of every HEAD of a manifest; None: as of GET."""
    sends_parts: bool = True
    """Answers to Range with 206."""
    gone: dict[str, int] = field(default_factory=dict)
    """Digest -> so many bytes of the blob come, though its whole length is announced: a registry
    remembers a layer that is gone from its disk, or cut short there.
    """
    gone_once: bool = False
    """What is gone is there again at the next question."""
    wrong_part: bool = False
    """Says of every part that it is the one behind it."""
    part_status: int | None = None
    """The status of every answer to Range; None: 206."""
    error_body: bytes = b"{}"
    """What comes with a status of `status`."""
    retry_after: str | None = None
    """The header that comes with a status of `status`, which is given once only then."""
    stall: str | None = None
    """Sends half of the body of these, and then nothing."""
    slow: str | None = None
    """Sends the body of these in five parts, half a second apart."""
    omit_length: bool = False
    """Blobs without Content-Length: the connection's end is theirs."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class RegistryServer:
    """Serves a store at `url` while the `with` block lasts, and remembers every request."""

    def __init__(
        self,
        store: Store | None = None,
        *,
        repository: str = "infra-ci",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.store, self.repository, self.faults = store or Store(), repository, Faults()
        self.requests: list[Request] = []
        self.released = threading.Event()
        outer = self

        class Handler(_Handler):
            registry = outer

        self._server = _Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> "RegistryServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def asked(self, method: str, part: str) -> list[Request]:
        return [
            request
            for request in self.requests
            if request.method == method and part in request.path
        ]


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # So that server_close waits for them: no test leaves a thread behind.
    block_on_close = True

    def handle_error(self, *_: object) -> None:
        """A client that went away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    registry: RegistryServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Tests ask `requests` instead."""

    def _answer(self) -> None:
        registry, faults, path = self.registry, self.registry.faults, self.path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        registry.requests.append(Request(self.command, path, dict(self.headers), body))
        if faults.hang is not None and faults.hang in path:
            registry.released.wait(20)
            self.close_connection = True
            return
        if faults.drip is not None and faults.drip in path:
            self._drip()
            return
        if faults.flood is not None and faults.flood in path and self.command == "GET":
            self._flood()
            return
        status = next((status for part, status in faults.status.items() if part in path), None)
        if status is not None and faults.retry_after is not None:
            faults.status.clear()
            self._reply(status, faults.error_body, {"Retry-After": faults.retry_after})
        elif status is not None:
            self._reply(status, faults.error_body)
        elif faults.redirect is not None and faults.redirect[0] in path:
            self._reply(307, b"", {"Location": faults.redirect[1] + path})
        elif path.startswith("/token"):
            self._give_token(body)
        elif not self._is_let_in():
            self._reply(401, b"{}", {"WWW-Authenticate": faults.bearer or 'Basic realm="the test"'})
        else:
            self._serve()

    def _is_let_in(self) -> bool:
        faults, given = self.registry.faults, self.headers.get("Authorization")
        if faults.bearer is not None:
            return given == f"Bearer {TOKEN}"
        return (
            faults.login is None
            or given == "Basic " + base64.b64encode(faults.login.encode()).decode()
        )

    def _give_token(self, body: bytes) -> None:
        faults = self.registry.faults
        if faults.refresh_token is not None:
            known = (
                self.command == "POST" and f"refresh_token={faults.refresh_token}".encode() in body
            )
            self._reply(
                200 if known else 401, json.dumps({"access_token": TOKEN} if known else {}).encode()
            )
            return
        wanted = (
            None
            if faults.token_login is None
            else "Basic " + base64.b64encode(faults.token_login.encode()).decode()
        )
        known = wanted is None or self.headers.get("Authorization") == wanted
        self._reply(200 if known else 401, json.dumps({"token": TOKEN} if known else {}).encode())

    def _serve(self) -> None:
        registry, faults = self.registry, self.registry.faults
        path = self.path.partition("?")[0]
        kind, _, name = path.removeprefix(f"/v2/{registry.repository}/").partition("/")
        if path == "/v2/":
            self._reply(200, b"{}")
        elif kind == "manifests" and faults.head_status and self.command == "HEAD":
            self._reply(faults.head_status, b"")
        elif kind == "manifests":
            digest = registry.store.tags.get(name, name)
            if (
                digest not in registry.store.manifests
                or "application/vnd.oci.image.index.v1+json" not in self.headers.get("Accept", "")
            ):
                self._reply(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
                return
            content, media_type = registry.store.manifests[digest]
            self._reply(
                200,
                faults.bodies.get(digest, content),
                {"Content-Type": media_type}
                | ({} if faults.omit_digest else {"Docker-Content-Digest": digest}),
            )
        elif kind == "blobs" and name in registry.store.blobs:
            self._serve_blob(name, faults.bodies.get(name, registry.store.blobs[name]))
        else:
            self._reply(404, b'{"errors": [{"code": "BLOB_UNKNOWN"}]}')

    def _serve_blob(self, name: str, body: bytes) -> None:
        faults = self.registry.faults
        length = faults.lengths.get(name, len(body))
        there = body[: faults.gone.get(name, len(body))]
        if faults.gone_once:
            faults.gone.pop(name, None)
        # A client that waits for the rest sees the end of the connection.
        self.close_connection = len(there) < len(body)
        part = re.fullmatch("bytes=([0-9]+)-([0-9]+)", self.headers.get("Range", ""))
        if part is not None and faults.part_status is not None:
            self._reply(faults.part_status, b"")
        elif part is None or not faults.sends_parts:
            self._reply(200, there, length=length)
        elif int(part[1]) >= length:
            self._reply(416, b"")
        else:
            first, last = int(part[1]), int(part[2])
            said = first + 1 if faults.wrong_part else first
            self._reply(
                206,
                there[first : last + 1],
                {"Content-Range": f"bytes {said}-{last}/{length}"},
                length=last + 1 - first,
            )

    def _reply(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        length: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        faults = self.registry.faults
        if faults.omit_length and "/blobs/" in self.path:
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command == "HEAD":
            return
        if faults.cut is not None and faults.cut in self.path:
            body, self.close_connection = body[: len(body) // 2], True
        if faults.stall is not None and faults.stall in self.path:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            self.registry.released.wait(20)
        elif faults.slow is not None and faults.slow in self.path:
            part_bytes = len(body) // 4 or 1
            for start in range(0, len(body), part_bytes):
                self.wfile.write(body[start : start + part_bytes])
                self.registry.released.wait(0.5)
        else:
            self.wfile.write(body)

    def _flood(self) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n")
        while not self.registry.released.is_set():
            self.wfile.write(bytes(1 << 16))

    def _drip(self) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        until = time.monotonic() + 20
        while not self.registry.released.wait(0.05) and time.monotonic() < until:
            self.wfile.write(b"x")


def make_authority(directory: Path, *, names_in_san: bool = True) -> tuple[Path, ssl.SSLContext]:
    """A private CA of a few minutes, without keyUsage: its file, and the TLS context of a server
    on 127.0.0.1 that it vouches for. `names_in_san`: else the server's name is a CN only.
    """
    now = datetime.datetime.now(datetime.UTC)
    authority_key, server_key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the CA of the test")])

    def issue(
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *extensions: tuple[x509.ExtensionType, bool],
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority_name)
            .public_key(key.public_key())
        )
        builder = (
            builder.serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )
        for extension, is_critical in extensions:
            builder = builder.add_extension(extension, is_critical)
        return builder.sign(authority_key, hashes.SHA256())

    authority = issue(
        authority_name,
        authority_key,
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), False),
    )
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("registry.example")]
    server = issue(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")]),
        server_key,
        *([(x509.SubjectAlternativeName(names), False)] if names_in_san else []),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), False),
    )
    ca, chain = directory / "ca.pem", directory / "server.pem"
    ca.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    key_text = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(server.public_bytes(serialization.Encoding.PEM) + key_text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return ca, context
