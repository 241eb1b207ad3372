"""Everything that is on disk below a directory, to be compared before and after."""

import functools
import gzip
import hashlib
import json
import os
import stat
from contextlib import suppress
from pathlib import Path

from breakglass.signatures.judgement import judge
from breakglass.signatures.sshsig import blocks

TIMELY = ("created_at", "sequence", "version", "sha256", "size_bytes")

State = dict[str, str]
"""What there is, by its name."""


def differences(here: State, there: State) -> list[str]:
    """A line for each thing that is not the same in both."""
    return [
        f"{name}: {here.get(name)} | {there.get(name)}"
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    ]


def listing(root: Path) -> State:
    """Path -> kind, mode, and the target of a link or size and sha256 of a file."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(directory) / name
            # What goes meanwhile, like the lock of a host's process whose client was killed, is not
            # there.
            with suppress(FileNotFoundError):
                found[str(path.relative_to(root))] = _describe(path)
    return found


def timeless(root: Path) -> State:
    """The listing without what differs between two runs that do the same: a record's time and
    sequence, the time of compression in a tarball, hence its hash, and the journal.
    """
    found = {
        name: text
        for name, text in listing(root).items()
        if not (name.startswith("state/") or ("/blobs/" in name and name.startswith("registries/")))
    }
    for name in [
        name for name in found if name.endswith(".tar.gz") and not (root / name).is_symlink()
    ]:
        sha256, content = _hashes((root / name).read_bytes())
        found[name] = f"tarball of {content}"
        sidecar = name.removesuffix(".tar.gz") + ".json"
        if f"{name}.sha256" in found:
            found[f"{name}.sha256"] = (
                (root / f"{name}.sha256").read_text("utf-8").replace(sha256, "its sha256")
            )
        if sidecar in found:
            record = json.loads((root / sidecar).read_bytes())
            signature = f"{sidecar}.sig"
            if signature in found:
                signatures = blocks((root / signature).read_text("utf-8"))
                judged = judge((root / sidecar).read_bytes(), signatures, None, None)
                found[signature] = f"{len(signatures)} signatures, fits: {judged.fits}"
            fits = (record["sha256"], record["size_bytes"]) == (
                sha256,
                (root / name).stat().st_size,
            )
            found[sidecar] = f"fits: {fits}; " + json.dumps(
                {key: value for key, value in record.items() if key not in TIMELY}, sort_keys=True
            )
    return found


@functools.cache
def _hashes(tarball: bytes) -> tuple[str, str]:
    """Of the file, and of what is in it."""
    return hashlib.sha256(tarball).hexdigest(), hashlib.sha256(gzip.decompress(tarball)).hexdigest()


def _describe(path: Path) -> str:
    status = path.lstat()
    mode = stat.filemode(status.st_mode)
    if path.is_symlink():
        return f"{mode} -> {path.readlink()}"
    if not path.is_file():
        return mode
    return f"{mode} {status.st_size} {hashlib.sha256(path.read_bytes()).hexdigest()}"
