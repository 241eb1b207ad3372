"""`ctr images pull --plain-http NAME`: manifests and layers as the registry has them, unpacked."""

import json
import sys
from typing import Any

from breakglass.sandbox.standins import ctr_store as store
from breakglass.sandbox.standins.ctr_import import unpack_image
from breakglass.sandbox.standins.docker_pull import (
    REFERENCE,
    fitting_child,
    get_blob,
    manifest_bytes,
)
from breakglass.sandbox.standins.state import options, sha256, unknown, write

Descriptor = dict[str, Any]


def pull_image(namespace: str, argv: list[str]) -> int:
    snapshotter, argv = store.take_snapshotter(argv)
    is_plain, names = options(argv, {"--plain-http"})
    match = REFERENCE.fullmatch(names[0]) if len(names) == 1 else None
    if not (is_plain and match and match["tag"]):
        return unknown("ctr", " ".join(argv))
    reference, place = names[0], (match["registry"], match["name"])
    with store.changing(namespace) as state:
        target = _manifest(state, place, match["tag"], reference)
        configuration = store.configuration(target)
        unpack_image(state, target, configuration["rootfs"]["diff_ids"], snapshotter)
        state["images"][reference] = target | {"labels": {}}
    sys.stdout.write(f"unpacking {target['digest']}\ndone\n")
    return 0


def _manifest(
    state: dict[str, Any], place: tuple[str, str], wanted: str, reference: str
) -> Descriptor:
    """Put a manifest and what it leads to into the store; of an index the fitting child only."""
    content = manifest_bytes(*place, wanted, reference=reference)
    digest, document = sha256(content), json.loads(content)
    if "manifests" in document:
        parts = [_manifest(state, place, fitting_child(document), reference)["digest"]]
    else:
        parts = [part["digest"] for part in (document["config"], *document["layers"])]
        for part in parts:
            _put(state, part, get_blob(*place, part), [])
    _put(state, digest, content, parts)
    return {"type": document["mediaType"], "digest": digest, "size": len(content)}


def _put(state: dict[str, Any], digest: str, content: bytes, leads_to: list[str]) -> None:
    if not store.blob(digest).exists():
        write(store.blob(digest), content)
    state["content"].setdefault(digest, leads_to)
