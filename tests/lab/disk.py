"""The disks of a host: tmpfs of bounded, changeable size for its root and its data, and the files
laid down before the first boot.
"""

import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .which import own

DISKS = Path(f"/dev/shm/{own('breakglass-lab')}")
SIZES_MEGABYTES = {"system": 8192, "data": 12288}


@dataclass(frozen=True)
class Disk:
    """Two file systems of one host: `system` (its root, /opt, /var/breakglass ...) and `data`
    (/var/lib/docker, /var/lib/containerd ...).
    """

    host: str

    @property
    def system(self) -> Path:
        return DISKS / self.host / "system"

    @property
    def data(self) -> Path:
        return DISKS / self.host / "data"

    @property
    def upper(self) -> Path:
        return self.system / "upper"

    def make(self) -> None:
        """Mount both, empty."""
        for which, directory in (("system", self.system), ("data", self.data)):
            directory.mkdir(parents=True, mode=0o755)
            subprocess.run(
                [
                    "mount",
                    "-t",
                    "tmpfs",
                    "-o",
                    f"mode=755,size={SIZES_MEGABYTES[which]}m",
                    f"lab-{self.host}",
                    str(directory),
                ],
                check=True,
            )
        for name in ("upper", "work", "root"):
            (self.system / name).mkdir(mode=0o755)

    def resize(self, which: str, *, free_megabytes: int | None) -> None:
        """Leave free_megabytes on `system` or `data`, counted from what is in use now; None gives
        back the whole size.
        """
        directory = {"system": self.system, "data": self.data}[which]
        size = SIZES_MEGABYTES[which] * 1024
        if free_megabytes is not None:
            fs = os.statvfs(directory)
            size = (fs.f_blocks - fs.f_bfree) * fs.f_frsize // 1024 + max(free_megabytes * 1024, 4)
        subprocess.run(["mount", "-o", f"remount,size={size}k", str(directory)], check=True)

    def write(self, path: str, content: str | bytes, *, mode: int = 0o644, owner: int = 0) -> None:
        """Lay down a file before the first boot; its directories look as on the machine."""
        target = self.directory(str(Path(path).parent)) / Path(path).name
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)
        os.chown(target, owner, owner)

    def directory(
        self, path: str, *, mode: int = 0o755, owner: int = 0, empty: bool = False
    ) -> Path:
        """Lay down a directory; `empty` hides what the machine has in it."""
        target = self.upper / path.strip("/")
        for level in [*reversed(target.parents), target]:
            if level.exists() or not level.is_relative_to(self.upper):
                continue
            level.mkdir()
            below = Path("/") / level.relative_to(self.upper)
            facts = below.stat() if below.is_dir() and level != target else None
            level.chmod(stat.S_IMODE(facts.st_mode) if facts else mode)
            os.chown(level, facts.st_uid if facts else owner, facts.st_gid if facts else owner)
        if empty:
            os.setxattr(target, "trusted.overlay.opaque", b"y")
        return target

    def link(self, path: str, points_at: str) -> None:
        """Lay down a symbolic link."""
        (self.directory(str(Path(path).parent)) / Path(path).name).symlink_to(points_at)

    def absent(self, path: str) -> None:
        """Hide a file of the machine."""
        os.mknod(self.directory(str(Path(path).parent)) / Path(path).name, stat.S_IFCHR | 0o600, 0)


def discard() -> list[str]:
    """Unmount and remove all disks; returns what could not be removed."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted(
        (point for point in mounted if point.startswith(f"{DISKS}/")), reverse=True
    ):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
    shutil.rmtree(DISKS, ignore_errors=True)
    return [str(DISKS)] if DISKS.exists() else []
