"""`ctr images import -`: stores and unpacks an OCI image layout, or else a classic docker archive,
from standard input.

As in containerd 2 the names are set last, so a bad layer leaves nothing behind; and a layer that
was unpacked before is not read again.
"""

import gzip
import hashlib
import json
import posixpath
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Any

from breakglass.sandbox.standins import ctr_store as store
from breakglass.sandbox.standins.state import Failure, architecture, sha256, unknown, write

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIGURATION = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar"
GZIP = b"\x1f\x8b"

Members = dict[str, tuple[Path, str]]
"""Every file of the archive by name: the path of its copy, and its digest."""


def import_images(namespace: str, argv: list[str]) -> int:
    snapshotter, argv = store.take_snapshotter(argv)
    # The transfer service unpacks with what its own configuration names, and with nothing else.
    unpacks = snapshotter == store.DEFAULT_SNAPSHOTTER or "--local" in argv
    if argv not in (["-"], ["--local", "-"]):
        return unknown("ctr", " ".join(argv) or "(no file)")
    store.BLOBS.mkdir(parents=True, exist_ok=True)
    # containerd makes the namespace even if the import fails.
    store.create(namespace)
    with tempfile.TemporaryDirectory(dir=store.ROOT, prefix="ingest-") as directory:
        members = _receive(sys.stdin.buffer, Path(directory))
        with store.changing(namespace) as state:
            saved = _of_layout(state, members) or _of_docker(state, members)
            _unpack(state, list(saved.values()), snapshotter if unpacks else "")
            state["images"] |= {name: target | {"labels": {}} for name, target in saved.items()}
    for name, target in saved.items():
        sys.stdout.write(f"{name}\tsaved\t\n{target['type']} {target['digest']}\n")
    return 0


class _Member(tarfile.TarInfo):
    """A header. ctr fails at a cut or damaged header, which tarfile takes for the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Member":
        try:
            return super().fromtarfile(archive)
        except tarfile.TruncatedHeaderError:  # type: ignore[attr-defined]  # the stubs lack it
            raise Failure("unexpected EOF") from None
        except tarfile.InvalidHeaderError:  # type: ignore[attr-defined]  # the stubs lack it
            raise Failure("archive/tar: invalid tar header") from None


def _receive(stream: Any, directory: Path) -> Members:
    members: Members = {}
    links: dict[str, str] = {}
    plain: Any = gzip.GzipFile(fileobj=stream) if stream.peek(2)[:2] == GZIP else stream
    try:
        with tarfile.open(fileobj=plain, mode="r|", tarinfo=_Member) as archive:
            for member in archive:
                name = posixpath.normpath(member.name)
                if member.issym():
                    target = posixpath.join(posixpath.dirname(name), member.linkname)
                    links[name] = posixpath.normpath(target)
                elif member.isfile():
                    path = directory / str(len(members))
                    members[name] = (path, _copy(archive, member, path))
    except tarfile.ReadError:
        # Python calls an empty archive an error; ctr finds no image in it.
        return {}
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Failure(str(error)) from None
    return members | {name: members[target] for name, target in links.items() if target in members}


def _copy(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> str:
    digest, content = hashlib.sha256(), archive.extractfile(member)
    try:
        with path.open("wb") as file:
            while content and (chunk := content.read(1 << 20)):
                digest.update(chunk)
                file.write(chunk)
    except tarfile.ReadError:
        copied = archive.fileobj.tell() - member.offset_data if archive.fileobj else 0
        short = f"short read: expected {member.size} bytes but got {copied}: unexpected EOF"
        raise Failure(f'failed to ingest "{posixpath.normpath(member.name)}": {short}') from None
    return "sha256:" + digest.hexdigest()


def _of_layout(state: dict[str, Any], members: Members) -> dict[str, dict[str, Any]]:
    """Store the images of an OCI image layout. Returns the descriptors by name; none where the
    archive is no such layout.
    """
    if "oci-layout" not in members:
        return {}
    if "index.json" not in members:
        raise Failure("missing index.json in OCI layout 1.0.0")
    by_digest = {digest: path for path, digest in members.values()}
    saved = {}
    for entry in json.loads(members["index.json"][0].read_bytes())["manifests"]:
        target = {key: entry[key] for key in ("digest", "size")}
        target["type"] = entry["mediaType"]
        _keep_tree(state, by_digest, entry["digest"])
        saved[entry["annotations"]["io.containerd.image.name"]] = target
    return saved


def _keep_tree(state: dict[str, Any], by_digest: dict[str, Path], digest: str) -> None:
    """Put a manifest and its blobs into the store, or an index and those of its children that the
    archive has.
    """
    document = json.loads(_keep(state, by_digest, digest).read_bytes())
    if "manifests" in document:
        children = (child["digest"] for child in document["manifests"])
        parts = [each for each in children if each in by_digest or store.blob(each).exists()]
        for child in parts:
            _keep_tree(state, by_digest, child)
    else:
        parts = [document["config"]["digest"], *(layer["digest"] for layer in document["layers"])]
        for part in parts:
            _keep(state, by_digest, part)
    state["content"][digest] = parts


def _keep(state: dict[str, Any], by_digest: dict[str, Path], digest: str) -> Path:
    """Put one blob of the archive into the store, unless it is there. Returns its path."""
    if not store.blob(digest).exists():
        if digest not in by_digest:
            raise Failure(f"content digest {digest}: not found")
        by_digest[digest].rename(store.blob(digest))
    state["content"].setdefault(digest, [])
    return store.blob(digest)


def _of_docker(state: dict[str, Any], members: Members) -> dict[str, dict[str, Any]]:
    """The same for a classic docker archive."""
    return {
        _full(name): target
        for image in _images(members)
        for target in (_store(state, image, members),)
        for name in image["RepoTags"] or ()
    }


def _images(members: Members) -> list[dict[str, Any]]:
    if "manifest.json" not in members:
        raise Failure("unrecognized image format")
    try:
        images: list[dict[str, Any]] = json.loads(members["manifest.json"][0].read_bytes())
    except ValueError:
        raise Failure('untar manifest "manifest.json": unexpected EOF') from None
    return images


def _full(name: str) -> str:
    """The full reference: docker leaves out its own registry."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def _store(state: dict[str, Any], image: dict[str, Any], members: Members) -> dict[str, Any]:
    """Put an image's content into the store. Returns the descriptor for its names."""
    configuration = posixpath.normpath(image["Config"])
    layers = [posixpath.normpath(name) for name in image["Layers"]]
    if configuration not in members:
        raise Failure(f'image config "{configuration}" not found')
    if missing := [name for name in layers if name not in members]:
        raise Failure(f'failed to resolve layers: layer "{missing[0]}" not found')
    descriptors = []
    for media_type, name in ((CONFIGURATION, configuration), *((LAYER, name) for name in layers)):
        path, digest = members[name]
        if not store.blob(digest).exists():
            path.rename(store.blob(digest))
        size = store.blob(digest).stat().st_size
        descriptors.append({"mediaType": media_type, "digest": digest, "size": size})
        state["content"].setdefault(digest, [])
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptors[0],
        "layers": descriptors[1:],
    }
    manifest = json.dumps(document, separators=(",", ":")).encode()
    digest = sha256(manifest)
    # Like the original: what is on record is not written again, whatever became of the file.
    if digest not in state["content"]:
        write(store.blob(digest), manifest)
    state["content"][digest] = [part["digest"] for part in descriptors]
    return {"type": MANIFEST, "digest": digest, "size": len(manifest)}


