"""A connection that threads share: a channel's messages stay in order, and every loss of the
connection raises `LOST`.

Imports paramiko, so it is imported only with the first connection.
"""

import threading
import time
import weakref
from typing import Any, ClassVar

import paramiko
from paramiko.common import MSG_CHANNEL_CLOSE

LOST = (paramiko.SSHException, EOFError, OSError)
"""The exceptions of paramiko for a lost connection."""
GREETING_LINES = 20
GREETING_LENGTH = 200


def is_whole(channel: paramiko.Channel) -> bool:
    """Whether the server ended the output. If not, the output was cut with the connection."""
    return bool(channel.eof_received) or getattr(channel.transport, "was_closed_by_server", False)


def _take_close(channel: paramiko.Channel, message: paramiko.Message) -> None:
    # Set before paramiko wakes the threads that wait for the end.
    if isinstance(channel.transport, Sender):
        channel.transport.was_closed_by_server = True
    channel._handle_close(message)  # type: ignore[attr-defined]  # not in the stubs


class Transport(paramiko.Transport):
    """A connection whose channels send nothing after their CLOSE, and whose loss raises `LOST`."""

    _channel_handler_table: ClassVar = {
        **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]
        MSG_CHANNEL_CLOSE: _take_close,
    }

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.greeting: list[str] = []
        """The lines that the server sent before its version."""
        self.ended_before_version = False
        self.has_opened_session = False
        # Our own deadline ends a handshake. The timer that paramiko starts for it would keep this
        # process alive.
        self.packetizer.start_handshake = lambda timeout: None  # type: ignore[method-assign]  # noqa: ARG005

    def _check_banner(self) -> None:
        """Read the server's version, and remember the lines before it."""
        readline = self.packetizer.readline
        deadline = time.monotonic() + self.banner_timeout

        def remembering(_: float) -> str:
            # paramiko allows the lines after the first 2 seconds each.
            try:
                line: str = readline(max(0.1, deadline - time.monotonic()))
            except (EOFError, ConnectionError):
                self.ended_before_version = True
                raise
            if not line.startswith("SSH-") and len(self.greeting) < GREETING_LINES:
                self.greeting.append(line[:GREETING_LENGTH])
            return line

        self.packetizer.readline = remembering  # type: ignore[method-assign, assignment]
        super()._check_banner()  # type: ignore[misc]  # not in the stubs

    def open_channel(self, *arguments: Any, **options: Any) -> paramiko.Channel:
        channel = super().open_channel(*arguments, **options)
        channel.transport = Sender(channel, self)  # type: ignore[assignment]
        return channel

    def get_exception(self) -> Exception | None:
        """The exception that ended the connection. paramiko raises it in a thread that waits."""
        error = super().get_exception()
        if error is None or isinstance(error, LOST):
            return error
        # Any exception may end the reading thread: a damaged packet is cryptography's InvalidTag.
        lost = paramiko.SSHException("the server sent a damaged packet")
        lost.__cause__ = error
        return lost

    def _send_user_message(self, data: paramiko.Message) -> None:
        """Send a channel's message. Never raises: threads that wait see the connection end."""
        try:
            super()._send_user_message(data)  # type: ignore[misc]  # not in the stubs
        except LOST as error:
            # A packet that did not leave whole must be the last one.
            self.saved_exception = self.saved_exception or error
            self.close()


class Sender:
    """Sends a channel's messages to its connection in order, and nothing after the CLOSE.

    paramiko builds a message under the channel's lock and sends it without. So an EOF or data can
    leave after the CLOSE with which the reading thread answers a command that has ended. By then
    sshd has forgotten the channel: it ends the whole connection for such a message, or takes it
    for the channel that has got the number since.
    """

    def __init__(self, channel: paramiko.Channel, transport: Transport) -> None:
        # A weak reference, for paramiko closes a channel when it is garbage-collected, and in a
        # cycle that could happen in the middle of a send.
        self._channel = weakref.ref(channel)
        self._transport = transport
        self._lock = threading.Lock()
        self._close_was_sent = False
        self.was_closed_by_server = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send_user_message(self, data: paramiko.Message) -> None:
        with self._lock:
            if not self._close_was_sent:
                self._close_was_sent = data.asbytes()[0] == MSG_CHANNEL_CLOSE
                self._transport._send_user_message(data)
        channel = self._channel()
        if channel is not None and channel.closed:
            # exec_command() clears this event before it sends. Where the connection was lost just
            # before that, nobody else would wake it.
            channel.event.set()
