"""A partial whose command fails: kept where it can be resumed, else removed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from breakglass.remote.archive.names import Names, free_bytes
from breakglass.remote.faults import DISK_IS_FULL, FAILED, NO_ROOM, Fault


class CutShort(Fault):
    """What arrived is kept: it can be resumed."""


class Interrupted(BaseException):
    """A signal came."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


@contextlib.contextmanager
def removing_on_failure(
    names: Names, *, needed: int | None = None, resumable: bool = False
) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not (resumable and isinstance(error, (CutShort, Interrupted))):
            written = names.partial.lstat().st_size if os.path.lexists(names.partial) else 0
            names.remove(*names.hidden())
            if isinstance(error, OSError) and error.errno in DISK_IS_FULL:
                free = free_bytes(names.file.parent)
                want = (
                    f"{needed} bytes are needed: {max(needed - free, 1)} are missing"
                    if needed
                    else f"more than the {written} bytes written so far are needed"
                )
                raise Fault(
                    FAILED,
                    (
                        f"no room left in {names.file.parent} for {names.file.name}: {want}; the "
                        f"partial was removed, now {free} bytes are free"
                    ),
                    mark=NO_ROOM,
                ) from error
        raise
