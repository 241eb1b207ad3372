"""What this process has inherited: the size of a terminal, and how many files it may open."""

import resource
from collections.abc import MutableMapping

from breakglass.errors import Refused

WIDEST = 9999
OPEN_FILES = 256
"""Enough for every host and registry at the same time."""


def drop_impossible_sizes(environ: MutableMapping[str, str]) -> None:
    """Forget a COLUMNS or LINES that no terminal has: help would be built that wide."""
    for name in ("COLUMNS", "LINES"):
        value = environ.get(name, "1")
        is_size = value.isascii() and value.isdecimal() and len(value) <= len(str(WIDEST))
        if not is_size or int(value) == 0:
            del environ[name]


def allow_open_files() -> None:
    """Raise the limit of open files where it is low. Raises Refused where it cannot be raised: a
    registry to which no socket can be opened would look like one that is down.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        return
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < OPEN_FILES:
        raise Refused(
            f"this process may open only {wanted} files, and breakglass needs {OPEN_FILES}",
            next_step=(
                f"allow more where this process is started: ulimit -n {OPEN_FILES} as root, "
                f"LimitNOFILE={OPEN_FILES} of systemd, --ulimit nofile={OPEN_FILES} of docker"
            ),
        )
