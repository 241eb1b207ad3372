"""Who may write the configuration. Whoever writes it decides what runs as root on every host.

The file and its directory have to belong to the user or to root, and nobody else may write to them.
The directories above are not judged: who may rename them can put another directory there, but it
would have to be the user's or root's, with such a file in it.
"""

import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from breakglass.errors import AGAIN, Next, Usage, look_first, then

CONFIGURATION = "configuration"
OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Owned:
    """What decides about a file or a directory."""

    path: Path
    owner: int
    mode: int

    @property
    def kind(self) -> str:
        return "directory" if stat.S_ISDIR(self.mode) else "file"


def owned(path: Path, status: os.stat_result) -> Owned:
    return Owned(path, status.st_uid, status.st_mode)


def check_file(path: Path, status: os.stat_result, *, what: str = CONFIGURATION) -> None:
    """`status`: of the file that was opened. Its directory, and where the name is a link that of
    the file too, may have the sticky bit: then others cannot replace the file. Raises Usage.
    """
    real = Path(os.path.realpath(path))
    _check(path, owned(path, status), sticky_is_enough=False, what=what)
    for directory in dict.fromkeys((path.absolute().parent, real.parent)):
        check_directory(path, directory, sticky_is_enough=True, what=what)


def check_directory(
    path: Path, directory: Path, *, sticky_is_enough: bool, what: str = CONFIGURATION
) -> None:
    """The directory that a configuration lies in. Raises Usage."""
    try:
        status = directory.stat()
    except OSError as error:
        raise Usage(
            f"the directory of the {what} {path} cannot be looked at: {error.strerror}",
            next_step=look_first(f"ls -ld {shlex.quote(str(directory))}"),
        ) from error
    _check(path, owned(directory, status), sticky_is_enough=sticky_is_enough, what=what)


def fault(found: Owned, *, user: int, sticky_is_enough: bool) -> str:
    """Why the file or directory is not trusted; empty: it is."""
    if found.owner not in (user, 0):
        return f"belongs to UID {found.owner}, and not to you (UID {user}) or to root"
    is_protected = sticky_is_enough and stat.S_ISDIR(found.mode) and found.mode & stat.S_ISVTX
    if found.mode & OTHERS and not is_protected:
        return f"can be written by others (mode {stat.S_IMODE(found.mode):04o})"
    return ""


def _check(path: Path, found: Owned, *, sticky_is_enough: bool, what: str) -> None:
    why = fault(found, user=os.geteuid(), sticky_is_enough=sticky_is_enough)
    if why:
        where = "it" if found.path == path else f"its {found.kind} {found.path}"
        raise Usage(
            f"the {what} {path} is not used: {where} {why}; whoever writes it decides what "
            f"runs as root on every host",
            next_step=_remedy(path, found, what),
        )


def _remedy(path: Path, found: Owned, what: str) -> Next:
    """A mode can be mended. A file of somebody else has to be read, and then copied."""
    if found.owner in (os.geteuid(), 0) and not found.mode & stat.S_ISVTX:
        chmod = f"chmod go-w {shlex.quote(str(found.path))}"
        return then(chmod, AGAIN, advice="if nobody else has written it")
    if what != CONFIGURATION:
        look = f"ls -l {shlex.quote(str(path))}"
        return look_first(look, advice="read it; if it is what you want, name a copy of your own")
    copy = f"install -D -m 600 {shlex.quote(str(path))} ~/.config/breakglass/config.yaml"
    own = "breakglass --config ~/.config/breakglass/config.yaml status"
    return then(copy, own, advice="read it; if it is what you want, take a copy, and name that")