def _unpack(state: dict[str, Any], targets: list[dict[str, Any]], snapshotter: str) -> None:
    """Unpack the images for this machine's architecture. Raises Failure if there is none. Without a
    snapshotter nothing is unpacked.
    """
    try:
        configurations = [store.configuration(target) for target in targets]
    except Failure as failure:
        raise Failure(f"unable to resolve platform: {failure}") from None
    fits = [configuration["architecture"] == architecture() for configuration in configurations]
    if targets and not any(fits):
        raise Failure("image might be filtered out")
    for target, configuration, fitting in zip(targets, configurations, fits, strict=True):
        if fitting and snapshotter:
            unpack_image(state, target, configuration["rootfs"]["diff_ids"], snapshotter)


def unpack_image(
    state: dict[str, Any], target: dict[str, Any], diff_ids: list[str], snapshotter: str
) -> None:
    manifest = store.manifest(target)
    layers = manifest["layers"]
    if len(diff_ids) != len(layers):
        counts = f"{len(layers)} != {len(diff_ids)}"
        raise Failure(f"number of layers and diffIDs don't match: {counts}")
    chains = [
        store.snapshot(store.chain(diff_ids[:depth]), snapshotter)
        for depth in range(1, len(diff_ids) + 1)
    ]
    unpacked = [f"snapshot {chain}" for chain in chains]
    of_others = state["content"].get(manifest["config"]["digest"], [])
    state["content"][manifest["config"]["digest"]] = list(dict.fromkeys([*of_others, *unpacked]))
    for layer, diff_id, chain in zip(layers, diff_ids, chains, strict=True):
        if chain in state["snapshots"]:
            continue
        content = store.read(layer["digest"])
        digest = sha256(gzip.decompress(content) if content[:2] == GZIP else content)
        if digest != diff_id:
            raise Failure(
                f'wrong diff id "{digest}" calculated on extraction "{diff_id}", desc '
                f'"{layer["digest"]}"'
            )
        state["snapshots"].append(chain)
