"""A node as the script responder sees it: a content store, a `ctr`, a directory of ours, a port."""

import contextlib
import hashlib
import http.client
import json
import random
import shlex
import socket
import subprocess
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.interpreters import HOST, zipapp

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
PRIVATE = "registry.example:5050/infra-ci"
FORGEJO = "forgejo.example/viktor/infra-ci"


@dataclass(frozen=True)
class Ran:
    status: int
    stdout: str
    stderr: str

    @property
    def reported(self) -> dict[str, Any]:
        assert self.status == 0, self.stderr
        assert self.stdout.count("\n") == 1
        found: dict[str, Any] = json.loads(self.stdout)
        return found

    @property
    def sentence(self) -> str:
        assert not self.stdout
        assert len(self.stderr.splitlines()) == 1, self.stderr
        return self.stderr.strip()


@dataclass(frozen=True)
class Got:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        found: str = json.loads(self.body)["errors"][0]["code"]
        return found


@dataclass
class Node:
    root: Path
    images: dict[str, tuple[str, str]] = field(default_factory=dict)
    environment: dict[str, str] | None = None

    def __post_init__(self) -> None:
        self.directory, self.content, self.ctr = (
            self.root / "shelf",
            self.root / "content",
            self.root / "ctr",
        )
        (self.content / "blobs" / "sha256").mkdir(parents=True)
        self.directory.mkdir()
        self.port = unused_port()

    @property
    def script(self) -> Path:
        return self.directory / ".breakglass-responder.pyz"

    def blob(self, data: bytes) -> dict[str, Any]:
        """Into the content store; returns its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        path = self.content / "blobs" / "sha256" / digest
        path.write_bytes(data)
        path.chmod(0o444)
        return {
            "digest": f"sha256:{digest}",
            "size": len(data),
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
        }

    def manifest(
        self,
        *layers: dict[str, Any],
        config: dict[str, Any] | None = None,
        media_type: str = MANIFEST,
    ) -> dict[str, Any]:
        content = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config or self.blob(b'{"os": "linux"}'),
            "layers": layers,
        }
        return {**self.blob(json.dumps(content).encode()), "mediaType": media_type}

    def index(self, *children: dict[str, Any]) -> dict[str, Any]:
        return {
            **self.blob(
                json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).encode()
            ),
            "mediaType": INDEX,
        }

    def keep(self, name: str, descriptor: dict[str, Any]) -> None:
        """As `ctr images ls` tells it from now on."""
        self.images[name] = descriptor["mediaType"], descriptor["digest"]
        rows = ["REF TYPE DIGEST SIZE PLATFORMS LABELS"]
        rows += [
            f"{each:<60} {kind} {digest} 195.3 MiB linux/amd64 io.cri-containerd.pinned=pinned"
            for each, (kind, digest) in self.images.items()
        ]
        table = shlex.quote("\n".join(rows))
        self.ctr.write_text(
            f'#!/bin/sh\n[ "$*" = "-n k8s.io images ls" ] || exit 9\nprintf "%s\\n" {table}\n'
        )
        self.ctr.chmod(0o755)

    def path_of(self, descriptor: dict[str, Any]) -> Path:
        return self.content / "blobs" / "sha256" / str(descriptor["digest"]).partition(":")[2]

    def start_line(self, *answers: str, port: int | None = None) -> list[str]:
        reported = [word for each in answers for word in ("--answer", each)]
        return [
            "start",
            str(self.directory),
            "--port",
            str(port or self.port),
            "--content",
            str(self.content),
            *reported,
            "--",
            str(self.ctr),
            "-n",
            "k8s.io",
        ]

    def start(self, *answers: str, port: int | None = None) -> Ran:
        return self.run(*self.start_line(*answers, port=port))

    def stop(self) -> Ran:
        return self.run("stop", str(self.directory))

    def status(self) -> dict[str, Any]:
        return self.run("status", str(self.directory)).reported

    def run(self, *argv: str, archive: Path | None = None) -> Ran:
        # Pipes that are read to their end: a responder that kept one would hold this for ever.
        ended = subprocess.run(
            [HOST.python, "-IS", str(archive or zipapp()), "responder", *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=False,
            start_new_session=True,
            env=self.environment,
        )
        return Ran(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> Got:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body=body)
            response = connection.getresponse()
            return Got(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
        finally:
            connection.close()

    def send(self, data: bytes, *, ends: bool = False) -> bytes:
        """Bytes as they are; what comes back until the connection is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(data)
            if ends:
                connection.shutdown(socket.SHUT_WR)
            found = b""
            while part := connection.recv(1 << 16):
                found += part
            return found


def unused_port() -> int:
    """Below those that the kernel gives to connections: nobody takes it between here and the
    responder's start.
    """
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            port = random.randrange(10000, 20000)
            probe.bind(("127.0.0.1", port))
            return port


def process_status(process: int, key: str) -> list[str]:
    return next(
        line.split()[1:]
        for line in Path(f"/proc/{process}/status").read_text().splitlines()
        if line.startswith(f"{key}:")
    )


def altered(directory: Path, module: str, *changes: tuple[str, str]) -> Path:
    """A zipapp with another text in one of the responder's modules."""
    changed = f"breakglass/remote/responder/{module}.py"
    path = directory / "altered.pyz"
    with zipfile.ZipFile(zipapp()) as ours, zipfile.ZipFile(path, "w") as theirs:
        for name in ours.namelist():
            text = ours.read(name).decode()
            if name == changed:
                for old, new in changes:
                    assert old in text
                    text = text.replace(old, new)
            theirs.writestr(name, text)
    return path
