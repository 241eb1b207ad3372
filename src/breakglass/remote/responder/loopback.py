"""Ports of the node's loopback."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import zlib

from breakglass.remote.faults import FAILED, Fault
from breakglass.remote.responder.arguments import DIGEST, Answer
from breakglass.remote.responder.waiting import ticks

HEAD_BYTES, HEAD_SECONDS = 8192, 5.0
PIECE_BYTES = 32 << 10
BACKLOG = 512


def ask(number: int, wanted: Answer) -> str | None:
    """The digest that a name is answered with on loopback, as containerd asks."""
    line = (
        f"HEAD "
        f"/v2/{wanted.repository}/manifests/{wanted.tag}?ns={wanted.registry.replace(':', '%3A')} "
        f"HTTP/1.1\r\nHost: 127.0.0.1:{number}\r\n\r\n"
    )
    head = b""
    try:
        with socket.create_connection(("127.0.0.1", number), timeout=2) as connection:
            connection.sendall(line.encode())
            while len(head) < HEAD_BYTES:
                part = connection.recv(HEAD_BYTES)
                if not part:
                    break
                head += part
    except OSError:
        return None
    digest = re.search(rf"\r\ndocker-content-digest: ({DIGEST})\r\n".encode(), head, re.IGNORECASE)
    return digest[1].decode() if digest and re.match(rb"HTTP/1\.[01] 200 ", head) else None


def free_port(directory: str) -> int:
    first = zlib.crc32(os.fsencode(directory)) % 10000
    for step in range(10000):
        number = 20000 + (first + step) % 10000
        with contextlib.suppress(Fault):
            listen(number, backlog=1).close()
            return number
    raise Fault(FAILED, "no port from 20000 to 29999 is free on 127.0.0.1")


def wait_for_port(number: int, *, seconds: float) -> None:
    """Raises Fault where another program keeps it: that might take our questions for itself."""
    # The kernel closes the sockets of a process a moment after its command line is gone.
    for _ in ticks(seconds):
        with contextlib.suppress(Fault):
            listen(number, backlog=1).close()
            return
    listen(number, backlog=1).close()


def listen(number: int, *, backlog: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Otherwise the connections that our predecessor has closed would hold the port for a
        # minute.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit these: what a client sends at once, and what it does not read, is
        # memory.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, HEAD_BYTES)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * PIECE_BYTES)
        listening.bind(("127.0.0.1", number))
        listening.listen(backlog)
    except OSError as error:
        listening.close()
        reason = (
            "is taken by another program"
            if error.errno == errno.EADDRINUSE
            else f"can not be listened on: {error.strerror}"
        )
        raise Fault(FAILED, f"port {number} of 127.0.0.1 {reason}") from error
    return listening
