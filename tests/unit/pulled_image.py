"""An image in a registry of the tests, and `archive pull` of it as it runs on a host."""

import gzip
import json
import subprocess
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.archives import dumps, layer
from tests.interpreters import HOST, program
from tests.registry_server import RegistryServer, Store, digest_of

FILE = "infra-ci-0a1b2c3d.tar.gz"
PARTIAL = f".{FILE}.partial"
SEED = {"tag": "0a1b2c3d", "sequence": 7, "created_at": "2026-04-19T09:41:00Z", "version": "0.1.0"}
DOCKER = "application/vnd.docker."
OCI = "application/vnd.oci.image."
ZSTD_FRAME = bytes.fromhex("28b52ffd")
LINUX = {"os": "linux", "architecture": "amd64"}


def zstd(content: bytes) -> bytes:
    """As programs see it from outside: its magic, and bytes that are not looked into."""
    return ZSTD_FRAME + zlib.compress(content)


def gz(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


@dataclass(frozen=True)
class Layer:
    media_type: str = f"{OCI}layer.v1.tar+gzip"
    pack: Callable[[bytes], bytes] = gz
    content: bytes = field(default_factory=lambda: layer(seed=1))
    more: dict[str, Any] = field(default_factory=dict)
    """Further keys of its descriptor."""

    @property
    def blob(self) -> bytes:
        return self.pack(self.content)


PLAIN = Layer(f"{OCI}layer.v1.tar", bytes, layer(seed=2))
ZSTD = Layer(f"{OCI}layer.v1.tar+zstd", zstd, layer(seed=3))
LAYERS = (Layer(), PLAIN, ZSTD)


def put_image(
    store: Store,
    *layers: Layer,
    diff_ids: tuple[str, ...] | None = None,
    is_docker: bool = False,
    command: str = "/bin/sh",
) -> dict[str, Any]:
    """Its manifest's descriptor."""
    given = tuple(digest_of(each.content) for each in layers)
    rootfs = {"type": "layers", "diff_ids": given if diff_ids is None else diff_ids}
    configuration = dumps({**LINUX, "config": {"Cmd": [command]}, "rootfs": rootfs})
    kind = f"{DOCKER}container.image.v1+json" if is_docker else f"{OCI}config.v1+json"
    media_type = f"{DOCKER}distribution.manifest.v2+json" if is_docker else f"{OCI}manifest.v1+json"
    described = [_put_blob(store, each.blob, each.media_type) | each.more for each in layers]
    manifest = {"config": _put_blob(store, configuration, kind), "layers": described}
    written = {"schemaVersion": 2, "mediaType": media_type, **manifest}
    return store.add_manifest(written, media_type) | {"platform": LINUX}


def put_index(store: Store) -> dict[str, Any]:
    """With an image for amd64, one for arm64, and an attestation."""
    image = put_image(store, *LAYERS)
    attestation = put_image(store, PLAIN, command="attests") | {
        "platform": {"os": "unknown", "architecture": "unknown"}
    }
    return store.add_index(store.add_image("arm64"), attestation, image)


def _put_blob(store: Store, content: bytes, media_type: str) -> dict[str, Any]:
    store.blobs[digest_of(content)] = content
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


@dataclass(frozen=True)
class Ran:
    status: int
    stdout: str
    stderr: str

    @property
    def record(self) -> dict[str, Any]:
        assert self.status == 0, self.stderr
        read: dict[str, Any] = json.loads(self.stdout)
        return read

    @property
    def sentence(self) -> str:
        lines = [line for line in self.stderr.splitlines() if not line.startswith("@progress ")]
        assert len(lines) == 1, self.stderr
        return lines[0]


@dataclass
class Puller:
    """The VM: its shelf, its user's home, and its docker's certificates."""

    directory: Path
    server: RegistryServer
    silence_seconds: float = 20.0
    pauses: tuple[float, ...] = (0.01, 0.01, 0.01)
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def shelf(self) -> Path:
        return self.directory / "shelf"

    @property
    def name(self) -> str:
        return f"{self.server.host}/infra-ci:0a1b2c3d"

    @property
    def partial(self) -> bytes:
        return (self.shelf / PARTIAL).read_bytes()

    def url(self, manifest: str) -> str:
        return f"{self.server.url}/v2/infra-ci/manifests/{manifest}"

    def log_in(self, **keys: object) -> None:
        path = self.directory / "home/.docker/config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(keys))

    def line(self, *argv: object, lifeline: int | None = None) -> list[str]:
        start = program(
            "from pathlib import Path\n"
            "from breakglass.remote.archive import origins\n"
            "from breakglass.remote.archive.main import main\n"
            "from breakglass.remote.distribution import downloads\n"
            f"downloads.PAUSES_SECONDS = {self.pauses}\n"
            f"downloads.SILENCE_SECONDS = {self.silence_seconds}\n"
            f"origins.CERTIFICATES = Path({str(self.directory / 'certs.d')!r})\n"
            f"sys.exit(main(sys.argv[1:], {lifeline}))"
        )
        return [HOST.python, "-ISc", start, *map(str, argv)]

    def arguments(self, manifest: str, *more: str) -> tuple[object, ...]:
        record = ("--record", json.dumps(SEED), *more)
        reference = (
            "--platform",
            "linux/amd64",
            "--reference",
            f"{self.name}={self.url(manifest)}",
        )
        return ("pull", self.shelf, FILE, *reference, *record)

    def pull(self, manifest: str = "0a1b2c3d", *more: str) -> Ran:
        return self.run(*self.arguments(manifest, *more))

    def run(self, *argv: object) -> Ran:
        self.shelf.mkdir(exist_ok=True)
        ended = subprocess.run(
            self.line(*argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
            env={"HOME": str(self.directory / "home"), **self.environ},
        )
        return Ran(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def filled(puller: Puller) -> Puller:
    """Its registry has an index under the tag."""
    store = puller.server.store
    store.tags["0a1b2c3d"] = put_index(store)["digest"]
    return puller


def gzip_members(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Where each begins, and what is in it."""
    at = 0
    while at < len(data):
        member = zlib.decompressobj(31)
        content = member.decompress(data[at:])
        assert member.eof
        yield at, content
        at = len(data) - len(member.unused_data)
