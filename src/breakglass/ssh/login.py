"""Makes one logged-in connection: key exchange, check of the host key, then login with a key.
Nothing is sent before the host key is accepted.
"""

import logging
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from breakglass import known_hosts
from breakglass.errors import RUN_AGAIN, Next, Unreachable, look_first
from breakglass.plan import Host
from breakglass.ssh.host_key import check_host_key
from breakglass.ssh.identities import Identity, collect
from breakglass.ssh.settings import Target
from breakglass.text import printable

if TYPE_CHECKING:
    import paramiko

CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
)
DIGESTS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
HOST_KEYS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
WINDOW_BYTES = 4 * 2**20
"""At most this much of a stream waits in our memory when its reader stalls."""
PACKET_BYTES = 2**15
KEEPALIVE_SECONDS = 10


@dataclass(frozen=True)
class Login:
    """The parameters of a login besides the target."""

    host: str
    """The host's name for messages."""
    entries: Sequence[known_hosts.Entry]
    key_text: str | None
    """A private key from the environment, offered first."""
    timeout_seconds: float

    def __repr__(self) -> str:
        return f"Login({self.host!r})"


def log_in(
    login: Login, target: Target, sock: "socket.socket | paramiko.Channel"
) -> "paramiko.Transport":
    """An authenticated transport over a connected socket. Raises Unreachable, and closes the socket
    then.
    """
    from breakglass.ssh.transport import LOST, Transport

    # paramiko's threads log tracebacks. Every error that matters here is raised as well.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)
    try:
        transport = Transport(
            sock, default_window_size=WINDOW_BYTES, default_max_packet_size=PACKET_BYTES
        )
    except BaseException:
        sock.close()
        raise
    try:
        _negotiate(transport, login, target)
        check_host_key(
            transport.get_remote_server_key(), target, host=login.host, entries=login.entries
        )
        _authenticate(transport, login, target)
    except LOST as error:
        transport.close()
        raise Unreachable(
            f"{login.host} ({target.hostname} port {target.port}) ended the connection during the "
            f"login{_because(error)}",
            where=login.host,
        ) from error
    except BaseException:
        transport.close()
        raise
    return transport


def _negotiate(transport: "paramiko.Transport", login: Login, target: Target) -> None:
    # paramiko's own re-keying loses the end of long streams (its issue 822); AES-GCM needs none
    # below 2**36 bytes.
    transport.packetizer.REKEY_BYTES = 2**36
    transport.packetizer.REKEY_PACKETS = 2**31
    options = transport.get_security_options()
    options.ciphers, options.digests = CIPHERS, DIGESTS
    options.key_types = known_hosts.prefer(
        HOST_KEYS,
        login.entries,
        host=target.hostname,
        port=target.port,
        alias=target.host_key_alias,
    )
    transport.banner_timeout = login.timeout_seconds
    transport.handshake_timeout = login.timeout_seconds
    transport.auth_timeout = login.timeout_seconds
    done = threading.Event()
    transport.start_client(event=done)
    deadline = time.monotonic() + 2 * login.timeout_seconds
    # A short wait each, so that Ctrl-C and the end of the transport are noticed.
    while not done.wait(0.2) and transport.is_active() and time.monotonic() < deadline:
        pass
    if done.is_set() and transport.is_active():
        transport.set_keepalive(KEEPALIVE_SECONDS)
        return
    error = transport.get_exception()
    if transport.remote_version:
        cause = "and this machine did not agree on a key exchange"
    else:
        cause = f"answers, but not as an SSH server within {login.timeout_seconds:g} s"
    raise Unreachable(
        f"{login.host} ({target.hostname} port {target.port}) {cause}{_because(error)}",
        next_step=_look(target),
        where=login.host,
    ) from error


def _authenticate(transport: "paramiko.Transport", login: Login, target: Target) -> None:
    with collect(
        target, key_text=login.key_text, timeout_seconds=login.timeout_seconds
    ) as identities:
        where = f"{login.host} as {target.login}"
        if not identities.usable:
            raise Unreachable(
                f"there is no key to log in to {where} with: {identities.explain()}",
                next_step=identities.next_step(),
            )
        accepts = _accepted_methods(transport, target.login, where)
        if accepts is None:
            return
        if "publickey" not in accepts:
            raise Unreachable(
                f"the login to {where} is not possible with a key: the server accepts "
                f"{_listed(accepts)} only",
                next_step=_look(target),
            )
        offered: list[Identity] = []
        for identity in identities.usable:
            offered.append(identity)
            if _offer(transport, target, login, where, offered):
                return
    raise Unreachable(
        f"the login to {where} was refused: offered {_listed(offered)}; the server accepts "
        f"{_listed(accepts)}{identities.unusable_words()}",
        next_step=_look(
            target,
            f"put one of these keys into authorized_keys of {target.login} on {login.host}, or "
            f"name the right key or user in the SSH configuration; then try again",
        ),
    )


def _accepted_methods(transport: "paramiko.Transport", user: str, where: str) -> list[str] | None:
    """The login methods that the server accepts; None if it let us in without a key."""
    import paramiko

    try:
        transport.auth_none(user)
    except paramiko.BadAuthenticationType as error:
        return list(error.allowed_types)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise Unreachable(
            f"the login to {where} did not get under way{_because(error)}", next_step=RUN_AGAIN
        ) from error
    return None


def _offer(
    transport: "paramiko.Transport",
    target: Target,
    login: Login,
    where: str,
    offered: list[Identity],
) -> bool:
    """Whether the server accepts the last of the offered keys. Raises Unreachable if no further key
    can be offered.
    """
    import paramiko

    identity = offered[-1]
    try:
        further_methods = transport.auth_publickey(target.login, identity.key)
    except paramiko.BadAuthenticationType as error:
        raise Unreachable(
            f"the login to {where} was refused: the server no longer accepts a key, it "
            f"accepts {_listed(error.allowed_types)}",
        ) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        if isinstance(error, paramiko.AuthenticationException) and transport.is_active():
            # paramiko has no separate class for a server that does not answer.
            if "timeout" not in str(error).lower():
                return False
            raise Unreachable(
                f"the login to {where} got no answer within {login.timeout_seconds:g} s "
                f"after {identity}",
            ) from error
        raise Unreachable(
            f"{login.host} ended the connection during the login to {where}, after "
            f"{_listed(offered)}{_because(error)}",
            where=login.host,
            next_step=_look(
                target,
                "if that were too many keys for it, name one with IdentityFile and "
                "IdentitiesOnly in the SSH configuration; then try again",
            ),
        ) from error
    if further_methods:
        raise Unreachable(
            f"the login to {where} needs more than a key: the server took {identity} and "
            f"asks for {_listed(further_methods)} besides",
        )
    return True


def _look(target: Target, advice: str = "see what the server says, then try again") -> Next:
    """The login by OpenSSH, with all that it says."""
    login = Host(target.typed, target.typed).by_hand("true")
    return look_first(f"ssh -v {login.removeprefix('ssh ')}", advice=advice)


def _because(error: BaseException | None) -> str:
    words = printable(str(error)).strip() if error else ""
    return f": {words[:300]}" if words else ""


def _listed(items: Sequence[object]) -> str:
    return ", ".join(printable(str(item)) for item in items) or "nothing"
