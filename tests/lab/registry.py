"""A registry's storage, read and changed from outside: images put in without a push, manifests and
blobs lost as on 2026-04-19.
"""

import contextlib
import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import pki
from .disk import Disk
from .host import Host

CONFIGURATION = "/etc/lab/registry.yml"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
USER, PASSWORD = "ci", "lab-password"
PASSWORD_BCRYPT = "$2b$05$abcdefghijklmnopqrstuuL/Ej5MNdcjasz4Sr7bjTMIxZn.WGpgG"
INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Registry:
    """One repository of one docker-registry; what is done to its files is seen by the next
    request.
    """

    host: Host
    reference: str  # the repository with the registry's name in front, as pods name it

    @property
    def storage(self) -> Path:
        return Disk(self.host.name).data / "var-lib-registry" / "docker/registry/v2"

    @property
    def repository(self) -> Path:
        return self.storage / "repositories" / self.reference.partition("/")[2]

    def tags(self) -> list[str]:
        directory = self.repository / "_manifests/tags"
        return sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []

    def digest(self, tag: str) -> str:
        """Digest of what a tag means; KeyError if there is no such tag."""
        link = self.repository / "_manifests/tags" / tag / "current/link"
        if not link.exists():
            raise KeyError(f"{self.reference}:{tag}")
        return link.read_text()

    def manifest(self, digest: str) -> Any:
        return json.loads(self.blob(digest).read_bytes())

    def blob(self, digest: str) -> Path:
        """The file that holds a blob or a manifest."""
        hexadecimal = digest.removeprefix("sha256:")
        return self.storage / "blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"

    def put_blob(self, content: bytes | Path) -> str:
        """Store a configuration or a layer; a Path is a file named by its digest."""
        digest = digest_of(content) if isinstance(content, bytes) else "sha256:" + content.name
        target = self.blob(digest)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                target.write_bytes(content)
            else:
                shutil.copyfile(content, target)
        write_link(self.repository / "_layers/sha256" / target.parent.name, digest)
        return digest

    def put_manifest(self, content: bytes, *tags: str) -> str:
        """Store a manifest or an index, tagged."""
        digest = digest_of(content)
        target = self.blob(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        write_link(self.repository / "_manifests/revisions/sha256" / target.parent.name, digest)
        for tag in tags:
            directory = self.repository / "_manifests/tags" / tag
            write_link(directory / "index/sha256" / target.parent.name, digest)
            write_link(directory / "current", digest)
        return digest

    def put_index(self, *tags: str, children: Mapping[str, str]) -> str:
        """Store an image index of manifests that are there; children maps architecture to
        digest.
        """
        listed = [
            {
                "mediaType": MANIFEST,
                "size": self.blob(digest).stat().st_size,
                "digest": digest,
                "platform": {"architecture": architecture, "os": "linux"},
            }
            for architecture, digest in children.items()
        ]
        return self.put_manifest(
            json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode(),
            *tags,
        )

    def delete_manifest(self, digest: str) -> None:
        """Let a manifest answer 404; an index that names it stays."""
        shutil.rmtree(
            self.repository / "_manifests/revisions/sha256" / digest.removeprefix("sha256:")
        )

    def untag(self, tag: str) -> None:
        shutil.rmtree(self.repository / "_manifests/tags" / tag)

    def empty(self) -> None:
        """Forget everything."""
        shutil.rmtree(self.storage, ignore_errors=True)

    def refuse(self, *, on: bool) -> None:
        """Let every request without USER and PASSWORD end with 401, or end that; restarts the
        registry.
        """
        configuration = json.loads(self.host.read(CONFIGURATION))
        configuration.pop("auth", None)
        if on:
            self.host.write("/etc/lab/htpasswd", f"{USER}:{PASSWORD_BCRYPT}\n")
            configuration["auth"] = {"htpasswd": {"realm": "lab", "path": "/etc/lab/htpasswd"}}
        self._configure(configuration)

    @contextlib.contextmanager
    def remembering(self) -> Iterator[None]:
        """The registry answers HEAD from its memory, as most are configured; it is restarted
        before and after.
        """
        before = json.loads(self.host.read(CONFIGURATION))
        storage = before["storage"] | {"cache": {"blobdescriptor": "inmemory"}}
        self._configure(before | {"storage": storage})
        try:
            yield
        finally:
            self._configure(before)

    @contextlib.contextmanager
    def token_service(self) -> Iterator[None]:
        """Every request without a token ends with 401; who logs in as USER gets one from a service
        beside the registry.
        """
        port, name = 5001, self.reference.partition("/")[0].partition(":")[0]
        key = ("/etc/lab/registry.crt", "/etc/lab/registry.key")
        before = json.loads(self.host.read(CONFIGURATION))
        self.host.write("/etc/lab/tokens.crt", pki.text("ca.crt"))
        self.host.write("/run/lab/tokens.py", Path(__file__).with_name("tokens.py").read_text())
        service = self.host.popen(
            "/usr/bin/python3",
            "/run/lab/tokens.py",
            str(port),
            *key,
            USER,
            PASSWORD,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            realm = {
                "realm": f"https://{name}:{port}/token",
                "service": "lab",
                "issuer": "lab",
                "rootcertbundle": "/etc/lab/tokens.crt",
            }
            self._configure(before | {"auth": {"token": realm}})
            while port not in self.host.listening():
                assert service.poll() is None, "the token service has ended"
                time.sleep(0.02)
            yield
        finally:
            service.kill()
            service.wait()
            self._configure(before)

    def _configure(self, configuration: dict[str, Any]) -> None:
        file = self.host.path(CONFIGURATION)
        if json.dumps(configuration) != file.read_text():
            file.write_text(json.dumps(configuration))
            self.host.stop("registry")
            self.host.start("registry")


def write_link(directory: Path, digest: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "link").write_text(digest)
