"""A proxy for tests: a real one on loopback, behind which every name is one server on loopback."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    url: str
    target: int
    """The port that every request is passed on to."""
    asked: list[str] = field(default_factory=list)
    """The first line of every request, and a login that came with it."""
    refuses_with: int | None = None
    """The status of every answer; None: passes on."""

    def serve(self, wire: socket.socket) -> None:
        with wire, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                received = wire.recv(4096)
                if not received:
                    return
                head += received
            line, _, rest = head.partition(b"\r\n")
            login = re.search(rb"(?i)^Proxy-Authorization: (.*)\r$", rest, re.MULTILINE)
            self.asked.append(" ".join([line.decode(), *([login[1].decode()] if login else [])]))
            if self.refuses_with is not None:
                wire.sendall(b"HTTP/1.1 %d no\r\nContent-Length: 0\r\n\r\n" % self.refuses_with)
                return
            with socket.create_connection(("127.0.0.1", self.target)) as behind:
                if line.startswith(b"CONNECT "):
                    wire.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    behind.sendall(re.sub(rb"http://[^/ ]+", b"", line) + b"\r\n" + rest)
                other = threading.Thread(target=_pump, args=(wire, behind), daemon=True)
                other.start()
                _pump(behind, wire)
                with suppress(OSError):
                    wire.shutdown(socket.SHUT_RDWR)
                other.join()


@contextmanager
def running_proxy(target: int) -> Iterator[Proxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Proxy(f"http://127.0.0.1:{listener.getsockname()[1]}", target)
        threads: list[threading.Thread] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    wire, _ = listener.accept()
                    threads.append(threading.Thread(target=proxy.serve, args=(wire,), daemon=True))
                    threads[-1].start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield proxy
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join(5)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while received := source.recv(65536):
            sink.sendall(received)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
