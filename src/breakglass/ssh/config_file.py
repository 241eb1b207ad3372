"""Reads the OpenSSH client's configuration files for one destination. The format: ssh_config(5).

Left out on purpose: `Match exec` is never run and so never matches; names are not canonicalised, so
`canonical` and `final` are never true.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from breakglass.errors import Usage
from breakglass.patterns import match_patterns

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
MAX_INCLUDE_DEPTH = 16


@dataclass(frozen=True)
class Destination:
    """`[user@]host[:port]` in its parts."""

    host: str
    user: str | None = None
    port: int | None = None


class ConfigReader:
    """Reads configuration files for one destination. The first value of each keyword counts."""

    def __init__(self, destination: Destination, *, home: Path, local_user: str) -> None:
        self.destination = destination
        self.home = home
        self.local_user = local_user
        self.user_config = True
        self.values: dict[str, list[str]] = {}
        if destination.user is not None:
            self.values["user"] = [destination.user]
        if destination.port is not None:
            self.values["port"] = [str(destination.port)]

    @property
    def hostname(self) -> str:
        """The name or address to connect to, as far as it is known."""
        if "hostname" not in self.values:
            return self.destination.host
        return expand(self.values["hostname"][0], {"h": self.destination.host})

    def read(self, file: Path, *, active: bool, never: bool = False, depth: int = 0) -> None:
        """Take the values that apply to the destination. `active`: the lines before the first Host
        apply. `never`: nothing in the file applies, since the block that includes it does not.
        """
        try:
            lines = file.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
        except OSError:
            return
        for number, line in enumerate(lines, start=1):
            matched = re.fullmatch(r"\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(\S.*?)\s*", line)
            if matched is None:
                continue
            keyword, rest = matched[1].lower(), matched[2]
            if keyword == "match":
                active = not never and self._matches(rest)
                continue
            if keyword == "proxycommand":
                self._set("proxycommand", [rest], active=active)
                continue
            words = split_words(rest, where=f"{file}:{number}")
            if keyword == "host":
                active = not never and match_patterns(self.destination.host, words)
            elif keyword == "include" and depth < MAX_INCLUDE_DEPTH:
                for included in self._included(words):
                    self.read(included, active=active, never=never or not active, depth=depth + 1)
            elif words:
                self._set(keyword, words, active=active)

    def _included(self, patterns: list[str]) -> Iterator[Path]:
        directory = self.home / ".ssh" if self.user_config else SYSTEM_CONFIG.parent
        for pattern in patterns:
            # glob() and not Path.glob(): the pattern may be absolute.
            for name in sorted(glob(str(directory / self.tilde(pattern)))):  # noqa: PTH207
                yield Path(name)

    def tilde(self, path: str) -> str:
        """The path with a leading `~` or `~user` replaced."""
        if path == "~" or path.startswith("~/"):
            return str(self.home) + path[1:]
        return os.path.expanduser(path)  # noqa: PTH111 (~user)

    def _set(self, keyword: str, values: list[str], *, active: bool) -> None:
        if not active:
            return
        if keyword in ("identityfile", "certificatefile"):
            files = self.values.setdefault(keyword, [])
            files.extend(value for value in values[:1] if value not in files)
        elif keyword in ("proxyjump", "proxycommand"):
            # They exclude each other: the keyword that comes first counts.
            if not {"proxyjump", "proxycommand"} & self.values.keys():
                self.values[keyword] = values
        else:
            self.values.setdefault(keyword, values)

    def _matches(self, criteria: str) -> bool:
        """Whether all criteria of a Match line hold."""
        words = [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|([^\s="]+)', criteria)]
        while words and not words[0].startswith("#"):
            word = words.pop(0).lower()
            negated, word = word.startswith("!"), word.removeprefix("!")
            if word == "all":
                holds = True
            elif word in ("canonical", "final"):
                holds = False
            else:
                subject = self._subject(word)
                if subject is None or not words:
                    return False
                patterns = words.pop(0)
                if word.endswith("host"):
                    patterns = patterns.lower()
                holds = match_patterns(subject, patterns.split(","))
            if holds == negated:
                return False
        return True

    def _subject(self, criterion: str) -> str | None:
        """The text that a criterion of Match is about."""
        return {
            "host": self.hostname.lower(),
            "originalhost": self.destination.host.lower(),
            "user": self.values.get("user", [self.local_user])[0],
            "localuser": self.local_user,
        }.get(criterion)


def expand(text: str, tokens: Mapping[str, str]) -> str:
    """Replace %h and other tokens: ssh_config(5), TOKENS. An unknown token stays as it is."""
    return re.sub(r"%(.)", lambda match: {"%": "%", **tokens}.get(match[1], match[0]), text)


def split_words(text: str, *, where: str) -> list[str]:
    """The words of a line, as OpenSSH splits it. A word may have quotes of both kinds; a word that
    starts with # ends the line. Raises Usage, which names `where`.
    """
    words: list[str] = []
    position = 0
    while position < len(text) and text[position] != "#":
        if text[position] in " \t":
            position += 1
            continue
        word, position = _next_word(text, position, where=where)
        words.append(word)
    return words


def _next_word(text: str, position: int, *, where: str) -> tuple[str, int]:
    """The word that starts at the position, and the position after it."""
    word, quote = "", ""
    while position < len(text) and (quote or text[position] not in " \t"):
        character = text[position]
        following = text[position + 1 : position + 2]
        # A backslash keeps its meaning before any other character.
        escapes = ("'", '"', "\\") if quote else ("'", '"', "\\", " ")
        if character == "\\" and following in escapes:
            position += 1
            word += following
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        else:
            word += character
        position += 1
    if quote:
        raise Usage(f"{where}: a quote is not closed")
    return word, position
