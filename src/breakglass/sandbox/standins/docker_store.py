"""The files of the docker stand-in: configurations, uncompressed layers, names of images."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from breakglass.sandbox.standins import state

ROOT = state.HOST / "var/lib/docker"


def load() -> dict[str, Any]:
    """`tags`: reference to image ID; `digests`: reference to the name it was pulled by;
    `by_digest`: NAME@DIGEST, pulled as such, to image ID.
    """
    return state.load(ROOT / "state.json", empty=_empty())


@contextmanager
def changing() -> Iterator[dict[str, Any]]:
    with state.changing(ROOT / "state.json", empty=_empty()) as names:
        yield names


def find(names: dict[str, Any], name: str) -> str | None:
    """The image ID of a reference or of an ID."""
    image_ids = names["tags"].values()
    for image_id in (name, f"sha256:{name}"):
        if image_id in image_ids:
            return image_id
    tagged: str | None = names["tags"].get(with_tag(name))
    return tagged


def with_tag(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def configuration_file(image_id: str) -> Path:
    return ROOT / "image" / f"{image_id.removeprefix('sha256:')}.json"


def layer_file(diff_id: str) -> Path:
    return ROOT / "layers" / f"{diff_id.removeprefix('sha256:')}.tar"


def _empty() -> dict[str, Any]:
    return {"tags": {}, "digests": {}, "by_digest": {}}
