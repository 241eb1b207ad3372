"""The HTTP server: one request for each connection, never more than a few at a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct

from breakglass.remote.responder.loopback import HEAD_BYTES, HEAD_SECONDS, PIECE_BYTES
from breakglass.remote.responder.requests import LETTERS, head_of, understand
from breakglass.remote.responder.shelf import Shelf
from breakglass.remote.responder.store import pieces

STALL_SECONDS = 30.0
LINGER_SECONDS, LINGER_BYTES = 1.0, 256 << 10
CONNECTIONS = 128


def serve_until_the_end(listening: socket.socket, shelf: Shelf, script: int) -> None:
    """Answer until SIGTERM comes, or the file of the descriptor is removed."""
    asyncio.run(_serve(listening, shelf, script))


async def _serve(listening: socket.socket, shelf: Shelf, script: int) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    accepting = asyncio.ensure_future(accept(listening, shelf))
    let_go_of_stdio()
    while not ended.is_set() and not accepting.done() and os.fstat(script).st_nlink:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ended.wait(), 0.5)


def let_go_of_stdio() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


async def accept(listening: socket.socket, shelf: Shelf) -> None:
    # Sockets, not asyncio's streams: these take in 256 KiB at a time, from whomever, and a flood of
    # it made 60 MB of 24.
    listening.setblocking(False)
    talks: set[asyncio.Future[None]] = set()
    while True:
        await asyncio.sleep(0)  # while there are more to accept, nothing else would have its turn
        try:
            connection, _ = await asyncio.get_running_loop().sock_accept(listening)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        if len(talks) >= CONNECTIONS:
            connection.close()
            continue
        talk = asyncio.ensure_future(converse(connection, shelf))
        talks.add(talk)
        talk.add_done_callback(talks.discard)


async def converse(connection: socket.socket, shelf: Shelf) -> None:
    """One request, one response."""
    response = None
    with connection:
        try:
            method, response = understand(
                await asyncio.wait_for(read_head(connection), HEAD_SECONDS), shelf
            )
            await send(connection, head_of(response) + (b"" if method == "HEAD" else response.body))
            if method != "HEAD" and response.descriptor is not None:
                sent = 0
                for piece in pieces(response.descriptor, response.size):
                    await send(connection, piece)
                    sent += len(piece)
                if sent < response.size:
                    # the file was cut meanwhile: that must not look like an end
                    raise ConnectionAbortedError
            # What is still on its way to us would make the kernel take back what we said.
            connection.shutdown(socket.SHUT_WR)
            await asyncio.wait_for(drink(connection), LINGER_SECONDS)
        except (OSError, asyncio.TimeoutError):
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )  # forget at once what it does not take
        finally:
            if response is not None and response.descriptor is not None:
                os.close(response.descriptor)


async def read_head(connection: socket.socket) -> bytes:
    """Up to the empty line, or as much as is too long, or as it takes to see that it is something
    else, TLS say.
    """
    head = b""
    while b"\r\n\r\n" not in head and len(head) <= HEAD_BYTES and head[:1] in LETTERS:
        part = await asyncio.get_running_loop().sock_recv(connection, HEAD_BYTES + 1 - len(head))
        if not part:
            raise ConnectionAbortedError
        head += part
    return head


async def send(connection: socket.socket, data: bytes) -> None:
    await asyncio.sleep(
        0
    )  # to a fast reader all of a large blob would go before anybody else's turn
    await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(connection, data), STALL_SECONDS)


async def drink(connection: socket.socket) -> None:
    drunk = 0
    while drunk < LINGER_BYTES:
        data = await asyncio.get_running_loop().sock_recv(connection, 2 * PIECE_BYTES)
        if not data:
            return
        drunk += len(data)
