"""A connection that threads share: what a channel sends stays in order.

Loads paramiko, so it is imported with the first connection.
"""

import threading
from typing import Any

import paramiko
from paramiko.common import MSG_CHANNEL_CLOSE


class Transport(paramiko.Transport):
    """A connection whose channels send nothing after their CLOSE."""

    def open_channel(self, *arguments: Any, **options: Any) -> paramiko.Channel:
        channel = super().open_channel(*arguments, **options)
        channel.transport = Sender(self)  # type: ignore[assignment]
        return channel


class Sender:
    """A channel's way to its connection: one message after the other, and none after the CLOSE.

    paramiko builds a message under the channel's lock and sends it without. So an EOF or data can
    leave after the CLOSE with which the reading thread answers a command that has ended. By then
    sshd has forgotten the channel: it ends the whole connection for such a message, or takes it
    for the channel that has got the number since.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._close_was_sent = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send_user_message(self, data: paramiko.Message) -> None:
        with self._lock:
            if not self._close_was_sent:
                self._close_was_sent = data.asbytes()[0] == MSG_CHANNEL_CLOSE
                self._transport._send_user_message(data)  # type: ignore[attr-defined]  # not in the stubs
