"""Commands, copies and locks on other hosts: one SSH connection per destination, held and shared.
paramiko is known here and in `ssh_{transport,login,identities,command,relay}`.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from breakglass import config, known_hosts
from breakglass.age import age_in_words
from breakglass.errors import Busy, Refused, Unreachable
from breakglass.plan import Argv, Copy, Host, Lock, Run
from breakglass.ports import Held, Progress, Result
from breakglass.shape import NATURAL, fits, parse_json
from breakglass.ssh import dial, settings
from breakglass.ssh.command import TICK_SECONDS, Command, no_progress
from breakglass.ssh.identities import KEY_VARIABLE
from breakglass.ssh.login import Login, log_in
from breakglass.ssh.relay import Relay
from breakglass.ssh.settings import Target
from breakglass.ssh.wire import OLDEST_PYTHON, python_too_old, sudo_refusal, wire
from breakglass.text import printable

if TYPE_CHECKING:
    import paramiko

KNOWN_HOSTS_VARIABLE = "BREAKGLASS_SSH_KNOWN_HOSTS"
CHANNEL_SECONDS = 15.0
LOCK_SECONDS = 30.0
RELEASE_SECONDS = 5.0
END_SECONDS = 3.0
MAX_JUMPS = 32
"""No network is that deep: a configuration whose jump hosts each name a new one has no end."""
WATCHED_SECONDS = 20.0
"""An import whose archive was read to its end unpacks it before it ends."""


class Connections:
    """Every connection of one run of the tool. Made on first use; thread-safe."""

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
        """End every connection; what still runs with a lifeline ends itself."""
        with self._lock:
            transports, self._transports = list(self._transports.values()), {}
        # The last one made may run through the first one.
        for transport in reversed(transports):
            transport.close()

    def resolve(self, ssh: str) -> Target:
        """Where OpenSSH would go for this destination. Raises Usage."""
        return self._resolve(ssh, None)

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:
        """Run a command that changes nothing. Raises Unreachable, Refused as `run` does."""
        result = self.run(Run(host, pipeline, quiet_seconds), no_progress)
        if result.disconnected:
            # The beginning of an answer must not be taken for the answer.
            raise Unreachable(
                f"{host}: {result.lost}", next_step="run the same command again", where=host.name
            )
        return result

    def run(self, step: Run, progress: Progress) -> Result:
        """Run a command to its end.

        Raises Unreachable when it could not even be started, or sudo refused; Refused where
        python3 is too old for our script.
        """
        command = Command(
            self._channel(step.host),
            quiet_seconds=step.quiet_seconds,
            first_seconds=step.first_seconds,
            progress=progress,
        )
        watch: Command | None = None
        try:
            watch = self._watch(step, command, progress)
            if command.start(wire(step.pipeline, sudo=step.host.sudo)):
                while not command.wait():
                    if watch is not None:
                        watch.wait(0)
            return self._judged(step, command.result())
        except KeyboardInterrupt as signalled:
            if not _winds_down(command, watch):
                signalled.add_note(f"It may still go on there: {step}")
            raise
        finally:
            command.channel.close()
            if watch is not None:
                watch.channel.close()

    def copy(self, step: Copy, progress: Progress) -> tuple[Result, Result]:
        """Stream the source's stdout into the sink, through this machine's memory. Raises
        Unreachable as `run` does.
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
            return self._judged(step.source, source), self._judged(step.sink, received)
        finally:
            relay.close()

    @contextmanager
    def hold(self, step: Lock) -> Iterator[Held]:
        """Hold a lock file within the context. Raises Busy, naming the holder and since when,
        Refused where it can not be made, Unreachable.
        """
        run = Run(
            step.host,
            (("python3", "breakglass-remote.pyz", "lock", step.path, step.holder),),
            LOCK_SECONDS,
        )
        answered = threading.Event()
        answer = bytearray()

        def deliver(data: bytes) -> None:
            answer.extend(data)
            if b"\n" in answer:
                answered.set()

        command = Command(self._channel(step.host), quiet_seconds=LOCK_SECONDS, deliver=deliver)
        try:
            ended = not command.start(wire(run.pipeline, sudo=step.host.sudo))
            while not ended and not (answered.is_set() and answer.startswith(b"held\n")):
                ended = command.wait(0.05)
            if ended:
                raise _not_held(step, self._judged(run, command.result()), bytes(answer))
            command.paused = True
            held = _Lock(command)
            try:
                yield held
            finally:
                held.release()
        finally:
            command.channel.close()

    def _watch(self, step: Run, command: Command, progress: Progress) -> Command | None:
        """Look how far the command has come with its file; whatever fails here is no failure of the
        step.
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
            watch = Command(self._channel(step.host), quiet_seconds=CHANNEL_SECONDS, progress=moved)
            watch.paused = True
            if watch.start(
                wire(
                    (("python3", "breakglass-remote.pyz", "watch", step.watch),),
                    sudo=step.host.sudo,
                )
            ):
                return watch
            watch.channel.close()
        return None

    def _judged(self, run: Run, result: Result) -> Result:
        version = python_too_old(result.exit_status, result.stderr)
        if version is not None:
            oldest = ".".join(map(str, OLDEST_PYTHON))
            version_there = run.host.by_hand("python3", "--version")
            raise Refused(
                f"{run.host}: python3 is {version} there, and breakglass needs {oldest} or newer",
                next_step=f"install a newer python3 there; to see which it is: {version_there}",
                where=run.host.name,
            )
        line = (
            sudo_refusal(run.pipeline, result.exit_status, result.stdout, result.stderr)
            if run.host.sudo
            else None
        )
        if line is None:
            return result
        user = self.resolve(run.host.ssh).login
        raise Unreachable(
            f"sudo -n was refused for {user} on {run.host}: {line}",
            next_step=(
                f"Give {user} NOPASSWD rights in the sudoers file of {run.host}; to see them "
                f"there: sudo -n -l"
            ),
        )

    def _channel(self, host: Host) -> "paramiko.Channel":
        import paramiko

        target = self.resolve(host.ssh)
        self._check_jumps(target, host.name)
        for attempt in (1, 2):
            transport, fresh = self._transport(target, host.name)
            try:
                return transport.open_session(timeout=CHANNEL_SECONDS)
            except (paramiko.SSHException, EOFError, OSError) as error:
                # One that was used before may have died since; a new one has not.
                if fresh or transport.is_active() or attempt == 2:
                    raise Unreachable(
                        f"{host} logged us in but opens no session "
                        f"({printable(str(error)) or 'the connection was lost'})",
                        where=host.name,
                    ) from error
        raise AssertionError("unreachable")

    def _check_jumps(self, target: Target, shown: str) -> None:
        """Raises Unreachable where the jump hosts never lead to an end.

        Before any connection is made: each is made under a lock of its own while the lock of the
        one behind it is held, so two threads that enter a circle at different hosts would wait for
        each other.
        """
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
        """The connection, and whether it is a new one."""
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
                (
                    f"{shown}: the SSH configuration names a ProxyCommand, which breakglass does "
                    f"not run"
                ),
                next_step="Use ProxyJump in its place.",
                where=shown,
            )
        login = Login(
            host=shown,
            entries=self._entries(target),
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
            raise Unreachable(
                (
                    f"{shown} ({target.hostname} port {target.port}) was not reached through "
                    f"{gate}: {printable(str(error)) or 'the connection was lost'}"
                ),
                where=shown,
                next_step=(
                    f"Look from there: "
                    f"{Host(gate, gate).by_hand('nc', '-vz', target.hostname, str(target.port))}"
                ),
            ) from error

    def _entries(self, target: Target) -> list[known_hosts.Entry]:
        """What is on record: the environment's lines first, then the files."""
        entries = known_hosts.parse(
            self._environ.get(KNOWN_HOSTS_VARIABLE, ""), source=f"${KNOWN_HOSTS_VARIABLE}"
        )
        for file in target.known_hosts:
            with suppress(OSError):
                entries += known_hosts.parse(
                    file.read_text(encoding="utf-8", errors="replace"), source=str(file)
                )
        return entries

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


