"""Everything that is on disk below a directory, to be compared before and after."""

import hashlib
import json
import os
import stat
from pathlib import Path


State = dict[str, str]
"""What there is, by its name."""


def differences(here: State, there: State) -> list[str]:
    """A line for each thing that is not the same in both."""
    return [f"{name}: {here.get(name)} | {there.get(name)}" for name in sorted(here.keys() | there.keys()) if here.get(name) != there.get(name)]


def listing(root: Path) -> State:
    """Path -> kind, mode, and the target of a link or size and sha256 of a file."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(directory) / name
            found[str(path.relative_to(root))] = _describe(path)
    return found


def timeless(root: Path) -> State:
    """The listing without what differs between two runs that do the same: a record's time and sequence, and how old a compressed file says it is."""
    found = listing(root)
    for name in found:
        path = root / name
        if path.suffix == ".json" and path.is_file():
            document = json.loads(path.read_bytes())
            if isinstance(document, dict) and "created_at" in document:
                kept = {key: value for key, value in document.items() if key not in ("created_at", "sequence", "version")}
                found[name] = f"record {json.dumps(kept, sort_keys=True)}"
    return found


def _describe(path: Path) -> str:
    status = path.lstat()
    mode = stat.filemode(status.st_mode)
    if path.is_symlink():
        return f"{mode} -> {path.readlink()}"
    if not path.is_file():
        return mode
    return f"{mode} {status.st_size} {hashlib.sha256(path.read_bytes()).hexdigest()}"
