"""Opens a TCP connection: tries every address of a name within one deadline (after RFC 8305)."""

import errno
import selectors
import shlex
import socket
import time
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from breakglass.deadline import Late, within
from breakglass.errors import AGAIN, NoAnswer, look_first, then

HEAD_START_SECONDS = 0.25
"""After this time the next address is tried too."""
DEAD_PEER_MILLISECONDS = 20_000
"""Data that is not acknowledged for this time ends the connection. SSH's own keepalive does not
notice a pulled cable.
"""

WORDS = {
    errno.ECONNREFUSED: "refused the connection",
    errno.EHOSTUNREACH: "no route to it",
    errno.ENETUNREACH: "no route to it",
    errno.ETIMEDOUT: "did not answer",
    errno.ECONNRESET: "reset the connection",
}


@dataclass(frozen=True)
class Address:
    family: int
    socket_address: tuple[Any, ...]

    def __str__(self) -> str:
        return str(self.socket_address[0])


def dial(
    hostname: str, port: int, *, shown: str, timeout_seconds: float, family: int = socket.AF_UNSPEC
) -> socket.socket:
    """A connected socket that notices a dead peer within 20 seconds. Raises NoAnswer, with every
    address that was tried and the reason why it failed.
    """
    deadline = time.monotonic() + timeout_seconds
    addresses = _look_up(
        hostname, port, shown=shown, timeout_seconds=timeout_seconds, family=family
    )
    connected = _race(
        addresses, shown=shown, port=port, deadline=deadline, timeout_seconds=timeout_seconds
    )
    connected.setblocking(True)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_USER_TIMEOUT", DEAD_PEER_MILLISECONDS),
        ("TCP_KEEPIDLE", 10),
        ("TCP_KEEPINTVL", 5),
    ):
        if hasattr(socket, option):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return connected


def _look_up(
    hostname: str, port: int, *, shown: str, timeout_seconds: float, family: int
) -> list[Address]:
    """The addresses of a name, IPv6 and IPv4 by turns."""
    check = look_first(
        shlex.join(("getent", "hosts", hostname)),
        advice=(
            "if the name service is down, use its address in the configuration or in the SSH "
            "configuration"
        ),
    )
    try:
        records = within(
            timeout_seconds,
            lambda: socket.getaddrinfo(hostname, port, family, socket.SOCK_STREAM),
        )
    except Late:
        raise NoAnswer(
            f"{shown}: the name {hostname} was not resolved within {timeout_seconds:g} s",
            next_step=check,
            where=shown,
        ) from None
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NoAnswer(
            f"{shown}: the name {hostname} was not resolved ({reason})",
            next_step=check,
            where=shown,
        ) from error
    addresses = [Address(record[0], record[4]) for record in records]
    first_family = [address for address in addresses if address.family == addresses[0].family]
    second_family = [address for address in addresses if address.family != addresses[0].family]
    by_turns = chain.from_iterable(zip_longest(first_family, second_family))
    return [address for address in by_turns if address is not None]


def _race(
    addresses: list[Address], *, shown: str, port: int, deadline: float, timeout_seconds: float
) -> socket.socket:
    """The first socket that connects. Starts with one address and adds the next ones."""
    failures: dict[str, str] = {}
    waiting = list(addresses)
    next_start = time.monotonic()
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or selector.get_map():
                now = time.monotonic()
                if now >= deadline:
                    break
                if waiting and (now >= next_start or not selector.get_map()):
                    _start(waiting.pop(0), selector, failures)
                    next_start = time.monotonic() + HEAD_START_SECONDS
                    continue
                until = min(deadline, next_start) if waiting else deadline
                connected = _connected(selector, max(0.0, until - now), failures)
                if connected is not None:
                    return connected
            for address in (*(key.data for key in selector.get_map().values()), *waiting):
                failures[str(address)] = f"did not answer within {timeout_seconds:g} s"
        finally:
            for key in list(selector.get_map().values()):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.close()
    causes = "; ".join(f"{address}: {words}" for address, words in failures.items())
    raise NoAnswer(
        f"{shown} was not reached on port {port} ({causes})",
        next_step=then(
            AGAIN,
            advice="is the machine up, and is this one in the right network?",
        ),
        where=shown,
    )


def _connected(
    selector: selectors.BaseSelector, seconds: float, failures: dict[str, str]
) -> socket.socket | None:
    """Wait for the attempts under way. A socket that has connected, or None; attempts that failed
    are closed and added to `failures`.
    """
    for key, _ in selector.select(seconds):
        attempt = key.fileobj
        assert isinstance(attempt, socket.socket)
        selector.unregister(attempt)
        code = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            return attempt
        failures[str(key.data)] = _words(code)
        attempt.close()
    return None


def _start(address: Address, selector: selectors.BaseSelector, failures: dict[str, str]) -> None:
    try:
        attempt = socket.socket(address.family, socket.SOCK_STREAM)
    except OSError as error:
        failures[str(address)] = _words(error.errno)
        return
    attempt.setblocking(False)
    code = attempt.connect_ex(address.socket_address)
    if code in (0, errno.EINPROGRESS):
        selector.register(attempt, selectors.EVENT_WRITE, address)
    else:
        attempt.close()
        failures[str(address)] = _words(code)


def _words(code: int | None) -> str:
    return WORDS.get(code or 0) or errno.errorcode.get(code or 0, "unknown error")
