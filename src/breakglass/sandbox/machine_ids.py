"""Boot IDs and machine-ids: each host of the sandbox has its own, and its Node object the same."""

import os
import uuid
from pathlib import Path

BOOT_ID, MACHINE_ID = "/proc/sys/kernel/random/boot_id", "/etc/machine-id"


def boot_id(name: str) -> str:
    """Of the machine with this name."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"boot of {name}"))


def machine_id(name: str) -> str:
    """Of the machine with this name."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, f"machine {name}").hex


def own_files(root: Path) -> tuple[tuple[bytes, bytes], ...]:
    """(this machine's file, the file of the host with this root)."""
    return tuple(
        (os.fsencode(path), os.fsencode(_own(root, path))) for path in (BOOT_ID, MACHINE_ID)
    )


def write(root: Path, *, boot: str, machine: str) -> None:
    """Write the files of the host with this root."""
    for path, text in ((BOOT_ID, boot), (MACHINE_ID, machine)):
        file = _own(root, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="ascii")


def _own(root: Path, path: str) -> Path:
    # Not in the host's etc: what commands may change there is another matter.
    return root / "machine" / path.rpartition("/")[2]
