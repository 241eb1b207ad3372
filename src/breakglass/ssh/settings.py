"""The OpenSSH client's configuration, resolved for one destination as `ssh -G` would. The format:
ssh_config(5).

Left out on purpose: `Match exec` is never run and so never matches; names are not canonicalised, so
`canonical` and `final` are never true.
"""

import getpass
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from breakglass.errors import Usage
from breakglass.patterns import match_patterns

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
DEFAULT_IDENTITIES = (
    "~/.ssh/id_rsa",
    "~/.ssh/id_ecdsa",
    "~/.ssh/id_ecdsa_sk",
    "~/.ssh/id_ed25519",
    "~/.ssh/id_ed25519_sk",
)
MAX_INCLUDE_DEPTH = 16


@dataclass(frozen=True)
class Destination:
    """`[user@]host[:port]` in its parts."""

    host: str
    user: str | None = None
    port: int | None = None


@dataclass(frozen=True)
class Target:
    """Where a destination leads, and with what to log in there."""

    typed: str
    """The host as it was typed: what `Host` patterns are matched with."""
    hostname: str
    port: int
    user: str | None
    """None where nothing names one; then it is the local user's name."""
    host_key_alias: str | None = None
    identity_files: tuple[Path, ...] = ()
    identity_files_named: bool = False
    identities_only: bool = False
    agent_socket: str | None = None
    jumps: tuple[str, ...] = ()
    """ProxyJump: the hosts on the way, the first one first."""
    proxy_command: str | None = None
    known_hosts: tuple[Path, ...] = ()
    """Where host keys are on record, the user's files first."""
    address_family: socket.AddressFamily = socket.AF_UNSPEC

    @property
    def login(self) -> str:
        """The user's name to log in with."""
        return self.user or getpass.getuser()


def resolve(
    ssh: str,
    *,
    config: Path,
    known_hosts: Path,
    environ: Mapping[str, str],
    jumps: tuple[str, ...] | None = None,
) -> Target:
    """Resolve a destination. `jumps` overrides ProxyJump, as `ssh -J` does. Raises Usage."""
    destination = parse_destination(ssh)
    home = Path(environ.get("HOME") or Path.home())
    reading = _Reading(destination, home=home)
    if jumps is not None:
        reading.found["proxyjump"] = [",".join(jumps) or "none"]
    reading.read(config, active=True)
    if config == home / ".ssh" / "config":
        # As with `ssh -F`, a configuration that was named is the only one.
        reading.user_config = False
        reading.read(SYSTEM_CONFIG, active=True)
    return _target(reading, environ=environ, known_hosts=known_hosts)


def parse_destination(ssh: str) -> Destination:
    """The parts of `[user@]host[:port]`; an IPv6 address with a port needs brackets. Raises
    Usage.
    """
    user, at, rest = ssh.rpartition("@")
    bracketed = re.fullmatch(r"\[([^\[\]]+)\](?::(\d+))?", rest)
    host, port = (
        (bracketed[1], bracketed[2])
        if bracketed
        else (rest, None)
        if rest.count(":") != 1
        else rest.split(":")
    )
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._:%-]*|::[0-9A-Fa-f:.%]*", host) or (
        at and not re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._@\\+-]*\$?", user)
    ):
        raise Usage(f"{ssh!r} is no SSH destination", next_step="Write it as [user@]host[:port].")
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Usage(
            f"{ssh!r} names no port between 1 and 65535",
            next_step="Write it as [user@]host[:port].",
        )
    return Destination(host, user or None, int(port) if port else None)


