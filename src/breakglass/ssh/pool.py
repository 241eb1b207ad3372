"""The SSH connections of one run: one per destination, made on first use, shared by threads."""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from breakglass import config
from breakglass.errors import AGAIN, Unreachable, look_first, then
from breakglass.plan import Host
from breakglass.ssh import dial, settings
from breakglass.ssh.host_key import known_entries
from breakglass.ssh.identities import KEY_VARIABLE
from breakglass.ssh.login import Login, log_in
from breakglass.ssh.settings import Target
from breakglass.text import printable

if TYPE_CHECKING:
    import paramiko

CHANNEL_SECONDS = 15.0
MAX_JUMPS = 32
"""The limit for a configuration in which each jump host names a further one, without an end."""


class Pool:
    """Opens channels to hosts, directly or through jump hosts; thread-safe."""

    def __init__(self, settings: config.Ssh, *, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._targets: dict[tuple[str, tuple[str, ...] | None], Target] = {}
        self._transports: dict[Target, paramiko.Transport] = {}
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
                next_step=then(AGAIN, advice="use ProxyJump in its place"),
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
                next_step=look_first(
                    Host(gate, gate).by_hand("nc", "-vz", target.hostname, str(target.port))
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