def _winds_down(command: Command, watch: Command | None) -> bool:
    """Whether a command that nobody wants any more ends in time: only then it is known what it has
    left. One that is watched loses what it reads.
    """
    for one in (command, watch):
        if one is not None and one.has_lifeline:
            one.end_input()
    deadline = time.monotonic() + (WATCHED_SECONDS if watch else END_SECONDS)
    while not command.wait():
        if time.monotonic() > deadline:
            return False
    return True


class _Lock:
    """A lock that we hold: a thread keeps its lifeline alive."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._ended = threading.Event()
        self._releasing = threading.Event()
        threading.Thread(target=self._beat, name="lock", daemon=True).start()

    def lost(self) -> bool:
        return self._ended.is_set() or self._command.channel.closed

    def release(self) -> None:
        """Let it go, and wait until the host has."""
        self._releasing.set()
        self._command.end_input()
        self._ended.wait(RELEASE_SECONDS)

    def _beat(self) -> None:
        while not self._command.wait(TICK_SECONDS if not self._releasing.is_set() else 0.02):
            pass
        self._ended.set()


def _not_held(step: Lock, result: Result, answer: bytes) -> Busy | Refused | Unreachable:
    words = printable(result.stderr).strip().replace("\n", "; ")
    if result.exit_status is None:
        return Unreachable(
            f"the lock {step.path} on {step.host} was not taken: {result.lost}",
            next_step="run the same command again",
        )
    if result.exit_status != 7:
        look = step.host.by_hand("ls", "-la", step.path.rpartition("/")[0])
        return Refused(
            (
                f"the lock {step.path} on {step.host} can not be made: "
                f"{words or f'exit {result.exit_status}'}"
            ),
            next_step=f"look at it with: {look}",
        )
    try:
        record = parse_json(answer)
    except ValueError:
        record = None
    by = (
        f"by {printable(record['holder'])} for {age_in_words(record['age_seconds'])}"
        if fits(record, {"holder": str, "age_seconds": NATURAL})
        else "by another program"
    )
    return Busy(
        f"{step.host} is busy: {step.path} is held {by}",
        where=step.host.name,
        next_step=(
            "Wait for it, then run this again; a holder that has gone silent loses the lock "
            "within 60 s."
        ),
    )
