"""The images of the lab: a big one built by docker once and cached, small ones made in a moment,
and the sandbox image kubelets need.
"""

import functools
import gzip
import hashlib
import io
import json
import random
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .components import CACHE, CONTAINERD, CRICTL, KUBERNETES
from .host import Host
from .registry import MANIFEST, Registry, digest_of
from .roles import LAB

BIG_TAG = "b16b00b5"
BIG_RECIPE = f"""FROM scratch
COPY bin /bin
COPY {LAB.strip("/")}/{KUBERNETES}/usr/bin /usr/local/bin
COPY {LAB.strip("/")}/{CONTAINERD}/usr/bin /usr/local/bin
COPY {LAB.strip("/")}/{CRICTL}/usr/bin /usr/local/bin
COPY usr/lib/python3.11 /usr/lib/python3.11
COPY usr/lib/python3 /usr/lib/python3
ENV PATH=/usr/local/bin:/bin
CMD ["/bin/sh"]
"""
PAUSE = "registry.k8s.io/pause:3.6"
BUSYBOX = Path("/bin/busybox")
LIBRARY = ("json", "email", "http", "logging", "asyncio", "xml", "unittest")


@dataclass(frozen=True)
class Image:
    """An image in the registries: its tag, its image ID (digest of its configuration), its
    manifest's digest, all names it was given.
    """

    tag: str
    image_id: str
    digest: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Bundle:
    """An image's manifest and blobs, ready to be put into any registry."""

    manifest: bytes
    blobs: tuple[bytes | Path, ...]

    @property
    def image_id(self) -> str:
        return str(json.loads(self.manifest)["config"]["digest"])

    def publish(self, registries: Sequence[Registry], tags: Sequence[str]) -> Image:
        for registry in registries:
            for blob in self.blobs:
                registry.put_blob(blob)
            registry.put_manifest(self.manifest, *tags)
        return Image(
            tags[0],
            self.image_id,
            digest_of(self.manifest),
            tuple(f"{registry.reference}:{tag}" for registry in registries for tag in tags),
        )


def small_bundle(
    content: str = "one", *, architecture: str = "amd64", padding_megabytes: int = 1
) -> Bundle:
    """Under 20 MB: busybox as /bin/sh, some real files, and a layer that follows from `content`.
    The same arguments give the same image ID.
    """
    noise = random.Random(content).randbytes(padding_megabytes * 1024 * 1024)
    last, last_id = pack(layer({"etc/content": content.encode() + b"\n", "opt/noise": noise}))
    layers = [*base_layers(), (last, last_id)]
    configuration = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "created": "2026-04-20T00:00:00Z",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
            "history": [{"created": "2026-04-20T00:00:00Z", "created_by": "lab"} for _ in layers],
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(configuration),
                "digest": digest_of(configuration),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "size": len(blob),
                    "digest": digest_of(blob),
                }
                for blob, _ in layers
            ],
        },
        indent=3,
    ).encode()
    return Bundle(manifest, (configuration, *(blob for blob, _ in layers)))


@functools.cache
def base_layers() -> tuple[tuple[bytes, str], ...]:
    """What all small images share."""
    library = {
        str(file).lstrip("/"): file.read_bytes()
        for name in LIBRARY
        for file in sorted(Path("/usr/lib/python3.11", name).rglob("*.py"))
    }
    return (pack(layer({"bin/sh": BUSYBOX.read_bytes()})), pack(layer(library)))


def layer(files: Mapping[str, bytes]) -> bytes:
    """An uncompressed layer."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        directories = sorted(
            {str(parent) for name in files for parent in Path(name).parents} - {"."}
        )
        for directory in directories:
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def pack(uncompressed: bytes) -> tuple[bytes, str]:
    """(compressed layer, diff ID)."""
    return gzip.compress(uncompressed, 1, mtime=0), digest_of(uncompressed)


def archive(bundle: Bundle, *references: str) -> bytes:
    """The bundle as `docker save` of docker 20.10 writes it, with <id>/layer.tar for each layer."""
    configuration, *layers = [
        blob if isinstance(blob, bytes) else blob.read_bytes() for blob in bundle.blobs
    ]
    plain = [gzip.decompress(blob) for blob in layers]
    names = [f"{hashlib.sha256(blob).hexdigest()}/layer.tar" for blob in plain]
    name = hashlib.sha256(configuration).hexdigest() + ".json"
    index = json.dumps([{"Config": name, "RepoTags": list(references), "Layers": names}]).encode()
    return layer(
        dict(zip(names, plain, strict=True)) | {name: configuration, "manifest.json": index}
    )


def pause_archive() -> bytes:
    """The sandbox image registry.k8s.io/pause:3.6, made of busybox."""
    plain = layer({"bin/busybox": BUSYBOX.read_bytes()})
    configuration = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/bin/busybox", "sleep", "2147483"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(plain)]},
        }
    ).encode()
    index = json.dumps(
        [{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]
    ).encode()
    return layer({"layer.tar": plain, "config.json": configuration, "manifest.json": index})


def import_pause(node: Host) -> None:
    """kubelet's sandbox image, into containerd."""
    if PAUSE not in node.run("ctr", "-n", "k8s.io", "images", "ls", "-q").stdout.split():
        node.path("/run/lab/pause.tar").write_bytes(pause_archive())
        node.run("ctr", "-n", "k8s.io", "images", "import", "/run/lab/pause.tar")


def big_bundle(vm: Host, registry: Registry) -> Bundle:
    """600 to 800 MB of real files in seven layers; built on the registry VM by docker the first
    time, later taken from the cache.
    """
    directory = CACHE / "images" / hashlib.sha256(BIG_RECIPE.encode()).hexdigest()[:12]
    if not (directory / "manifest.json").exists():
        build_big(vm, registry, directory)
    manifest = json.loads((directory / "manifest.json").read_bytes())
    digests = [manifest["config"]["digest"], *(entry["digest"] for entry in manifest["layers"])]
    return Bundle(
        (directory / "manifest.json").read_bytes(),
        tuple(directory / digest.removeprefix("sha256:") for digest in digests),
    )


def build_big(vm: Host, registry: Registry, directory: Path) -> None:
    """docker build and docker push, then keep what the registry stored."""
    reference = f"{registry.reference}:{BIG_TAG}"
    vm.write("/var/tmp/big/Dockerfile", BIG_RECIPE)
    vm.write("/var/tmp/big/bin/sh", BUSYBOX.read_bytes(), mode=0o755)
    parts = " ".join(
        line.split()[1]
        for line in BIG_RECIPE.splitlines()
        if line.startswith("COPY ") and "bin /bin" not in line
    )
    vm.run(
        "bash",
        "-o",
        "pipefail",
        "-c",
        (
            f"tar -c --exclude=__pycache__ -C /var/tmp/big Dockerfile bin -C / {parts} | "
            f"DOCKER_BUILDKIT=0 docker build -q -t {reference} -"
        ),
        timeout=600,
    )
    vm.run("docker", "push", "--quiet", reference, timeout=600)
    vm.run("docker", "rmi", "--force", reference)
    vm.run("rm", "-rf", "/var/tmp/big")
    manifest = registry.blob(registry.digest(BIG_TAG)).read_bytes()
    parsed = json.loads(manifest)
    directory.mkdir(parents=True, exist_ok=True)
    for entry in [parsed["config"], *parsed["layers"]]:
        shutil.copyfile(
            registry.blob(entry["digest"]), directory / entry["digest"].removeprefix("sha256:")
        )
    (directory / "manifest.json").write_bytes(manifest)
