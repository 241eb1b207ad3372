"""An archive's index.json, compared with its manifest.json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from breakglass.remote.archive.documents import blob, field, strict
from breakglass.remote.archive.images import Image, check_layers
from breakglass.remote.archive.references import canonical
from breakglass.remote.archive.tar import Content
from breakglass.remote.faults import INTEGRITY, Fault


def check_index(content: Content, images: dict[str, Image]) -> dict[str, Image]:
    """Where there is an index.json containerd reads it in place of manifest.json: both must say the
    same. Returns the images with what index.json says of them.
    """
    named: dict[str, dict[str, tuple[str, str]]] = {}
    for entry in field(strict(content, "index.json", dict), "manifests", list, "index.json"):
        annotations = entry.get("annotations") if isinstance(entry, dict) else None
        name = (
            annotations.get("io.containerd.image.name") if isinstance(annotations, dict) else None
        )
        if isinstance(name, str):
            digest = field(entry, "digest", str, "index.json")
            found = reached(content, digest, images)
            named.setdefault(canonical(name), {}).update(
                {image_id: (manifest, digest) for image_id, manifest in found.items()}
            )
    wrong = sorted(set(named) ^ set(images)) or [
        name for name in images if images[name].image_id not in named[name]
    ]
    if wrong:
        raise Fault(
            INTEGRITY,
            f"index.json and manifest.json of the archive differ about {', '.join(wrong)}",
        )
    return {
        name: image._replace(
            manifest=named[name][image.image_id][0], digest=named[name][image.image_id][1]
        )
        for name, image in images.items()
    }


def reached(content: Content, digest: str, images: dict[str, Image]) -> dict[str, str]:
    """The image IDs that a digest leads to, through an index and manifests that are in the
    archive, each with the file of its manifest.
    """
    image_ids: dict[str, str] = {}
    for path, document in documents_of(content, digest):
        if not is_manifest(document):
            continue
        configuration = field(document["config"], "digest", str, path)
        image = next((image for image in images.values() if image.image_id == configuration), None)
        if image is not None:
            check_layers(content, layers_of(document, path), image.diff_ids)
            image_ids[configuration] = path
    return image_ids


def documents_of(content: Content, digest: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The indexes and manifests in the archive that a digest leads to: file and content. Each
    once, and one at a time in memory: an index may name itself, or a million.
    """
    waiting, seen = [digest], {digest}
    while waiting:
        path = blob(waiting.pop())
        if path not in content.documents:
            continue
        document = strict(content, path, dict)
        yield path, document
        listed = document["manifests"] if isinstance(document.get("manifests"), list) else []
        children = dict.fromkeys(field(child, "digest", str, path) for child in listed)
        fresh = [
            child for child in children if child not in seen and blob(child) in content.documents
        ]
        seen.update(fresh)
        waiting += fresh


def is_manifest(document: dict[str, Any]) -> bool:
    return isinstance(document.get("config"), dict) and "layers" in document


def layers_of(manifest: dict[str, Any], path: str) -> list[str]:
    """The files of a manifest's layers."""
    layers = field(manifest, "layers", list, path)
    return [blob(field(layer, "digest", str, path)) for layer in layers]
