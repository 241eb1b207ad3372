"""Commands, copies and locks on other hosts, over one shared SSH connection per destination."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from breakglass import config
from breakglass.errors import Unreachable
from breakglass.plan import Argv, Copy, Host, Lock, Run
from breakglass.ports import Held, Progress, Result
from breakglass.ssh import dial, settings
from breakglass.ssh.command import Command, no_progress
from breakglass.ssh.host_key import known_entries
from breakglass.ssh.identities import KEY_VARIABLE
from breakglass.ssh.lock import HeldLock, LockCommand, not_taken
from breakglass.ssh.login import Login, log_in
from breakglass.ssh.outcome import check_result
from breakglass.ssh.relay import Relay
from breakglass.ssh.settings import Target
from breakglass.ssh.watching import ends_in_time, start_watch
from breakglass.ssh.wire import wire
from breakglass.text import printable

if TYPE_CHECKING:
    import paramiko

CHANNEL_SECONDS = 15.0
MAX_JUMPS = 32
"""The limit for a configuration in which each jump host names a further one, without an end."""


class Connections:
    """Every SSH connection of one run of breakglass. Each is made on first use; thread-safe."""

    def __init__(self, settings: config.Ssh, *, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._targets: dict[tuple[str, tuple[str, ...] | None], Target] = {}
        self._transports: dict[Target, paramiko.Transport] = {}
        self._locks: dict[Target, threading.Lock] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Connections({len(self._transports)} open)"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every connection. Commands that still run with a lifeline end themselves."""
        with self._lock:
            transports, self._transports = list(self._transports.values()), {}
        # A later connection may run through an earlier one, its jump host.
        for transport in reversed(transports):
            transport.close()

    def resolve(self, ssh: str) -> Target:
        """The host, port and login that OpenSSH would use for this destination. Raises Usage."""
        return self._resolve(ssh, None)

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:
        """Run a command that changes nothing. Raises Unreachable, Refused as `run` does."""
        result = self.run(Run(host, pipeline, quiet_seconds), no_progress)
        if result.disconnected:
            # Part of an answer must not be read as the whole answer.
            raise Unreachable(
                f"{host}: {result.lost}", next_step="run the same command again", where=host.name
            )
        return result

    def run(self, step: Run, progress: Progress) -> Result:
        """Run a command to its end.

        Raises Unreachable if it could not be started or sudo refused it, Refused if python3 is too
        old for our script.
        """
        command = Command(
            self._channel(step.host),
            quiet_seconds=step.quiet_seconds,
            first_seconds=step.first_seconds,
            progress=progress,
        )
        watch: Command | None = None
        try:
            watch = start_watch(step, command, progress, lambda: self._channel(step.host))
            if command.start(wire(step.pipeline, sudo=step.host.sudo)):
                while not command.wait():
                    if watch is not None:
                        watch.wait(0)
            return self._checked(step, command.result())
        except KeyboardInterrupt as interrupt:
            if not ends_in_time(command, watch):
                interrupt.add_note(f"It may still go on there: {step}")
            raise
        finally:
            command.channel.close()
            if watch is not None:
                watch.channel.close()

    def copy(self, step: Copy, progress: Progress) -> tuple[Result, Result]:
        """Stream the source's stdout into the sink's stdin, through this machine's memory. Returns
        both results. Raises as `run` does.
        """
        sink = Command(self._channel(step.sink.host), quiet_seconds=step.sink.quiet_seconds)
        try:
            relay = Relay(
                sink,
                self._channel(step.source.host),
                quiet_seconds=step.source.quiet_seconds,
                first_seconds=step.source.first_seconds,
                progress=progress,
            )
        except BaseException:
            sink.channel.close()
            raise
        try:
            source_wire = wire(step.source.pipeline, sudo=step.source.host.sudo)
            source, received = relay.carry(
                source_wire, wire(step.sink.pipeline, sudo=step.sink.host.sudo, takes_data=True)
            )
            return self._checked(step.source, source), self._checked(step.sink, received)
        finally:
            relay.close()

    @contextmanager
    def hold(self, step: Lock) -> Iterator[Held]:
        """Hold a lock file within the context. Raises Busy with the holder and the lock's age,
        Refused if the file cannot be made, Unreachable.
        """
        attempt = LockCommand(step, self._channel(step.host))
        try:
            if not attempt.takes_lock():
                result = self._checked(attempt.run, attempt.command.result())
                raise not_taken(step, result, attempt.answer)
            lock = HeldLock(attempt.command)
            try:
                yield lock
            finally:
                lock.release()
        finally:
            attempt.command.channel.close()

    def _checked(self, run: Run, result: Result) -> Result:
        return check_result(run, result, self.resolve(run.host.ssh))

    def _channel(self, host: Host) -> "paramiko.Channel":
        import paramiko

        target = self.resolve(host.ssh)
        self._check_jumps(target, host.name)
        for attempt in (1, 2):
            transport, fresh = self._transport(target, host.name)
            try:
                return transport.open_session(timeout=CHANNEL_SECONDS)
            except (paramiko.SSHException, EOFError, OSError) as error:
                # A connection that was used before may have been lost since. Then try a new one.
                if fresh or transport.is_active() or attempt == 2:
                    reason = printable(str(error)) or "the connection was lost"
                    raise Unreachable(
                        f"{host} logged us in but opens no session ({reason})", where=host.name
                    ) from error
        raise AssertionError("unreachable")

    def _check_jumps(self, target: Target, shown: str) -> None:
        """Raise Unreachable if the jump hosts lead in a circle, or never end."""
        # Before any connection is made: a connection holds its lock while the connection to its
        # jump host takes another one. Two threads that enter a circle at different hosts would wait
        # for each other.
        passed = [target]
        while target.jumps:
            target = self._gate(target)
            if any(
                (step.typed, step.login, step.port) == (target.typed, target.login, target.port)
                for step in passed
            ):
                raise Unreachable(
                    f"{shown}: the jump hosts of the SSH configuration lead in a circle, through "
                    f"{target.typed}",
                    where=shown,
                )
            passed.append(target)
            if len(passed) > MAX_JUMPS:
                raise Unreachable(
                    f"{shown}: the SSH configuration names more than {MAX_JUMPS} jump hosts",
                    where=shown,
                )

    def _gate(self, target: Target) -> Target:
        """The last jump host before a target."""
        *before, last = target.jumps
        return self._resolve(last, tuple(before) or None)

    def _transport(self, target: Target, shown: str) -> tuple["paramiko.Transport", bool]:
        """The connection to the target, and whether it is new."""
        with self._lock:
            lock = self._locks.setdefault(target, threading.Lock())
        with lock:
            transport = self._transports.get(target)
            if transport is not None and transport.is_active():
                return transport, False
            transport = self._connect(target, shown)
            with self._lock:
                self._transports.pop(target, None)
                self._transports[target] = transport
            return transport, True

    def _connect(self, target: Target, shown: str) -> "paramiko.Transport":
        seconds = self._settings.connect_timeout_seconds
        if target.proxy_command is not None:
            raise Unreachable(
                f"{shown}: the SSH configuration names a ProxyCommand, "
                f"which breakglass does not run",
                next_step="Use ProxyJump in its place.",
                where=shown,
            )
        login = Login(
            host=shown,
            entries=known_entries(target, self._environ),
            key_text=self._environ.get(KEY_VARIABLE) or None,
            timeout_seconds=seconds,
        )
        if not target.jumps:
            return log_in(
                login,
                target,
                dial.dial(
                    target.hostname,
                    target.port,
                    shown=shown,
                    timeout_seconds=seconds,
                    family=target.address_family,
                ),
            )
        last = target.jumps[-1]
        transport, _ = self._transport(self._gate(target), last)
        return log_in(login, target, self._tunnel(transport, last, target, shown))

    def _tunnel(
        self, transport: "paramiko.Transport", gate: str, target: Target, shown: str
    ) -> "paramiko.Channel":
        import paramiko

        try:
            return transport.open_channel(
                "direct-tcpip",
                (target.hostname, target.port),
                ("127.0.0.1", 0),
                timeout=self._settings.connect_timeout_seconds,
            )
        except (paramiko.SSHException, EOFError, OSError) as error:
            reason = printable(str(error)) or "the connection was lost"
            raise Unreachable(
                f"{shown} ({target.hostname} port {target.port}) was not reached through "
                f"{gate}: {reason}",
                where=shown,
                next_step=(
                    f"Look from there: "
                    f"{Host(gate, gate).by_hand('nc', '-vz', target.hostname, str(target.port))}"
                ),
            ) from error

    def _resolve(self, ssh: str, jumps: tuple[str, ...] | None) -> Target:
        target = self._targets.get((ssh, jumps))
        if target is None:
            target = settings.resolve(
                ssh,
                config=self._settings.config,
                known_hosts=self._settings.known_hosts,
                environ=self._environ,
                jumps=jumps,
            )
            self._targets[ssh, jumps] = target
        return target
