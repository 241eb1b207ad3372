"""Commands, copies and locks on other hosts, over one shared SSH connection per destination."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from breakglass import config
from breakglass.errors import RUN_AGAIN, Unreachable
from breakglass.plan import Argv, Copy, Host, Lock, Run, Sign
from breakglass.ports import Held, Progress, Result
from breakglass.signatures.sshsig import armor
from breakglass.ssh.command import Command, no_progress
from breakglass.ssh.ending import ends_in_time
from breakglass.ssh.frame import Frame
from breakglass.ssh.lock import HeldLock, LockCommand, not_taken
from breakglass.ssh.outcome import check_begun, check_result
from breakglass.ssh.pool import LOGIN_SECONDS, Pool
from breakglass.ssh.relay import Relay
from breakglass.ssh.settings import Target
from breakglass.ssh.signing import public_key, sign
from breakglass.ssh.wire import wire


class Connections:
    """What one run of breakglass does on other hosts over SSH; thread-safe."""

    def __init__(
        self,
        settings: config.Ssh,
        *,
        environ: Mapping[str, str],
        note: Callable[[str], None] = lambda _: None,
        login_seconds: float = LOGIN_SECONDS,
    ) -> None:
        """`note` gets a line about a login that takes long, from another thread."""
        self._pool = Pool(settings, environ=environ, note=note, login_seconds=login_seconds)
        self._environ = environ
        self._noisy: set[str] = set()
        """Destinations whose login shell printed something around an answer."""

    def __repr__(self) -> str:
        return f"Connections({len(self._pool)} open)"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every connection. Commands that still run with a lifeline end themselves."""
        self._pool.close()

    def resolve(self, ssh: str) -> Target:
        """The host, port and login that OpenSSH would use for this destination. Raises Usage."""
        return self._pool.resolve(ssh)

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:
        """Run a command that changes nothing. Raises Unreachable, Refused as `run` does."""
        result = self._run(Run(host, pipeline, quiet_seconds), no_progress, Frame())
        if result.disconnected:
            # Part of an answer must not be read as the whole answer.
            raise Unreachable(f"{host}: {result.lost}", next_step=RUN_AGAIN, where=host.name)
        return result

    def run(self, step: Run, progress: Progress) -> Result:
        """Run a command to its end.

        Raises Unreachable if it could not be started or sudo refused it, Refused if python3 is too
        old for our script.
        """
        return self._run(step, progress, self._frame(step.host))

    def _run(self, step: Run, progress: Progress, frame: Frame | None) -> Result:
        command = Command(
            self._pool.channel(step.host),
            quiet_seconds=step.quiet_seconds,
            first_seconds=step.first_seconds,
            progress=progress,
            frame=frame,
        )
        try:
            if command.start(wire(step.pipeline, sudo=step.host.sudo, lines=step.lines)):
                while not command.wait():
                    pass
            return self._checked(step, command.result(), frame)
        except KeyboardInterrupt as interrupt:
            if not ends_in_time(step, command):
                interrupt.add_note(f"It may still go on there: {step}")
            raise
        finally:
            command.channel.close()

    def copy(self, step: Copy, progress: Progress) -> tuple[Result, Result]:
        """Stream the source's stdout into the sink's stdin, through this machine's memory. Returns
        both results. Raises as `run` does.
        """
        frames = self._frame(step.source.host), self._frame(step.sink.host)
        sink = Command(
            self._pool.channel(step.sink.host),
            quiet_seconds=step.sink.quiet_seconds,
            frame=frames[1],
        )
        try:
            relay = Relay(
                sink, self._pool.channel(step.source.host), step.source, progress, frames[0]
            )
        except BaseException:
            sink.channel.close()
            raise
        try:
            source_wire = wire(step.source.pipeline, sudo=step.source.host.sudo)
            source, received = relay.carry(
                source_wire, wire(step.sink.pipeline, sudo=step.sink.host.sudo, takes_data=True)
            )
            return (
                self._checked(step.source, source, frames[0]),
                self._checked(step.sink, received, frames[1]),
            )
        finally:
            relay.close()

    def sign(self, step: Sign, record: bytes) -> Result:
        """Sign the record and write the signature to the sink's standard input. Raises Refused if
        the key cannot be used, and as `run` does.
        """
        text = armor(sign(Path(step.key), self._environ, record)).encode()
        run, frame = step.sink, self._frame(step.sink.host)
        channel = self._pool.channel(run.host)
        command = Command(channel, quiet_seconds=run.quiet_seconds, frame=frame)
        try:
            sent = wire(run.pipeline, sudo=run.host.sudo, takes_data=True)
            if command.start(sent, takes_data=True):
                if command.write(text):
                    command.end_input()
                while not command.wait():
                    pass
            return self._checked(run, command.result(), frame)
        finally:
            command.channel.close()

    def signing_key(self, file: Path) -> bytes:
        """The public key of a key to sign with. Raises Refused if its private part is not here."""
        return public_key(file, self._environ)

    @contextmanager
    def hold(self, step: Lock) -> Iterator[Held]:
        """Hold a lock file within the context. Raises Busy with the holder and the lock's age,
        Refused if the file cannot be made, Unreachable.
        """
        frame = self._frame(step.host)
        attempt = LockCommand(step, self._pool.channel(step.host), frame)
        try:
            if not attempt.takes_lock():
                result = self._checked(attempt.run, attempt.command.result(), frame)
                raise not_taken(step, result, attempt.answer)
            lock = HeldLock(attempt.command)
            try:
                yield lock
            finally:
                lock.release()
        finally:
            attempt.command.channel.close()

    def _frame(self, host: Host) -> Frame | None:
        """Elsewhere the line that is sent is the one that a dry run shows."""
        return Frame() if host.ssh in self._noisy else None

    def _checked(self, run: Run, result: Result, frame: Frame | None) -> Result:
        target = self.resolve(run.host.ssh)
        if frame is not None:
            check_begun(run.host, result, frame, target)
            if frame.noise:
                self._noisy.add(run.host.ssh)
        return check_result(run, result, target)
