"""Text from another host is data: printed inert, never markup, never control characters."""

import re
import unicodedata


def inert(text: str | bytes, *, limit: int = 400) -> str:
    """One line that can be printed anywhere: no control characters, no line ends, at most `limit`
    characters (the end is kept).
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    line = " ".join(
        "".join(
            c if c.isprintable() or c.isspace() else "?"
            for c in text
            if unicodedata.category(c) != "Cf"
        ).split()
    )
    return line if len(line) <= limit else "…" + line[1 - limit :]


def printable(text: str | bytes) -> str:
    """The same lines, with a space for each control character."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return "".join(c if c == "\n" or c.isprintable() else " " for c in text)


def version_numbers(version: str) -> tuple[int, int, int] | None:
    """The first three numbers of a version such as v1.30.2 or 1.7.24~ds1; None where there are
    none.
    """
    found = re.match(r"v?([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})", version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
