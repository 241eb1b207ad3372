"""Makes one logged-in connection: key exchange, check of the host key, then login with a key.
Nothing is sent before the host key is accepted.
"""

import logging
import socket
import threading
import time
from typing import TYPE_CHECKING

from breakglass import known_hosts
from breakglass.errors import RUN_AGAIN, Unreachable
from breakglass.ssh.authentication import Login, LoginLost, authenticate, because
from breakglass.ssh.greeting import no_version
from breakglass.ssh.host_key import check_host_key
from breakglass.ssh.settings import Target, ask_openssh

if TYPE_CHECKING:
    import paramiko

    from breakglass.ssh.transport import Transport

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


def log_in(login: Login, target: Target, sock: "socket.socket | paramiko.Channel") -> "Transport":
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
        authenticate(transport, login, target)
    except LOST as error:
        transport.close()
        raise LoginLost(
            f"{login.host} ({target.hostname} port {target.port}) ended the connection during the "
            f"login{because(error)}",
            where=login.host,
        ) from error
    except BaseException:
        transport.close()
        raise
    return transport


def _negotiate(transport: "Transport", login: Login, target: Target) -> None:
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
    transport.banner_timeout = login.left_seconds()
    done = threading.Event()
    transport.start_client(event=done)
    # A short wait each, so that Ctrl-C and the end of the transport are noticed.
    while not done.wait(0.2) and transport.is_active() and time.monotonic() < login.deadline:
        pass
    if done.is_set() and transport.is_active():
        transport.set_keepalive(KEEPALIVE_SECONDS)
        return
    raise _not_negotiated(transport, login, target) from transport.get_exception()


def _not_negotiated(transport: "Transport", login: Login, target: Target) -> Unreachable:
    """Why there is no key exchange, or not even a version of the server."""
    if not transport.remote_version:
        return no_version(
            transport.greeting,
            target,
            login.host,
            is_closed=transport.ended_before_version,
            seconds=login.seconds,
        )
    where = f"{login.host} ({target.hostname} port {target.port})"
    see = ask_openssh(target)
    error = transport.get_exception()
    if transport.is_active():
        message = f"{where} did not end the key exchange within {login.seconds:g} s"
        return Unreachable(message, next_step=see, where=login.host)
    if isinstance(error, EOFError | OSError):
        message = f"{where} ended the connection during the key exchange{because(error)}"
        return LoginLost(message, next_step=RUN_AGAIN, where=login.host)
    message = f"{where} and this machine did not agree on a key exchange{because(error)}"
    return LoginLost(message, next_step=see, where=login.host)
