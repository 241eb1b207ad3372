"""Text from another host is data: printed inert, never markup, never control characters."""

import unicodedata

from breakglass.ports import Result


def inert(text: str | bytes, *, limit: int = 400) -> str:
    """One line that can be printed anywhere: no control characters, no line ends, at most `limit` characters (the end is kept)."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    line = " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in text if unicodedata.category(c) != "Cf").split())
    return line if len(line) <= limit else "…" + line[1 - limit :]


def said(result: Result) -> str:
    """What a failed command said, in one line, with its exit status."""
    words = inert(result.stderr or result.stdout)
    if result.exit_status is None:
        return f"{result.lost or 'outcome unknown'}{': ' + words if words else ''}"
    return f"exit {result.exit_status}{': ' + words if words else ''}"
