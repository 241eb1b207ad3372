"""Whether an archive has whole images, and the expected ones."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Mapping
from typing import Any

from breakglass.remote.archive.documents import field, strict, strings
from breakglass.remote.archive.images import Image, check_layers, was_inflated
from breakglass.remote.archive.index import check_index, layers_of
from breakglass.remote.archive.references import canonical
from breakglass.remote.archive.tar import Content
from breakglass.remote.faults import INTEGRITY, Fault


def judge(
    content: Content, expected: list[str], digests: Mapping[str, str] | None = None
) -> dict[str, Image]:
    """The images of an archive by their full references; raises Fault unless they are whole, and
    the expected ones. `digests`: what the record says that references mean: it proves layers that
    were not inflated.
    """
    wanted = {canonical(name): digest for name, digest in (digests or {}).items()}
    images: dict[str, Image] = {}
    if "manifest.json" not in content.documents:
        raise Fault(
            INTEGRITY,
            "the archive has no manifest.json: it was cut short, or is no archive of docker save",
        )
    for entry in strict(content, "manifest.json", list):
        for image in _images_of(content, entry):
            if images.setdefault(canonical(image.spelled), image).image_id != image.image_id:
                raise Fault(INTEGRITY, f"two images in the archive are called {image.spelled}")
    if not images or (expected and {canonical(name) for name in expected} != set(images)):
        raise Fault(
            INTEGRITY,
            (
                f"the archive names "
                f"{', '.join(sorted(image.spelled for image in images.values())) or 'no image'}; "
                f"expected was {', '.join(sorted(expected)) or 'one at least'}"
            ),
        )
    if "index.json" in content.documents or "oci-layout" in content.documents:
        images = check_index(content, images)
    for name, digest in wanted.items():
        if name not in images or images[name].digest != digest:
            raise Fault(INTEGRITY, f"{name} in the archive is not {digest}, as its record says")
    for name, image in images.items():
        _check_proof(content, image, is_recorded=name in wanted)
    return images


def _check_proof(content: Content, image: Image, *, is_recorded: bool) -> None:
    """Layers that were not inflated are proven by the manifest, which the recorded digest leads
    to.
    """
    layers = (content.members[content.links.get(path, path)] for path in image.layers)
    if all(was_inflated(layer) for layer in layers):
        return
    manifest = strict(content, image.manifest, dict) if image.manifest else {}
    if not is_recorded or image.layers != layers_of(manifest, image.manifest):
        raise Fault(
            INTEGRITY, f"the layers of {image.spelled} are not those of the recorded manifest"
        )


def _images_of(content: Content, entry: Any) -> list[Image]:
    """One image of manifest.json, under each of its references."""
    path = posixpath.normpath(field(entry, "Config", str, "manifest.json"))
    configuration = strict(content, path, dict)
    hexadecimal = hashlib.sha256(content.documents[path]).hexdigest()
    if re.search(r"(^|/)[0-9a-f]{64}(\.json)?$", path) and hexadecimal not in path:
        raise Fault(
            INTEGRITY,
            f"the configuration {path} is not what its name says: its sha256 is {hexadecimal}",
        )
    diff_ids = strings(field(configuration, "rootfs", dict, path), "diff_ids", path)
    layers = [posixpath.normpath(layer) for layer in strings(entry, "Layers", "manifest.json")]
    check_layers(content, layers, diff_ids)
    system = field(configuration, "os", str, path)
    platform = f"{system}/{field(configuration, 'architecture', str, path)}"
    references = strings(entry, "RepoTags", "manifest.json")
    if not references:
        raise Fault(
            INTEGRITY,
            f"the image {path} in the archive has no RepoTags, so an import would not name it",
        )
    image_id = f"sha256:{hexadecimal}"
    return [Image(image_id, platform, diff_ids, name, path, layers) for name in references]


def describe(
    images: dict[str, Image], references: list[str], companions: list[str]
) -> dict[str, Any]:
    """The part of a record that is read from the archive."""
    spelled = {name: image.spelled for name, image in images.items()}
    spelled.update({canonical(name): name for name in references + companions})
    mains = [canonical(name) for name in references] or sorted(images)
    if len({images[name].image_id for name in mains}) > 1:
        raise Fault(
            INTEGRITY,
            (
                f"{', '.join(spelled[name] for name in mains)} are different images; one image "
                f"is expected, and the others as --companion"
            ),
        )
    image = images[mains[0]]
    others = {
        spelled[name]: other.image_id for name, other in sorted(images.items()) if name not in mains
    }
    return {
        "references": [spelled[name] for name in mains],
        "image_id": image.image_id,
        "companions": others,
        "platform": image.platform,
    }
