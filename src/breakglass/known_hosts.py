"""Judges a host key as OpenSSH's client does. The format: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT."""

import base64
import binascii
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from breakglass.errors import Unreachable
from breakglass.patterns import match_patterns
from breakglass.signatures.keys import fingerprint

KEY_TYPES = {
    "ssh-ed25519": 2,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
    "ssh-rsa": 3,
    "ssh-dss": 5,
    "sk-ssh-ed25519@openssh.com": 3,
    "sk-ecdsa-sha2-nistp256@openssh.com": 4,
}
"""The key types that OpenSSH reads, each with the number of strings that such a key consists of,
its type included. OpenSSH ignores a line with any other key, and so do we.
"""
_ALSO_RSA = ("rsa-sha2-256", "rsa-sha2-512")
"""Names of RSA signatures: OpenSSH takes them for the key type `ssh-rsa` in a line."""
CERT_AUTHORITY, REVOKED = "@cert-authority", "@revoked"


class Status(Enum):
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


@dataclass(frozen=True)
class Entry:
    """One usable line of a known_hosts file."""

    source: str
    """The file, or the environment variable as `$NAME`."""
    line: int
    marker: str
    hosts: str
    key_type: str
    key: bytes

    def matches(self, name: str) -> bool:
        """Whether the line is about this name: `host`, or `[host]:port` if the port is not 22."""
        if self.hosts.startswith("|"):
            return _matches_hash(self.hosts, name)
        return match_patterns(name.lower(), self.hosts.lower().split(","))

    def __str__(self) -> str:
        return f"{self.key_type} {fingerprint(self.key)} ({self.source}:{self.line})"


@dataclass(frozen=True)
class Verdict:
    status: Status
    name: str
    """The name that was looked up."""
    on_record: tuple[Entry, ...] = ()
    """Every line about the name."""


def parse(text: str, *, source: str) -> list[Entry]:
    """The usable lines of a file. Lines that OpenSSH does not understand are ignored."""
    entries = (
        _parse_line(line, source=source, number=number)
        for number, line in enumerate(text.split("\n"), start=1)
    )
    return [entry for entry in entries if entry is not None]


def look_up_name(host: str, port: int, *, alias: str | None = None) -> str:
    """The name to look up: HostKeyAlias, or `host`, or `[host]:port` if the port is not 22."""
    if alias is not None:
        return alias
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def judge(
    entries: Sequence[Entry], *, host: str, port: int, key: bytes, alias: str | None = None
) -> Verdict:
    """The verdict that OpenSSH would reach on this key."""
    verdict = _judge_name(entries, look_up_name(host, port, alias=alias), key)
    if verdict.status is not Status.UNKNOWN or alias is not None or port == 22:
        return verdict
    # A host on another port may be listed without its port. Then only an accepted key counts.
    without_port = _judge_name(entries, host.lower(), key)
    if without_port.status is Status.ACCEPTED:
        return Verdict(Status.ACCEPTED, host.lower())
    return verdict


def prefer(
    algorithms: Sequence[str],
    entries: Sequence[Entry],
    *,
    host: str,
    port: int,
    alias: str | None = None,
) -> list[str]:
    """The host key algorithms in the order to offer them to the server: as OpenSSH does, first
    those for which a key is on record.

    The first key of each type counts, unless it is revoked. If the most preferred algorithm is on
    record, the order stays as it is.
    """
    name = look_up_name(host, port, alias=alias)
    on_record = [entry for entry in entries if entry.matches(name)]
    revoked = {entry.key for entry in on_record if entry.marker == REVOKED}
    first = {entry.key_type: entry.key for entry in reversed(on_record) if not entry.marker}
    known = {key_type for key_type, key in first.items() if key not in revoked}

    def is_known(algorithm: str) -> bool:
        return ("ssh-rsa" if algorithm.startswith("rsa-") else algorithm) in known

    if not algorithms or is_known(algorithms[0]):
        return list(algorithms)
    return sorted(algorithms, key=lambda algorithm: not is_known(algorithm))


class Refusal(Unreachable):
    """A host key that was not accepted. Its words come from `ssh/host_key.py`."""


def _judge_name(entries: Iterable[Entry], name: str, key: bytes) -> Verdict:
    on_record = tuple(entry for entry in entries if entry.matches(name))
    plain = [entry for entry in on_record if not entry.marker]
    if any(entry.marker == REVOKED and entry.key == key for entry in on_record):
        status = Status.REVOKED
    elif any(entry.key == key for entry in plain):
        status = Status.ACCEPTED
    else:
        status = Status.CHANGED if plain else Status.UNKNOWN
    return Verdict(status, name, on_record)


def _parse_line(line: str, *, source: str, number: int) -> Entry | None:
    # Not split(): other kinds of white space separate nothing for OpenSSH.
    fields = [field for field in line.strip(" \t\r").replace("\t", " ").split(" ") if field]
    if not fields or fields[0].startswith("#"):
        return None
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    if (
        marker not in ("", CERT_AUTHORITY, REVOKED)
        or len(fields) < 3
        or fields[1] not in (*KEY_TYPES, *_ALSO_RSA)
    ):
        return None
    hosts, key_type, encoded = fields[:3]
    key_type = "ssh-rsa" if key_type in _ALSO_RSA else key_type
    try:
        key = base64.b64decode(encoded.rstrip("\r"), validate=True)
    except (binascii.Error, ValueError):
        return None
    parts = _strings(key)
    if parts[:1] != [key_type.encode()] or len(parts) != KEY_TYPES[key_type]:
        return None
    return Entry(source=source, line=number, marker=marker, hosts=hosts, key_type=key_type, key=key)


def _strings(key: bytes) -> list[bytes]:
    """The strings in a key, each preceded by its length (RFC 4251); [] if they do not fill the key
    exactly.
    """
    parts = []
    while key:
        end = 4 + int.from_bytes(key[:4], "big")
        if len(key) < end:
            return []
        parts.append(key[4:end])
        key = key[end:]
    return parts


def _matches_hash(hosts: str, name: str) -> bool:
    """Whether a hashed host field is the hash of this name: `|1|salt|HMAC-SHA1 of the name`."""
    try:
        _, version, salt, digest = hosts.split("|")
        expected = base64.b64decode(digest, validate=True)
        computed = hmac.new(base64.b64decode(salt, validate=True), name.encode(), "sha1").digest()
    except (ValueError, binascii.Error):
        return False
    return version == "1" and hmac.compare_digest(computed, expected)