class _Reading:
    """Reads configuration files for one destination; for each keyword the first value found
    counts.
    """

    def __init__(self, destination: Destination, *, home: Path) -> None:
        self.destination = destination
        self.home = home
        self.local_user = getpass.getuser()
        self.user_config = True
        self.found: dict[str, list[str]] = {}
        if destination.user is not None:
            self.found["user"] = [destination.user]
        if destination.port is not None:
            self.found["port"] = [str(destination.port)]

    @property
    def hostname(self) -> str:
        value = self.found.get("hostname")
        return expand(value[0], {"h": self.destination.host}) if value else self.destination.host

    def read(self, file: Path, *, active: bool, never: bool = False, depth: int = 0) -> None:
        """`active`: outside of any Host block. `never`: included from a block that does not apply,
        so that no block within does.
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
            values = _split(rest, where=f"{file}:{number}")
            if keyword == "host":
                active = not never and match_patterns(self.destination.host, values)
            elif keyword == "include" and depth < MAX_INCLUDE_DEPTH:
                for pattern in values:
                    directory = self.home / ".ssh" if self.user_config else SYSTEM_CONFIG.parent
                    for name in sorted(glob(str(directory / self.tilde(pattern)))):  # noqa: PTH207 (an absolute pattern)
                        self.read(
                            Path(name), active=active, never=never or not active, depth=depth + 1
                        )
            elif values:
                self._set(keyword, values, active=active)

    def tilde(self, path: str) -> str:
        if path == "~" or path.startswith("~/"):
            return str(self.home) + path[1:]
        return os.path.expanduser(path)  # noqa: PTH111 (~user)

    def _set(self, keyword: str, values: list[str], *, active: bool) -> None:
        if not active:
            return
        if keyword == "identityfile":
            files = self.found.setdefault(keyword, [])
            files.extend(value for value in values[:1] if value not in files)
        elif keyword in ("proxyjump", "proxycommand"):
            # They exclude each other; the first one counts.
            if not {"proxyjump", "proxycommand"} & self.found.keys():
                self.found[keyword] = values
        else:
            self.found.setdefault(keyword, values)

    def _matches(self, criteria: str) -> bool:
        words = [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|([^\s="]+)', criteria)]
        while words and not words[0].startswith("#"):
            word = words.pop(0).lower()
            negated, word = word.startswith("!"), word.removeprefix("!")
            if word == "all":
                result = True
            elif word in ("canonical", "final"):
                result = False
            else:
                subject = {
                    "host": self.hostname.lower(),
                    "originalhost": self.destination.host.lower(),
                    "user": self.found.get("user", [self.local_user])[0],
                    "localuser": self.local_user,
                }.get(word)
                if subject is None or not words:
                    return False
                patterns = words.pop(0)
                if word.endswith("host"):
                    patterns = patterns.lower()
                result = match_patterns(subject, patterns.split(","))
            if result == negated:
                return False
        return True


def _target(reading: _Reading, *, environ: Mapping[str, str], known_hosts: Path) -> Target:
    found = reading.found

    def first(keyword: str) -> str | None:
        value = found.get(keyword, [""])[0]
        return None if value == "" or (value.lower() == "none" and keyword != "user") else value

    port = first("port") or "22"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Usage(
            f"the SSH configuration names {port!r} as the port of {reading.destination.host}"
        )
    hostname, user = reading.hostname.lower(), first("user")
    host_name = socket.gethostname()
    tokens = {
        "h": hostname,
        "n": reading.destination.host,
        "p": port,
        "r": user or reading.local_user,
        "u": reading.local_user,
        "d": str(reading.home),
        "L": host_name.split(".")[0],
        "l": host_name,
        "i": str(os.getuid()),
        "k": first("hostkeyalias") or reading.destination.host,
        "j": first("proxyjump") or "",
    }

    def path(text: str) -> Path:
        return Path(expand(_variables(reading.tilde(text), environ), tokens))

    named = [value for value in found.get("identityfile", ()) if value.lower() != "none"]
    identities = named if "identityfile" in found else list(DEFAULT_IDENTITIES)
    user_files = (
        [path(value) for value in found["userknownhostsfile"] if value.lower() != "none"]
        if "userknownhostsfile" in found
        else [known_hosts]
    )
    global_files = [
        path(value)
        for value in found.get("globalknownhostsfile", GLOBAL_KNOWN_HOSTS)
        if value.lower() != "none"
    ]
    jump = first("proxyjump")
    families = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
    return Target(
        typed=reading.destination.host,
        hostname=hostname,
        port=int(port),
        user=user,
        host_key_alias=first("hostkeyalias"),
        identity_files=tuple(map(path, identities)),
        identity_files_named="identityfile" in found,
        identities_only=(first("identitiesonly") or "no").lower() in ("yes", "true"),
        agent_socket=_agent_socket(
            found.get("identityagent", [None])[0], environ=environ, path=path
        ),
        jumps=tuple(expand(part.strip().removeprefix("ssh://"), tokens) for part in jump.split(","))
        if jump
        else (),
        proxy_command=first("proxycommand"),
        known_hosts=tuple(dict.fromkeys((*user_files, *global_files))),
        address_family=families.get((first("addressfamily") or "any").lower(), socket.AF_UNSPEC),
    )


def _agent_socket(
    value: str | None, *, environ: Mapping[str, str], path: Callable[[str], Path]
) -> str | None:
    """IdentityAgent: `none`, a variable's name, or a path; without it $SSH_AUTH_SOCK."""
    if value is None or value == "SSH_AUTH_SOCK":
        return environ.get("SSH_AUTH_SOCK") or None
    if value.lower() == "none":
        return None
    if value.startswith("$") and not value.startswith("${"):
        return environ.get(value[1:]) or None
    return str(path(value))


def expand(text: str, tokens: Mapping[str, str]) -> str:
    """Replace %h and its like; a token that is not known stays as it is."""
    return re.sub(
        r"%(.)", lambda match: "%" if match[1] == "%" else tokens.get(match[1], match[0]), text
    )


def _variables(text: str, environ: Mapping[str, str]) -> str:
    return re.sub(r"\$\{([^}]*)\}", lambda match: environ.get(match[1], ""), text)


def _split(text: str, *, where: str) -> list[str]:
    """The words of a line: quotes of both kinds, a backslash before a quote, a backslash or a
    space; a word that starts with # ends it.
    """
    words: list[str] = []
    position = 0
    while position < len(text):
        if text[position] in " \t":
            position += 1
            continue
        if text[position] == "#":
            break
        word, quote = "", ""
        while position < len(text) and (quote or text[position] not in " \t"):
            character = text[position]
            if character == "\\" and text[position + 1 : position + 2] in (
                "'",
                '"',
                "\\",
                *(() if quote else (" ",)),
            ):
                position += 1
                word += text[position]
            elif character == quote:
                quote = ""
            elif not quote and character in "'\"":
                quote = character
            else:
                word += character
            position += 1
        if quote:
            raise Usage(f"{where}: a quote is not closed")
        words.append(word)
    return words
