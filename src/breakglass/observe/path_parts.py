"""The parts of a path on a host, as the kernel walks it: each directory and each symbolic link,
with its owner and mode.
"""

import re
from dataclasses import dataclass

# One line for each part. stat(1) of GNU and of busybox; %f is the mode as lstat(2) gives it, in
# hex. It stops at the first part that is missing or cannot be looked at.
WALK = """
walk() {
  at= rest=$1 links=0
  echo "walk $1"
  stat -c 'at %u %g %f %n' /
  while [ -n "$rest" ]; do
    part=${rest%%/*}
    case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
    case $part in ''|.) continue ;; ..) at=${at%/*}; continue ;; esac
    stat -c 'at %u %g %f %n' "$at/$part" 2>/dev/null || return 0
    if [ -h "$at/$part" ]; then
      links=$((links + 1))
      [ "$links" -le 40 ] || return 0
      to=$(readlink "$at/$part") || return 0
      rest=$to/$rest
      case $to in /*) at= ;; esac
    else at=$at/$part; fi
  done
}
"""
_PART = re.compile(r"at ([0-9]{1,10}) ([0-9]{1,10}) ([0-9a-f]{1,8}) (/.*)")


@dataclass(frozen=True)
class PathPart:
    path: str
    user: int
    """The ID of its owner."""
    group: int
    mode: int
    """Type and permissions, as `stat.S_ISLNK` and `stat.S_IMODE` take them."""


def parse_walks(lines: list[str]) -> tuple[tuple[PathPart, ...], ...]:
    """One for each line `walk DIRECTORY`, with the parts that follow it."""
    walks: list[list[PathPart]] = []
    for line in lines:
        if line.startswith("walk "):
            walks.append([])
        elif walks and (part := _PART.fullmatch(line)):
            walks[-1].append(PathPart(part[4], int(part[1]), int(part[2]), int(part[3], 16)))
    return tuple(map(tuple, walks))


def parse_users(lines: list[str]) -> frozenset[int]:
    """The IDs behind `users `."""
    return frozenset(
        int(each)
        for line in lines
        if re.fullmatch("users [0-9]{1,10} ?([0-9]{1,10})?", line)
        for each in line.split()[1:]
    )
