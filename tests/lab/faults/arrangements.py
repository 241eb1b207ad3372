"""How things are before a fault: made by breakglass itself the first time in a session, later laid
down as a copy of what it made.
"""

import gzip
import hashlib
import json
import stat
from pathlib import Path

from ..answering import NAMES, TAG
from ..environment import Environment
from ..furniture import EXAMPLE
from ..host import Host
from ..images import Image
from ..operator_host import CONFIGURATION
from ..reset import empty
from ..roles import VM_DIRECTORY
from ..runs import run
from .invariants import NODE_DIRECTORY

__all__ = ["NAMES", "TAG", "fetched", "held", "keep", "keeping", "lay", "published", "stocked"]

Files = dict[str, tuple[int, bytes | str]]

_kept: dict[tuple[str, ...], Files] = {}


def published(environment: Environment, *tags: str) -> dict[str, Image]:
    """A verified tarball of each tag on the VM, the first the oldest; each tag's content is its
    name. Both registries serve them, `latest` is the last.
    """
    tags = tags or (TAG,)
    images = {}
    for tag in tags:
        images[tag] = environment.small(tag, tag)
        if tags not in _kept:
            run(environment, "snapshot", "--tag", tag)
    if tags not in _kept:
        _kept[tags] = keep(environment.vm, VM_DIRECTORY)
    lay(environment.vm, VM_DIRECTORY, _kept[tags])
    return images


def fetched(environment: Environment, *nodes: str) -> Image:
    """The tarball of TAG on the VM and on these nodes."""
    image = published(environment)[TAG]
    key = ("on a node", TAG)
    if key not in _kept:
        run(environment, "fetch", nodes[0])
        _kept[key] = keep(environment.nodes[nodes[0]], NODE_DIRECTORY)
    for node in nodes:
        lay(environment.nodes[node], NODE_DIRECTORY, _kept[key])
    return image


def held(environment: Environment, *nodes: str) -> Image:
    """The tarball on these nodes and the image in their containerd under every name: by the lines
    that a person would type.
    """
    image = fetched(environment, *nodes)
    loads = [
        (
            f"gzip -dc {NODE_DIRECTORY}/infra-ci-{TAG}.tar.gz | ctr -n k8s.io images import - "
            f">/dev/null"
        )
    ]
    for node in nodes:
        environment.nodes[node].run(
            "sh",
            "-ec",
            "\n".join(
                [
                    *loads,
                    *(
                        f"ctr -n k8s.io images tag --force {NAMES[0]} {name} >/dev/null"
                        for name in NAMES[1:]
                    ),
                ]
            ),
        )
    return image


def keep(host: Host, directory: str) -> Files:
    """A directory's links and files, their modes and contents."""
    return {
        path.name: (
            stat.S_IMODE(path.lstat().st_mode),
            str(path.readlink()) if path.is_symlink() else path.read_bytes(),
        )
        for path in host.path(directory).iterdir()
    }


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


def stocked(environment: Environment, *tags: str, created_at: str | None = None) -> None:
    """Verified tarballs of these tags on the VM, the first the oldest, each with a content of its
    own: made by hand of one that breakglass made. `latest` is the last.
    """
    published(environment)
    content, record = (_kept[TAG,][f"infra-ci-{TAG}.{suffix}"][1] for suffix in ("tar.gz", "json"))
    assert isinstance(content, bytes)
    files: Files = {"infra-ci-latest.tar.gz": (0o777, f"infra-ci-{tags[-1]}.tar.gz")}
    for number, tag in enumerate(tags, 1):
        longer = content + gzip.compress(
            bytes(512 * number), mtime=0
        )  # what follows an archive is zeros, as many as one likes
        sha256 = hashlib.sha256(longer).hexdigest()
        reported = (
            json.loads(record)
            | {"tag": tag, "sequence": number, "size_bytes": len(longer), "sha256": sha256}
            | ({"created_at": created_at} if created_at else {})
        )
        files[f"infra-ci-{tag}.tar.gz"] = (0o644, longer)
        files[f"infra-ci-{tag}.tar.gz.sha256"] = (
            0o644,
            f"{sha256}  infra-ci-{tag}.tar.gz\n".encode(),
        )
        files[f"infra-ci-{tag}.json"] = (
            0o644,
            json.dumps(reported, separators=(",", ":")).encode() + b"\n",
        )
    empty(environment.vm.path(VM_DIRECTORY))
    lay(environment.vm, VM_DIRECTORY, files)


def keeping(environment: Environment, tarballs: int) -> None:
    """The configuration says how many tarballs stay on the VM."""
    text = EXAMPLE.read_text()
    assert "  keep: 5" in text
    environment.operator.write(CONFIGURATION, text.replace("  keep: 5", f"  keep: {tarballs}"))


def tolerating(environment: Environment, taint: str) -> None:
    """The CI pods tolerate a taint, so a node that has it fits."""
    text = EXAMPLE.read_text()
    assert "  tolerates: []" in text
    environment.operator.write(
        CONFIGURATION, text.replace("tolerates: []", f"tolerates: [{taint}]")
    )
