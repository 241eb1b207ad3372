"""Copies one host's output into another host's input, with at most the two windows in memory."""

import time
from typing import TYPE_CHECKING

from breakglass.plan import Run
from breakglass.ports import Progress, Result
from breakglass.ssh.command import Command
from breakglass.ssh.frame import Frame
from breakglass.ssh.wire import Wire

if TYPE_CHECKING:
    import paramiko

PROGRESS_SECONDS = 0.2


class Relay:
    """A source command and a sink command. If either ends early, the other is ended too."""

    def __init__(
        self,
        sink: Command,
        channel: "paramiko.Channel",
        source: Run,
        progress: Progress,
        frame: Frame | None,
    ) -> None:
        """`frame`: that of the source."""
        self._sink = sink
        self._source = Command(
            channel,
            quiet_seconds=source.quiet_seconds,
            first_seconds=source.first_seconds,
            deliver=self._pass_on,
            frame=frame,
        )
        self._progress = progress
        self._moved = 0
        self._reported_at = 0.0

    def carry(self, source_wire: Wire, sink_wire: Wire) -> tuple[Result, Result]:
        """Run both to their ends. Returns the results of source and sink."""
        source, sink = self._source, self._sink
        # Until the first byte comes, the sink can only wait for the source.
        sink.paused = True
        if not sink.start(sink_wire, takes_data=True):
            return Result(None, b"", b"", "not started, since the other end was not"), sink.result()
        if not source.start(source_wire):
            sink.stop("ended, since the source was not started")
        else:
            while not source.wait():
                if sink.wait(0):
                    source.stop("ended, since the receiving command ended first")
        sink.paused = False
        # A stream that was cut ends like a whole one: the receiving script compares sizes.
        sink.end_input()
        while not sink.wait():
            pass
        self._progress(self._moved)
        return source.result(), sink.result()

    def close(self) -> None:
        self._source.channel.close()
        self._sink.channel.close()

    def _pass_on(self, data: bytes) -> None:
        """Write a piece of the source's output to the sink, in the source's thread. Meanwhile the
        source waits for the sink, so the source's clock stands still.
        """
        self._sink.touch()
        self._source.paused, self._sink.paused = True, False
        written = self._sink.write(data)
        self._source.touch()
        self._source.paused, self._sink.paused = False, True
        if not written:
            self._source.stop("ended, since the receiving command ended first")
            return
        self._moved += len(data)
        now = time.monotonic()
        if now - self._reported_at >= PROGRESS_SECONDS:
            self._reported_at = now
            self._progress(self._moved)
