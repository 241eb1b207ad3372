"""The lifeline: a descriptor whose other end is held by the process that started the script.

It is closed, or silent, when the caller is gone.
"""

from __future__ import annotations

import os
import select

SILENCE_SECONDS = 60.0
"""The caller writes to it every 15 seconds."""


def wait_for_silence(lifeline: int, silence_seconds: float) -> None:
    """Returns when the other end is closed, or was silent for so long."""
    while select.select([lifeline], [], [], silence_seconds)[0]:
        if not os.read(lifeline, 4096):
            return
