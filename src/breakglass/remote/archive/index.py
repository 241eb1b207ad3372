"""An archive's index.json, compared with its manifest.json."""

from __future__ import annotations

from breakglass.remote.archive.documents import blob, field, strict
from breakglass.remote.archive.images import Image, check_layers
from breakglass.remote.archive.references import canonical
from breakglass.remote.archive.tar import Content
from breakglass.remote.faults import INTEGRITY, Fault


def check_index(content: Content, images: dict[str, Image]) -> dict[str, str]:
    """Where there is an index.json containerd reads it in place of manifest.json: both must say the
    same. Returns the manifest's file of each image.
    """
    named: dict[str, dict[str, str]] = {}
    for entry in field(strict(content, "index.json", dict), "manifests", list, "index.json"):
        annotations = entry.get("annotations") if isinstance(entry, dict) else None
        name = (
            annotations.get("io.containerd.image.name") if isinstance(annotations, dict) else None
        )
        if isinstance(name, str):
            named.setdefault(canonical(name), {}).update(
                reached(content, field(entry, "digest", str, "index.json"), images)
            )
    wrong = sorted(set(named) ^ set(images)) or [
        name for name in images if images[name].image_id not in named[name]
    ]
    if wrong:
        raise Fault(
            INTEGRITY,
            f"index.json and manifest.json of the archive differ about {', '.join(wrong)}",
        )
    return {name: named[name][image.image_id] for name, image in images.items()}


def reached(content: Content, digest: str, images: dict[str, Image]) -> dict[str, str]:
    """The image IDs that a digest leads to, through an index and manifests that are in the
    archive, each with the file of its manifest.
    """
    image_ids: dict[str, str] = {}
    # Each blob once, and one document at a time in memory: an index may name itself, or a million.
    waiting, seen = [digest], {digest}
    while waiting:
        found, children = _read(content, waiting.pop(), images)
        image_ids.update(found)
        fresh = [child for child in children if child not in seen]
        seen.update(fresh)
        waiting += fresh
    return image_ids


def _read(
    content: Content, digest: str, images: dict[str, Image]
) -> tuple[dict[str, str], list[str]]:
    """(image ID -> file of a manifest, digests of an index's children that are in the archive)."""
    path = blob(digest)
    if path not in content.documents:
        return {}, []
    document = strict(content, path, dict)
    image_ids: dict[str, str] = {}
    listed = document["manifests"] if isinstance(document.get("manifests"), list) else []
    digests = dict.fromkeys(field(child, "digest", str, path) for child in listed)
    children = [child for child in digests if blob(child) in content.documents]
    if isinstance(document.get("config"), dict) and "layers" in document:
        configuration = field(document["config"], "digest", str, path)
        image = next((image for image in images.values() if image.image_id == configuration), None)
        if image is not None:
            layers = field(document, "layers", list, path)
            check_layers(
                content,
                [blob(field(layer, "digest", str, path)) for layer in layers],
                image.diff_ids,
            )
            image_ids[configuration] = path
    return image_ids, children
