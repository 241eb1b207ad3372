"""How things are before a fault: made by breakglass itself the first time in a session, later laid down as a copy of what it made."""

import stat
from pathlib import Path

from ..answering import NAMES, TAG
from ..estate import Estate
from ..host import Host
from ..images import Image
from ..roles import VM_DIRECTORY
from ..runs import run
from .invariants import NODE_DIRECTORY

__all__ = ["NAMES", "TAG", "fetched", "keep", "lay", "published"]

Files = dict[str, tuple[int, bytes | str]]

_kept: dict[tuple[str, ...], Files] = {}


def published(estate: Estate, *tags: str) -> dict[str, Image]:
    """A verified tarball of each tag on the VM, the first the oldest; each tag's content is its name. Both registries serve them, `latest` is the last."""
    tags = tags or (TAG,)
    images = {}
    for tag in tags:
        images[tag] = estate.small(tag, tag)
        if tags not in _kept:
            run(estate, "snapshot", "--tag", tag)
    if tags not in _kept:
        _kept[tags] = keep(estate.vm, VM_DIRECTORY)
    lay(estate.vm, VM_DIRECTORY, _kept[tags])
    return images


def fetched(estate: Estate, *nodes: str) -> Image:
    """The tarball of TAG on the VM and on these nodes."""
    image = published(estate)[TAG]
    key = ("on a node", TAG)
    if key not in _kept:
        run(estate, "fetch", nodes[0])
        _kept[key] = keep(estate.nodes[nodes[0]], NODE_DIRECTORY)
    for node in nodes:
        lay(estate.nodes[node], NODE_DIRECTORY, _kept[key])
    return image


def keep(host: Host, directory: str) -> Files:
    """A directory's links and files, their modes and contents."""
    return {path.name: (stat.S_IMODE(path.lstat().st_mode), str(path.readlink()) if path.is_symlink() else path.read_bytes()) for path in host.path(directory).iterdir()}


def lay(host: Host, directory: str, files: Files) -> None:
    """Put kept files into a directory."""
    host.path(directory).mkdir(parents=True, exist_ok=True)
    for name, (mode, content) in files.items():
        path: Path = host.path(f"{directory}/{name}")
        path.unlink(missing_ok=True)
        if isinstance(content, str):
            path.symlink_to(content)
        else:
            host.write(f"{directory}/{name}", content, mode=mode)
