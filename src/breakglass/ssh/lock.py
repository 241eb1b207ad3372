"""A lock file on a host: a command there holds it for as long as we keep its lifeline alive."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from breakglass.age import age_in_words
from breakglass.errors import AGAIN, RUN_AGAIN, Busy, Refused, Unreachable, look_first, then
from breakglass.plan import Lock, Run, script
from breakglass.ports import Result
from breakglass.shape import NATURAL, fits, parse_json
from breakglass.ssh.command import TICK_SECONDS, Command
from breakglass.ssh.frame import Frame
from breakglass.ssh.wire import BEAT_SECONDS, wire
from breakglass.text import printable

if TYPE_CHECKING:
    import paramiko

LOCK_SECONDS = 30.0
RELEASE_SECONDS = 5.0
ABSENCE_SECONDS = 60.0 - 2 * BEAT_SECONDS
"""The host releases a lock after 60 seconds without a heartbeat. The last heartbeat may be one beat
old when this process stops, and the next may need as long to arrive.
"""
EXIT_HELD_BY_ANOTHER = 7


def time_since_boot() -> float:
    """Seconds on a clock that goes on while the machine sleeps, as time.monotonic does not."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class LockCommand:
    """The command that takes the lock file, and holds it until its standard input ends."""

    def __init__(self, step: Lock, channel: "paramiko.Channel", frame: Frame | None = None) -> None:
        argv = script("lock", step.path, step.holder)
        self.run = Run(step.host, (argv,), LOCK_SECONDS)
        self.command = Command(
            channel, quiet_seconds=LOCK_SECONDS, deliver=self._deliver, frame=frame
        )
        self._answer = bytearray()
        self._answered = threading.Event()
        """A whole line has come."""

    def takes_lock(self) -> bool:
        """Start it, and wait until it holds the lock or has ended without it."""
        ended = not self.command.start(wire(self.run.pipeline, sudo=self.run.host.sudo))
        while not ended and not (self._answered.is_set() and self._answer.startswith(b"held\n")):
            ended = self.command.wait(0.05)
        # From now on it has nothing to print.
        self.command.paused = not ended
        return not ended

    @property
    def answer(self) -> bytes:
        """What it has printed."""
        return bytes(self._answer)

    def _deliver(self, data: bytes) -> None:
        self._answer.extend(data)
        if b"\n" in self._answer:
            self._answered.set()


def not_taken(step: Lock, result: Result, answer: bytes) -> Busy | Refused | Unreachable:
    """Why a lock was not taken, from the result of the command and what it printed."""
    if result.exit_status is None:
        return Unreachable(
            f"the lock {step.path} on {step.host} was not taken: {result.lost}",
            next_step=RUN_AGAIN,
        )
    if result.exit_status == EXIT_HELD_BY_ANOTHER:
        return _held_by_another(step, answer)
    reason = printable(result.stderr).strip().replace("\n", "; ") or f"exit {result.exit_status}"
    directory = step.path.rpartition("/")[0]
    look = step.host.by_hand("ls", "-la", directory)
    room = step.host.by_hand("df", "-h", directory)
    return Refused(
        f"the lock {step.path} on {step.host} can not be made: {reason}",
        next_step=look_first(look, room),
    )


def _held_by_another(step: Lock, answer: bytes) -> Busy:
    holder = "by another program"
    try:
        record = parse_json(answer)
    except ValueError:
        record = None
    if fits(record, {"holder": str, "age_seconds": NATURAL}):
        holder = f"by {printable(record['holder'])} for {age_in_words(record['age_seconds'])}"
    return Busy(
        f"{step.host} is busy: {step.path} is held {holder}",
        next_step=then(
            AGAIN,
            advice="wait for it; a holder that has gone silent loses the lock within 60 s",
        ),
    )


class HeldLock:
    """A lock that we hold. A thread keeps its lifeline alive."""

    def __init__(self, command: Command, clock: Callable[[], float] = time_since_boot) -> None:
        self._command = command
        self._clock = clock
        self._ended = threading.Event()
        self._releasing = threading.Event()
        self._was_absent = False
        self._present_at = clock()
        threading.Thread(target=self._keep_alive, name="lock", daemon=True).start()

    def lost(self) -> bool:
        self._note_presence()
        return self._was_absent or self._ended.is_set() or self._command.channel.closed

    def release(self) -> None:
        """Release the lock, and wait until the command on the host has ended."""
        self._releasing.set()
        self._command.end_input()
        self._ended.wait(RELEASE_SECONDS)

    def _keep_alive(self) -> None:
        while not self._command.wait(0.02 if self._releasing.is_set() else TICK_SECONDS):
            self._note_presence()
        self._ended.set()

    def _note_presence(self) -> None:
        """A machine that slept, or a process that was stopped, has sent no heartbeat. The host's
        message that the lock has ended may come later than the next step.
        """
        now = self._clock()
        # Never taken back: `lost` and the thread may both be first after a sleep.
        self._was_absent = self._was_absent or now - self._present_at > ABSENCE_SECONDS
        self._present_at = now
