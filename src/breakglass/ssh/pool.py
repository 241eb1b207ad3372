"""The SSH connections of one run: one per destination, made on first use, shared by threads."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from breakglass import config
from breakglass.errors import AGAIN, NoAnswer, Unreachable, look_first, then
from breakglass.plan import Host
from breakglass.quoting import join
from breakglass.ssh import dial, settings
from breakglass.ssh.authentication import Login, LoginLost
from breakglass.ssh.host_key import known_entries
from breakglass.ssh.login import log_in
from breakglass.ssh.private_keys import KEY_VARIABLE
from breakglass.ssh.settings import Target, ask_openssh, correct_jumps
from breakglass.text import printable

if TYPE_CHECKING:
    import paramiko

    from breakglass.ssh.transport import Transport

CHANNEL_SECONDS = 15.0
LOGIN_SECONDS = 60.0
"""A NAS may have to wake its disks up first, and a directory service may be down."""
NOTICE_SECONDS = 4.0
"""A login that takes longer is announced."""
REFUSED_SECONDS = 30.0
"""A host that refused a login is not asked again for so long: OpenSSH 9.8 and newer shuts out who
fails repeatedly, and a login without an answer takes a minute.
"""
MAX_JUMPS = 32
"""The limit for a configuration in which each jump host names a further one, without an end."""
NO_SESSION = "PAM or MaxSessions may allow none. On {host}'s console: journalctl -u ssh -u sshd"


class Pool:
    """Opens channels to hosts, directly or through jump hosts; thread-safe."""

    def __init__(
        self,
        settings: config.Ssh,
        *,
        environ: Mapping[str, str],
        note: Callable[[str], None],
        login_seconds: float = LOGIN_SECONDS,
    ) -> None:
        """`note` gets a line about a login that takes long, from another thread."""
        self._settings = settings
        self._environ = environ
        self._note = note
        self._login_seconds = login_seconds
        self._refusals: dict[Target, tuple[float, Unreachable]] = {}
        """When a host refused a login, and how."""
        self._targets: dict[tuple[str, tuple[str, ...] | None], Target] = {}
        self._transports: dict[Target, Transport] = {}
        self._locks: dict[Target, threading.Lock] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._transports)

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

    def channel(self, host: Host) -> "paramiko.Channel":
        """A new channel for one command, over a connection that is made if there is none. Raises
        Unreachable.
        """
        import paramiko

        target = self.resolve(host.ssh)
        self._check_jumps(target, host.name)
        for attempt in (1, 2):
            transport, fresh = self._transport(target, host.name)
            try:
                return self._session(transport, host.name)
            except (paramiko.SSHException, EOFError, OSError) as error:
                # A connection that was used before may have been lost since. Then try a new one.
                if fresh or transport.is_active() or attempt == 2:
                    reason = printable(str(error)) or "the connection was lost"
                    raise Unreachable(
                        f"{host} logged us in but opens no session ({reason})",
                        next_step=ask_openssh(target, NO_SESSION.format(host=host)),
                        where=host.name,
                    ) from error
        raise AssertionError("unreachable")

    def _session(self, transport: "Transport", shown: str) -> "paramiko.Channel":
        if transport.has_opened_session:
            return transport.open_session(timeout=CHANNEL_SECONDS)
        # The first session belongs to the login: PAM opens it.
        with self._noting(shown):
            channel = transport.open_session(timeout=max(self._login_seconds, CHANNEL_SECONDS))
        transport.has_opened_session = True
        return channel

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
                    next_step=correct_jumps(passed[0]),
                    where=shown,
                )
            passed.append(target)
            if len(passed) > MAX_JUMPS:
                raise Unreachable(
                    f"{shown}: the SSH configuration names more than {MAX_JUMPS} jump hosts",
                    next_step=correct_jumps(passed[0]),
                    where=shown,
                )

    def _gate(self, target: Target) -> Target:
        """The last jump host before a target."""
        *before, last = target.jumps
        return self._resolve(last, tuple(before) or None)

    def _transport(self, target: Target, shown: str) -> tuple["Transport", bool]:
        """The connection to the target, and whether it is new."""
        with self._lock:
            lock = self._locks.setdefault(target, threading.Lock())
        with lock:
            transport = self._transports.get(target)
            if transport is not None and transport.is_active():
                return transport, False
            self._check_refusal(target)
            try:
                transport = self._connect(target, shown)
            except (LoginLost, NoAnswer):
                raise
            except Unreachable as error:
                self._refusals[target] = time.monotonic(), error
                raise
            with self._lock:
                self._transports.pop(target, None)
                self._transports[target] = transport
            return transport, True

    def _check_refusal(self, target: Target) -> None:
        """Raise Unreachable once more if the host refused a login a moment ago."""
        at, error = self._refusals.get(target, (-REFUSED_SECONDS, None))
        if error is not None and time.monotonic() - at < REFUSED_SECONDS:
            raise error.replaced()

    @contextmanager
    def _noting(self, shown: str) -> Iterator[None]:
        """Announce within the context that a login takes long."""
        line = f"waiting for the login to {shown}"
        timer = threading.Timer(NOTICE_SECONDS, self._note, (line,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _connect(self, target: Target, shown: str) -> "Transport":
        seconds = self._settings.connect_timeout_seconds
        if target.proxy_command is not None:
            raise Unreachable(
                f"{shown}: the SSH configuration names a ProxyCommand, "
                f"which breakglass does not run",
                next_step=then(AGAIN, advice="use ProxyJump in its place"),
                where=shown,
            )
        if target.jumps:
            gate = self._gate(target)
            transport, _ = self._transport(gate, target.jumps[-1])
            connected: socket.socket | paramiko.Channel
            connected = self._tunnel(transport, gate, target, shown)
        else:
            connected = dial.dial(
                target.hostname,
                target.port,
                shown=shown,
                timeout_seconds=seconds,
                family=target.address_family,
            )
        login = Login(
            host=shown,
            entries=known_entries(target, self._environ),
            key_text=self._environ.get(KEY_VARIABLE) or None,
            seconds=self._login_seconds,
            deadline=time.monotonic() + self._login_seconds,
        )
        with self._noting(shown):
            return log_in(login, target, connected)

    def _tunnel(
        self, transport: "Transport", gate: Target, target: Target, shown: str
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
                f"{target.jumps[-1]}: {reason}",
                where=shown,
                next_step=look_first(
                    join(("ssh", *gate.client, "nc", "-vz", target.hostname, str(target.port)))
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
