"""A registry with a two-platform image, and our client that looks at it."""

from dataclasses import dataclass, replace
from pathlib import Path

from breakglass.config import Registry
from breakglass.registry import Credentials, Found, ImageId, Login, image_id, look
from tests.registry_server import RegistryServer

NOBODY = Credentials()


@dataclass(frozen=True)
class Example:
    """A registry that serves a two-platform index under the tag `abc`."""

    server: RegistryServer
    amd64: str
    arm64: str
    index: str

    @property
    def settings(self) -> Registry:
        return Registry("forgejo", self.server.url, self.server.repository)

    def look(
        self,
        *,
        credentials: Credentials = NOBODY,
        seconds: float = 4.0,
        tag: str = "abc",
        platform: str | None = None,
        ca: Path | None = None,
    ) -> Found:
        return look(
            replace(self.settings, ca=ca),
            tag,
            credentials=credentials,
            deadline_seconds=seconds,
            platform=platform,
        )

    def image_id(
        self, *, tag: str = "abc", platform: str = "linux/amd64", credentials: Credentials = NOBODY
    ) -> ImageId:
        return image_id(
            f"{self.server.host}/infra-ci:{tag}",
            [self.settings],
            platform=platform,
            credentials=credentials,
            deadline_seconds=4.0,
        )

    def login(self, username: str = "ci", password: str = "s3cret:with colon") -> Credentials:
        return Credentials("auth.json", {self.server.host: Login(username, password)})


def fill(server: RegistryServer, *, layer_bytes: int = 0) -> Example:
    store = server.store
    amd64, arm64 = (
        store.add_image(architecture, layer_bytes=layer_bytes)
        for architecture in ("amd64", "arm64")
    )
    index = store.add_index(amd64, arm64)
    store.tags["abc"] = index["digest"]
    return Example(server, amd64["digest"], arm64["digest"], index["digest"])
