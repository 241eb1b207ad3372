"""The script `pulled`: what kubelet remembers of images that it has pulled itself; changes nothing.

A kubelet with KubeletEnsureSecretPulledImages keeps a file for each image ID and for each pull
under way. The file is called by the sha256 of what it is about (kubelet,
images/pullmanager/fs_pullrecords.go).
"""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path
from typing import Any

from breakglass.remote.arguments import matching, parser_for
from breakglass.remote.faults import run_command
from breakglass.remote.running import option, path_option, processes_of

DIRECTORY = "/var/lib/kubelet"
MOST_BYTES = 1 << 20


def main(argv: list[str], _lifeline: int | None) -> int:
    """Returns the exit code."""
    return run_command(lambda: read(parse(argv)))


def parse(argv: list[str]) -> argparse.Namespace:
    """Raises Fault."""
    parser = parser_for("pulled", "What kubelet remembers of images that it has pulled itself.")
    parser.add_argument(
        "--directory",
        type=matching("/.*", "an absolute path"),
        help=f"of kubelet; default: what the running kubelet was started with, else {DIRECTORY}",
    )
    parser.add_argument(
        "--image-id",
        action="append",
        default=[],
        type=matching("sha256:[0-9a-f]{64}", "an image ID"),
    )
    parser.add_argument("--name", action="append", default=[], help="as in a pod's image")
    return parser.parse_args(argv)


def read(arguments: argparse.Namespace) -> dict[str, Any]:
    kubelet = next(iter(processes_of("kubelet")), None)
    running = path_option(kubelet, "--root-dir") if kubelet and not arguments.directory else ""
    directory = Path(arguments.directory or running or DIRECTORY)
    file = path_option(kubelet, "--config") if kubelet and not arguments.directory else ""
    configuration = text_of(Path(file or directory / "config.yaml"))
    gates = option(kubelet, "--feature-gates") if kubelet else ""
    kept = directory / "image_manager"
    return {
        "directory": str(kept),
        "is_kept": (kept / "pulled").is_dir(),
        "policy": value_of("imagePullCredentialsVerificationPolicy", configuration["text"] or ""),
        "gate": value_of(
            "KubeletEnsureSecretPulledImages", f"{configuration['text'] or ''}\n{gates}"
        ),
        "pulled": {each: record(kept / "pulled", each) for each in arguments.image_id},
        "pulling": {each: record(kept / "pulling", each) for each in arguments.name},
    }


def record(directory: Path, key: str) -> dict[str, str | None]:
    return text_of(directory / f"sha256-{hashlib.sha256(key.encode()).hexdigest()}")


def text_of(file: Path) -> dict[str, str | None]:
    """The file's text, None if there is none; and why it could not be read."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            return {"text": None, "fault": "it is too large"}
        return {"text": content.decode("utf-8"), "fault": None}
    except (FileNotFoundError, NotADirectoryError):
        return {"text": None, "fault": None}
    except OSError as error:
        return {"text": None, "fault": error.strerror}
    except UnicodeDecodeError:
        return {"text": None, "fault": "it is not UTF-8"}


def value_of(key: str, text: str) -> str:
    """The last value of a key in YAML, JSON or a list of feature gates, comments left out."""
    pattern = rf"^[^#\n]*\b{key}[\"']?\s*[:=]\s*[\"']?(\w+)"
    return "".join(re.findall(pattern, text, re.MULTILINE)[-1:])
