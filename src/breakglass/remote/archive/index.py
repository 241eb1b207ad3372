"""An archive's index.json, compared with its manifest.json."""

from __future__ import annotations

from breakglass.remote.archive.documents import field, strict
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


def reached(
    content: Content, digest: str, images: dict[str, Image], depth: int = 0
) -> dict[str, str]:
    """The image IDs that a digest leads to, through an index and manifests that are in the
    archive, each with the file of its manifest.
    """
    path = "blobs/" + digest.replace(":", "/", 1)
    if path not in content.documents or depth > 3:
        return {}
    document = strict(content, path, dict)
    image_ids: dict[str, str] = {}
    for child in document["manifests"] if isinstance(document.get("manifests"), list) else []:
        image_ids.update(reached(content, field(child, "digest", str, path), images, depth + 1))
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
            image_ids[configuration] = path
    return image_ids
