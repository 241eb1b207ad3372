"""Text from another host is data: printed inert, never markup, never control characters."""

import re
import unicodedata

from breakglass.ports import Result

_REPORT_OF_BASH = re.compile(rb"^(?:ba)?sh: line \d+: +\d+ .*\n?", re.MULTILINE)
"""What bash says of a command that a signal ended: the whole command line, our loader included."""


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


def version_numbers(version: str) -> tuple[int, int, int] | None:
    """The first three numbers of a version such as v1.30.2 or 1.7.24~ds1; None where there are
    none.
    """
    found = re.match(r"v?([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})", version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def said(result: Result) -> str:
    """What a failed command said, in one line, with its exit status."""
    words = inert(_REPORT_OF_BASH.sub(b"", result.stderr) or result.stdout)
    if result.exit_status is None:
        return f"{result.lost or 'outcome unknown'}{': ' + words if words else ''}"
    status = result.exit_status
    how = f"signal {status - 128}" if 128 < status < 160 else f"exit {status}"
    return f"{how}: {words}" if words else how
