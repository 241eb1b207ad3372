"""What docker says of an image that it has: asked with `docker image inspect`."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any, NamedTuple

from breakglass.remote.archive.references import IMAGE_ID
from breakglass.remote.faults import REFUSED, Fault

SETTINGS = ("Env", "Cmd", "Entrypoint", "Labels", "User", "WorkingDir")
"""What makes two images with the same layers differ, of a configuration's `config`."""


class Docker(NamedTuple):
    program: str
    platform: str | None
    """Given where docker has the containerd image store: there an image has an ID for each
    platform.
    """

    def image_id(self, name: str) -> str:
        """Of the classic store the image ID; of the containerd store the digest of the platform's
        manifest, or of the index where this docker cannot be asked for a platform. Raises Fault.
        """
        ended = self._inspect(name, "{{.Id}}")
        image_id = ended.stdout.decode("utf-8", "replace").strip()
        if ended.returncode or not re.fullmatch(IMAGE_ID, image_id):
            raise Fault(
                REFUSED,
                (
                    f"docker does not report the image ID of {name}: "
                    f"{ended.stderr.decode('utf-8', 'replace').strip() or image_id}"
                ),
            )
        return image_id

    def description(self, name: str) -> dict[str, Any]:
        """Everything that docker says of an image; empty where it says nothing."""
        ended = self._inspect(name, "{{json .}}")
        try:
            description = json.loads(ended.stdout)
        except (ValueError, RecursionError):
            return {}
        return description if isinstance(description, dict) and not ended.returncode else {}

    def _inspect(self, name: str, template: str) -> subprocess.CompletedProcess[bytes]:
        if self.platform:
            # docker 28.0 saves by platform, and cannot inspect by platform yet.
            ended = self._run("--platform", self.platform, "--format", template, name)
            if not ended.returncode:
                return ended
        return self._run("--format", template, name)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                [self.program, "image", "inspect", *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=60,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Fault(
                REFUSED,
                (
                    f"{self.program} does not run here: "
                    f"{getattr(error, 'strerror', None) or 'it did not answer in 60 seconds'}"
                ),
            ) from error


def agrees(description: dict[str, Any], configuration: dict[str, Any], diff_ids: list[str]) -> bool:
    """Whether docker's description is that of an image with this configuration and these layers."""
    rootfs, described, own = (
        value if isinstance(value, dict) else {}
        for value in (
            description.get("RootFS"),
            description.get("Config"),
            configuration.get("config"),
        )
    )
    # docker leaves empty settings out, or writes them as null.
    return rootfs.get("Layers") == diff_ids and all(
        (described.get(key) or None) == (own.get(key) or None) for key in SETTINGS
    )
