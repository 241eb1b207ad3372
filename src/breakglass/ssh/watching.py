"""Watches how far a command has read its file, and ends a command that nobody needs any more."""

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from breakglass.errors import Unreachable
from breakglass.plan import Run, script
from breakglass.ports import Progress
from breakglass.ssh.command import Command
from breakglass.ssh.wire import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    import paramiko

WATCH_SECONDS = 15.0
END_SECONDS = 3.0
WATCHED_END_SECONDS = 20.0
"""A watched import unpacks its archive after it has read it to the end."""


def start_watch(
    step: Run,
    command: Command,
    progress: Progress,
    open_channel: "Callable[[], paramiko.Channel]",
) -> Command | None:
    """Start a second command that reports how far `command` has read the file `step.watch`. None if
    there is no such file, or the watch does not start: that is no failure of the step.
    """
    if step.watch is None:
        return None
    last = -1

    def moved(position: int) -> None:
        nonlocal last
        # A position that stands still is no sign of life.
        if position != last:
            last = position
            command.touch()
            progress(position)

    with suppress(Unreachable):
        watch = Command(open_channel(), quiet_seconds=WATCH_SECONDS, progress=moved)
        watch.paused = True
        argv = script("watch", step.watch)
        if watch.start(wire((argv,), sudo=step.host.sudo)):
            return watch
        watch.channel.close()
    return None


def ends_in_time(step: Run, command: Command, watch: Command | None) -> bool:
    """Close standard input, which is the lifeline of a script, and wait for the command to end. If
    it does not, it is not known what it leaves behind. A signal may have come before the command
    had its input, or its watch.
    """
    for each in (command, watch):
        if each is not None:
            each.end_input()
    deadline = time.monotonic() + (END_SECONDS if step.watch is None else WATCHED_END_SECONDS)
    while not command.wait():
        if time.monotonic() > deadline:
            return False
    return True
