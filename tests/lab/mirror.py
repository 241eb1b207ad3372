"""What the owner's daily offsite job does to a directory: links, modes and times kept, what is gone
at the source goes.
"""

import os
import shutil
from pathlib import Path


def mirror(source: Path, target: Path) -> None:
    """Make target equal to source; files of the same size and time are not copied again."""
    target.mkdir(parents=True, exist_ok=True)
    wanted = {entry.name: entry for entry in source.iterdir()}
    for entry in target.iterdir():
        if entry.name not in wanted or shape(entry) != shape(wanted[entry.name]):
            remove(entry)
    for name, entry in wanted.items():
        copy = target / name
        if entry.is_dir() and not entry.is_symlink():
            mirror(entry, copy)
        elif not os.path.lexists(copy):
            shutil.copy2(entry, copy, follow_symlinks=False)
    shutil.copystat(source, target)


def shape(path: Path) -> tuple[object, ...]:
    """What two entries must have in common to be taken for the same."""
    facts = path.lstat()
    if path.is_symlink():
        return (facts.st_mode, path.readlink(), facts.st_mtime_ns)
    return (facts.st_mode,) if path.is_dir() else (facts.st_mode, facts.st_size, facts.st_mtime_ns)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
