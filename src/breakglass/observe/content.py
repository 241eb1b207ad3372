"""Images that a node's containerd has, and whether every blob of them is there."""

from dataclasses import dataclass

from breakglass.observe.containerd import Ctr
from breakglass.observe.program import ask_program
from breakglass.plan import Argv, Host, script
from breakglass.ports import Reads
from breakglass.shape import NATURAL
from breakglass.text import inert

VERIFY_QUIET_SECONDS = 600.0
"""A disk that is slow may take so long for its first bytes."""
_SHAPE = {
    "images": {
        str: {
            "image_id": (str, None),
            "size_bytes": NATURAL,
            "blobs": NATURAL,
            "missing": [str],
            "fault": str,
        }
    }
}


@dataclass(frozen=True)
class Content:
    """An image of a node's containerd, by the sizes of its blobs."""

    name: str
    image_id: str | None
    """None: `fault` says why it is not known."""
    size_bytes: int
    blobs: int
    missing: tuple[str, ...] = ()
    """Digests of blobs that are not there, or not whole."""
    fault: str = ""

    @property
    def is_whole(self) -> bool:
        return self.image_id is not None and not self.missing

    @property
    def why_not(self) -> str:
        """Why it is not whole; empty: it is."""
        if self.fault or self.is_whole:
            return self.fault
        return f"{len(self.missing)} of its {self.blobs} blobs are not in the content store"


def read_content(
    reads: Reads, host: Host, ctr: Ctr, *, names: tuple[str, ...], platform: str
) -> tuple[Content, ...]:
    """What containerd has of these names, in their order; a name that it lacks is left out."""
    arguments = ("content", "look", "--platform", platform, *names, "--", *ctr.line())
    images = ask_program(reads, host, arguments, _SHAPE)["images"]
    return tuple(
        Content(
            name,
            images[name].get("image_id"),
            images[name]["size_bytes"],
            images[name]["blobs"],
            tuple(images[name]["missing"]),
            inert(images[name]["fault"]),
        )
        for name in names
        if name in images
    )


def verify_line(ctr: Ctr, name: str, image_id: str, platform: str) -> Argv:
    """It reads every blob of the image, and fails where one is not what its digest says."""
    return script("content", "verify", "--platform", platform, name, image_id, "--", *ctr.line())
