"""A node's containerd as its kubelet talks to it: through the CRI, asked from outside over the
node's socket.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cri_api.channel import Channel
from cri_api.exceptions import ImageServiceException
from cri_api.images import Images

from .host import Host
from .roles import CONTAINERD_SOCKET


class PullFailed(Exception):
    """What kubelet would write into the pod's ErrImagePull."""


@dataclass(frozen=True)
class CriImage:
    """One image as kubelet sees it: its image ID, every tag it goes by, and whether image garbage
    collection leaves it alone.
    """

    image_id: str
    names: tuple[str, ...]
    pinned: bool


@dataclass(frozen=True)
class Cri:
    """The image service of one node."""

    node: Host

    def images(self) -> list[CriImage]:
        with self._service() as service:
            return [
                CriImage(
                    str(image["id"]),
                    tuple(image.get("repoTags", ())),
                    bool(image.get("pinned", False)),
                )
                for image in service.list_images()
            ]

    def image(self, name: str) -> CriImage | None:
        """The image of this name, None where the node lacks it: what kubelet asks before a pod with
        IfNotPresent.
        """
        return next((image for image in self.images() if name in image.names), None)

    def pinned(self, image_id: str) -> bool:
        """Whether the image is marked as pinned for kubelet; AssertionError where the node does not
        have it.
        """
        found = [image.pinned for image in self.images() if image.image_id == image_id]
        assert len(found) == 1, f"{self.node.name} lists {image_id} {len(found)} times"
        return found[0]

    def pull(self, name: str) -> str:
        """Pull as for a pod with Always; the image ID that the name means afterwards. PullFailed
        with containerd's words.
        """
        with self._service() as service:
            try:
                service.pull_image(name)
            except ImageServiceException as error:
                raise PullFailed(str(error)) from error
        found = self.image(name)
        assert found, f"{name}: pulled, and not there"
        return found.image_id

    @contextmanager
    def _service(self) -> Iterator[Images]:
        channel = Channel(f"unix://{self.node.path(CONTAINERD_SOCKET)}")
        try:
            yield Images(channel)
        finally:
            channel.channel.close()
