"""Quotes words for every shell that may read a line: sh, bash, dash, zsh, fish, csh and their kin.

The login shell of a host reads what SSH sends, and the operator's own shell reads what is typed.
They differ: fish takes a backslash inside single quotes for an escape, csh a `!` for its history,
zsh a leading `=` for a search in PATH. In the form made here none of this happens.
"""

import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[A-Za-z0-9_@+:,./-][A-Za-z0-9_@+:,./=%-]*")
_SPECIAL = re.compile(r"['\\!]")
_DECODE = 'for w in "$@"; do w=$(printf %b. "$w"); shift; set -- "$@" "${w%.}"; done; exec "$@"'


def quote(text: str) -> str:
    """One word. Backslashes and `!` stand escaped, outside of the quotes."""
    if _PLAIN.fullmatch(text):
        return text
    return f"'{_SPECIAL.sub(_outside, text)}'"


def _outside(match: re.Match[str]) -> str:
    return "'\"'\"'" if match[0] == "'" else f"'\\{match[0]}'"


def join(words: Iterable[str]) -> str:
    """One line of several words."""
    return " ".join(map(quote, words))


def one_line(words: tuple[str, ...]) -> tuple[str, ...]:
    """The same command without a line end in any word: csh ends a line at each. Where there is one,
    a shell puts the line ends back in and starts the command.
    """
    if not any("\n" in word for word in words):
        return words
    encoded = (word.replace("\\", "\\0134").replace("\n", "\\0012") for word in words)
    return ("sh", "-c", _DECODE, "sh", *encoded)
