"""Runs one command on one channel. Both output streams are read at once. Every byte restarts the
clock that limits how long the command may be silent.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from breakglass.ports import Progress, Result
from breakglass.quoting import join
from breakglass.ssh.frame import Frame
from breakglass.ssh.wire import BEAT_SECONDS, Stderr, Wire

if TYPE_CHECKING:
    import paramiko

KEPT_STDOUT_BYTES = 64 * 2**20
READ_BYTES = 2**20
"""The size of one read. After each read paramiko moves the rest of its buffer to the front, so many
small reads from a window of 4 MiB cost more than deciphering it.
"""
SEND_BYTES = 2**15 - 64
"""The content of one packet. Of a larger piece paramiko would copy the rest for each packet."""
ACCEPT_SECONDS = 15.0
"""The least time for a host to start a shell: a busy host may need it, however short the limit of
the command is.
"""
TICK_SECONDS = 0.25
"""How often a waiting thread checks its clock."""


def no_progress(_: int) -> None:
    """Ignore the progress of a command."""


class Command:
    """A remote command from its start to its end. `deliver` is called with its stdout, in another
    thread. Without `deliver` the result has the stdout.
    """

    def __init__(
        self,
        channel: "paramiko.Channel",
        *,
        quiet_seconds: float,
        first_seconds: float | None = None,
        progress: Progress = no_progress,
        deliver: Callable[[bytes], None] | None = None,
        frame: Frame | None = None,
    ) -> None:
        """`frame`: what the login shell prints besides is dropped."""
        self.channel, self.frame = channel, frame
        self.quiet_seconds = quiet_seconds
        self._limit_seconds = max(quiet_seconds, first_seconds or 0.0)
        """The limit in force: until the first byte it may be higher."""
        self.paused = False
        """Whether the clock stands still, since the command waits for somebody else."""
        self._deliver = deliver or self._keep
        self._stdout = bytearray()
        self._overflow = False
        self._stderr = Stderr(progress)
        self._lost = ""
        self._not_taken = False
        self._fault: BaseException | None = None
        self._heard = self._beaten = time.monotonic()
        self.has_lifeline = self._is_sent = False
        self._threads = (
            self._drainer("ssh stdout", channel.recv, self._take),
            self._drainer("ssh stderr", channel.recv_stderr, self._stderr.feed),
        )

    def start(self, wire: Wire, *, takes_data: bool = False) -> bool:
        """Send the command and its script. False if the host did not take it: see the result."""
        import paramiko

        self.has_lifeline = wire.lifeline
        self.channel.settimeout(TICK_SECONDS)
        # paramiko waits for the server's answer without a deadline.
        seconds = max(self.quiet_seconds, ACCEPT_SECONDS)
        reason = f"the host did not take the command within {seconds:g} s"
        alarm = threading.Timer(seconds, self.stop, (reason,))
        alarm.daemon = True
        alarm.start()
        try:
            self._is_sent = True
            words = wire.words if self.frame is None else self.frame.around(wire.words)
            self.channel.exec_command(join(words))
        except (paramiko.SSHException, EOFError, OSError):
            self._not_taken = True
            self.stop("the connection was lost, or the host does not let commands run")
            return False
        finally:
            alarm.cancel()
        self.touch()
        for thread in self._threads:
            thread.start()
        if wire.opening and not self.write(wire.opening):
            return True
        if not (wire.lifeline or takes_data):
            self.end_input()
        return True

    def write(self, data: bytes) -> bool:
        """Send all the data. False if the command or the connection ended before."""
        position = 0
        while position < len(data):
            try:
                sent = self.channel.send(data[position : position + SEND_BYTES])
            except TimeoutError:
                if self._lost:
                    return False
                continue
            except OSError:
                return False
            if not sent:
                return False
            position += sent
            self.touch()
        return True

    def end_input(self) -> None:
        """Close the command's standard input."""
        self.channel.shutdown_write()
        self.touch()

    def touch(self) -> None:
        """Restart the clock."""
        self._heard = time.monotonic()

    def wait(self, seconds: float = TICK_SECONDS) -> bool:
        """Whether the command has ended; waits at most this long. Also stops it when its time is
        over, and keeps its lifeline alive.
        """
        deadline = time.monotonic() + seconds
        started = [thread for thread in self._threads if thread.ident is not None]
        if not started:  # a signal came before the host had the command, or while it took it
            return not self._is_sent or self.channel.status_event.wait(seconds)
        for thread in started:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._fault is not None:
            raise self._fault
        if not any(thread.is_alive() for thread in started):
            return True
        now = time.monotonic()
        if not self.paused and now - self._heard > self._limit_seconds:
            self.stop(f"it gave no sign of life for {self._limit_seconds:g} s")
        if self.has_lifeline and now - self._beaten >= BEAT_SECONDS and self.channel.send_ready():
            self._beaten = now
            # A heartbeat is no sign of life of the command.
            heard = self._heard
            self.write(b"\n")
            self._heard = heard
        return False

    def stop(self, why: str) -> None:
        """Close the channel. The command there sees its standard input end."""
        self._lost = self._lost or why
        self.channel.close()

    def result(self) -> Result:
        """The result of the command, after it has ended."""
        from breakglass.ssh.transport import is_whole

        status = self.channel.exit_status
        stdout, stderr = bytes(self._stdout), self._stderr.text()
        ended = is_whole(self.channel)
        whole = ended and not (self.frame is not None and self.frame.is_cut)
        # sshd sends the status when the command ends, which may be before the last of its output.
        if status >= 0 and not self._overflow and (whole or self._lost):
            return Result(status, stdout, stderr, self._lost, disconnected=not whole)
        if self._overflow:
            lost = f"it printed more than {KEPT_STDOUT_BYTES // 2**20} MiB"
        elif self._lost:
            lost = self._lost
        elif not ended:
            lost = "the connection was lost"
        else:
            lost = "a signal ended it" if whole else "the end of its output is missing"
        disconnected = self._not_taken or not (whole or self._lost)
        return Result(None, stdout, stderr, lost, disconnected)

    def _take(self, data: bytes) -> None:
        """Take a piece of the output; an empty one is its end."""
        if self.frame is not None:
            self.frame.feed(data, self._deliver)
        elif data:
            self._deliver(data)

    def _keep(self, data: bytes) -> None:
        room = KEPT_STDOUT_BYTES - len(self._stdout)
        self._overflow = self._overflow or len(data) > room
        self._stdout += data[:room]

    def _drainer(
        self, name: str, receive: Callable[[int], bytes], take: Callable[[bytes], None]
    ) -> threading.Thread:
        return threading.Thread(target=self._drain, args=(receive, take), name=name, daemon=True)

    def _drain(self, receive: Callable[[int], bytes], take: Callable[[bytes], None]) -> None:
        try:
            while True:
                try:
                    data = receive(READ_BYTES)
                except TimeoutError:
                    continue
                if not data:
                    take(b"")
                    break
                self.touch()
                self._limit_seconds = self.quiet_seconds
                take(data)
            # The streams' end and the exit status are separate messages.
            while not self.channel.status_event.wait(TICK_SECONDS):
                pass
        except BaseException as error:
            self._fault = error
            self.channel.close()
