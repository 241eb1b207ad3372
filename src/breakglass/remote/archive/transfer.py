"""A tarball on its way: written and hashed, while a thread checks what is in it."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from breakglass.remote.archive.stream import write_all
from breakglass.remote.archive.tar import Content, Tar, read_archive
from breakglass.remote.faults import INTEGRITY, Fault


def pump(
    source: Iterable[bytes],
    *,
    sink: int | None = None,
    checker: Checker | None = None,
    sha256: Any = None,
    done: int = 0,
    most: int | None = None,
    silent: bool = False,
) -> tuple[int, str]:
    """Writes, hashes and checks in one pass; returns size and sha256. Reports the progress at most
    twice a second, unless silent.
    """
    sha256 = hashlib.sha256() if sha256 is None else sha256
    for chunk in source if silent else reporting(source, done):
        if checker is not None:
            checker.feed(chunk)
        done += len(chunk)
        if most is not None and done > most:
            raise Fault(INTEGRITY, f"more than the expected {most} bytes arrived")
        if sink is not None:
            write_all(sink, chunk)
        sha256.update(chunk)
    return done, sha256.hexdigest()


def reporting(
    chunks: Iterable[bytes], done: int = 0, shown: Callable[[int], int] = int
) -> Iterator[bytes]:
    """The same chunks. Reports how many bytes are done, at most twice a second."""
    reported_at = 0.0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if time.monotonic() - reported_at > 0.5:
            reported_at = time.monotonic()
            with contextlib.suppress(OSError):
                print(f"@progress {shown(done)}", file=sys.stderr, flush=True)


class Checker:
    """Reads an archive's content in another thread: inflating, hashing and writing go on side
    by side.
    """

    def __init__(self, empty: Fault, *, inflates: bool = True) -> None:
        self.inflates = inflates
        self.error: BaseException | None = None
        self.content = Content({}, {}, {})
        self.empty = empty
        self.chunks: queue.Queue[bytes] = queue.Queue(4)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def feed(self, chunk: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.chunks.put(chunk)

    def finish(self) -> Content:
        self.chunks.put(b"")
        self.thread.join()
        if self.error is not None:
            raise self.error
        return self.content

    def read(self) -> None:
        chunks = iter(self.chunks.get, b"")
        try:
            read_archive(Tar(chunks, self.empty), self.content, inflates=self.inflates)
        except BaseException as error:  # raised by the thread that feeds
            self.error = error
        for _ in chunks:
            pass
