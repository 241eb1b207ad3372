"""`ctr images import -`: a classic docker archive from standard input into the content store, and unpacked.

As with containerd 1.7 the names are set before the layers are unpacked, so a bad layer leaves them behind; and a layer
that was unpacked before is not looked at again.
"""

import hashlib
import json
import posixpath
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any

from breakglass.sandbox.standins import ctr_store as store
from breakglass.sandbox.standins.state import Failure, sha256, unknown, write

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIGURATION = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar"


def import_images(namespace: str, argv: list[str]) -> int:
    if argv != ["-"]:
        return unknown("ctr", " ".join(argv) or "(no file)")
    store.BLOBS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.ROOT, prefix="ingest-") as directory:
        members = _receive(sys.stdin.buffer, Path(directory))
        if "manifest.json" not in members:
            raise Failure("unrecognized image format")
        images = []
        with store.changing(namespace) as state:
            for image in json.loads(members["manifest.json"][0].read_bytes()):
                target, names = _store(state, image, members), image["RepoTags"] or []
                state["images"] |= {name: target | {"labels": {}} for name in names}
                images.append((target, names))
    for target, names in images:
        for name in names:
            sys.stdout.write(f"unpacking {name} ({target['digest']})...")
            sys.stdout.flush()
            _unpack(namespace, target)
            sys.stdout.write("done\n")
    return 0


def _receive(stream: IO[bytes], directory: Path) -> dict[str, tuple[Path, str]]:
    """Every file of the archive by name: where it was put, and its digest."""
    members: dict[str, tuple[Path, str]] = {}
    links: dict[str, str] = {}
    name = ""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                name = posixpath.normpath(member.name)
                if member.issym():
                    links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
                elif content := archive.extractfile(member):
                    path = directory / str(len(members))
                    members[name] = (path, _copy(content, path, size=member.size))
    except tarfile.ReadError as error:
        # Python calls an empty archive and one that ends early errors too; ctr has other words for those.
        if "empty" in str(error):
            return {}
        raise Failure(f'failed to ingest "{name}": unexpected EOF' if members or "unexpected end" in str(error) else "archive/tar: invalid tar header") from None
    for name, target in links.items():
        if target in members:
            members[name] = members[target]
    return members


def _copy(content: IO[bytes], path: Path, *, size: int) -> str:
    digest, copied = hashlib.sha256(), 0
    with path.open("wb") as file:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
            copied += file.write(chunk)
    if copied != size:
        raise tarfile.ReadError("unexpected end of data")
    return "sha256:" + digest.hexdigest()


def _store(state: dict[str, Any], image: dict[str, Any], members: dict[str, tuple[Path, str]]) -> dict[str, Any]:
    """Its content into the store. Returns the descriptor that its names will point at."""
    descriptors = []
    for media_type, name in ((CONFIGURATION, image["Config"]), *((LAYER, name) for name in image["Layers"])):
        if posixpath.normpath(name) not in members:
            raise Failure(f'"{name}" not found in the archive')
        path, digest = members[posixpath.normpath(name)]
        if not store.blob(digest).exists():
            path.rename(store.blob(digest))
        descriptors.append({"mediaType": media_type, "digest": digest, "size": store.blob(digest).stat().st_size})
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptors[0], "layers": descriptors[1:]}, separators=(",", ":")).encode()
    write(store.blob(sha256(manifest)), manifest)
    state["content"] += [sha256(manifest), *(str(part["digest"]) for part in descriptors)]
    return {"type": MANIFEST, "digest": sha256(manifest), "size": len(manifest)}


def _unpack(namespace: str, target: dict[str, Any]) -> None:
    diff_ids = store.configuration(target)["rootfs"]["diff_ids"]
    layers = store.manifest(target)["layers"]
    if len(diff_ids) != len(layers):
        raise Failure(f"mismatched image rootfs and manifest layers: {len(diff_ids)} and {len(layers)}")
    with store.changing(namespace) as state:
        for depth, layer in enumerate(layers, 1):
            snapshot = store.chain(diff_ids[:depth])
            if snapshot in state["snapshots"]:
                continue
            if _diff_id(store.blob(layer["digest"])) != diff_ids[depth - 1]:
                sys.stdout.write("\n")
                raise Failure(f'wrong diff id calculated on extraction "{_diff_id(store.blob(layer["digest"]))}"')
            state["snapshots"].append(snapshot)


def _diff_id(path: Path) -> str:
    with path.open("rb") as layer:
        return "sha256:" + hashlib.file_digest(layer, "sha256").hexdigest()
