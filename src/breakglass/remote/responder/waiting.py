"""How long is waited for a process or a port."""

from __future__ import annotations

import time
from collections.abc import Iterator

START_SECONDS, STOP_SECONDS = 10.0, 3.0


def ticks(seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
