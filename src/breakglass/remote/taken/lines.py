"""The lines that `insert` adds. They come on standard input: everybody on a host can read the
arguments of its processes.
"""

from __future__ import annotations

import os

from breakglass.remote.faults import USAGE, Fault

MOST_BYTES = 1 << 20
"""hosts.toml has a few hundred."""


def read_lines(lifeline: int | None) -> list[str]:
    """Our caller sends the size first, since its stream goes on as the lifeline; a person's ends.

    Raises Fault.
    """
    content = _until_end(0) if lifeline is None else _sized(lifeline)
    if len(content) > MOST_BYTES:
        raise Fault(USAGE, f"taken insert: standard input is larger than {MOST_BYTES} bytes")
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise Fault(USAGE, "taken insert: standard input is not UTF-8") from None
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise Fault(USAGE, "taken insert: standard input has no lines")
    return lines


def _until_end(descriptor: int) -> bytes:
    content = b""
    while len(content) <= MOST_BYTES and (part := os.read(descriptor, MOST_BYTES)):
        content += part
    return content


def _sized(descriptor: int) -> bytes:
    size = b""
    while size[-1:] != b"\n" and len(size) < 20:
        size += _some(descriptor, 1)
    if not size.strip().isdigit():
        raise Fault(USAGE, "taken insert: standard input does not begin with its size")
    content = b""
    while len(content) < min(int(size), MOST_BYTES + 1):
        content += _some(descriptor, min(int(size), MOST_BYTES + 1) - len(content))
    return content


def _some(descriptor: int, most: int) -> bytes:
    part = os.read(descriptor, most)
    if not part:
        raise Fault(USAGE, "taken insert: standard input ended before the lines were whole")
    return part
