"""Whether somebody else could change what we write on a host: the owner and the mode of our
directories and of every directory above them.

The rule is that of sshd for authorized_keys (sshd_config, StrictModes), with Debian's exception for
a user's private group.
"""

import stat
from dataclasses import dataclass

from breakglass.errors import RUN_AGAIN, Next, Refused, joined, then
from breakglass.observe.machine import Machine
from breakglass.observe.path_parts import PathPart


@dataclass(frozen=True)
class Exposed:
    """A directory, or a symbolic link in the path to one, that others may change."""

    path: str
    words: str
    remedy: Next
    """The command that makes it safe."""


def exposed(machine: Machine) -> tuple[Exposed, ...]:
    """Each part of the paths to our directories that others than root and the login may change."""
    found = (
        _judge(machine, part, is_last=part is walk[-1]) for walk in machine.walks for part in walk
    )
    return tuple(dict.fromkeys(each for each in found if each is not None))


def check(machine: Machine) -> None:
    """Raises Refused where there is one."""
    found = exposed(machine)
    if found:
        raise Refused(
            f"others may change what breakglass writes on {machine.host}: "
            + ", ".join(each.words for each in found),
            next_step=joined([*(each.remedy for each in found), RUN_AGAIN]),
        )


def _judge(machine: Machine, part: PathPart, *, is_last: bool) -> Exposed | None:
    """`is_last`: it is the directory itself, or where the missing directories will be made."""
    host, mode = machine.host, stat.S_IMODE(part.mode)
    if part.user not in machine.users:
        # Without sudo only the login itself may write there afterwards.
        owner = "root" if host.sudo or machine.users == {0} else str(max(machine.users))
        words = f"{part.path} (mode {mode:04o}) belongs to user {part.user}, not to {owner}"
        return Exposed(part.path, words, then(host.by_hand("chown", "-h", owner, part.path)))
    if stat.S_ISLNK(part.mode):  # the mode of a link means nothing
        return None
    # Group 0 is root's, and the group with the number of the login is its private one.
    is_open = mode & stat.S_IWOTH or (mode & stat.S_IWGRP and part.group not in machine.users)
    # In a sticky directory nobody can rename or remove what is not his. What comes next in the path
    # is there and is judged, so it cannot be exchanged. In the last one anybody could make files.
    if not is_open or (mode & stat.S_ISVTX and not is_last):
        return None
    owner = "root" if part.user == 0 else f"user {part.user}"
    words = f"{part.path} (mode {mode:04o}, of {owner}) is writable for others"
    return Exposed(part.path, words, then(host.by_hand("chmod", "go-w", part.path)))
