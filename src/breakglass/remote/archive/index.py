"""An archive's index.json, compared with its manifest.json."""

from __future__ import annotations

from breakglass.remote.archive.documents import field, strict
from breakglass.remote.archive.images import Image, check_layers
from breakglass.remote.archive.references import canonical
from breakglass.remote.archive.tar import Content
from breakglass.remote.faults import INTEGRITY, Fault


def check_index(content: Content, images: dict[str, Image]) -> None:
    """Where there is an index.json containerd reads it in place of manifest.json: both must say the
    same.
    """
    named: dict[str, set[str]] = {}
    for entry in field(strict(content, "index.json", dict), "manifests", list, "index.json"):
        annotations = entry.get("annotations") if isinstance(entry, dict) else None
        name = (
            annotations.get("io.containerd.image.name") if isinstance(annotations, dict) else None
        )
        if isinstance(name, str):
            named.setdefault(canonical(name), set()).update(
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


def reached(content: Content, digest: str, images: dict[str, Image], depth: int = 0) -> set[str]:
    """The image IDs that a digest leads to, through an index and manifests that are in the
    archive.
    """
    path = "blobs/" + digest.replace(":", "/", 1)
    if path not in content.documents or depth > 3:
        return set()
    document, found = strict(content, path, dict), set()
    for child in document["manifests"] if isinstance(document.get("manifests"), list) else []:
        found |= reached(content, field(child, "digest", str, path), images, depth + 1)
    if isinstance(document.get("config"), dict) and "layers" in document:
        configuration = field(document["config"], "digest", str, path)
        image = next((image for image in images.values() if image.image_id == configuration), None)
        if image is not None:
            layers = field(document, "layers", list, path)
            check_layers(
                content,
                [
                    "blobs/" + field(layer, "digest", str, path).replace(":", "/", 1)
                    for layer in layers
                ],
                image.diff_ids,
            )
            found.add(configuration)
    return found
