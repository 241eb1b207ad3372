"""Judging a host key as OpenSSH's client does: lines, the name looked for, a key -> a verdict. The
format: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from breakglass.errors import Unreachable

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
"""Of how many strings a key consists, its type included. A line with a key of another type, or of
other parts, is no line for OpenSSH either.
"""
_ALSO_RSA = ("rsa-sha2-256", "rsa-sha2-512")
"""Names of signatures, which OpenSSH reads as the key's in a line."""
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
    """The file, as it is to be named to a person."""
    line: int
    marker: str
    hosts: str
    key_type: str
    key: bytes

    def matches(self, name: str) -> bool:
        """Whether the line speaks of this name: `host`, or `[host]:port` for a port other than
        22.
        """
        if self.hosts.startswith("|"):
            return _matches_hash(self.hosts, name)
        return match_list(name.lower(), self.hosts.lower())

    def __str__(self) -> str:
        return f"{self.key_type} {fingerprint(self.key)} ({self.source}:{self.line})"


@dataclass(frozen=True)
class Verdict:
    status: Status
    name: str
    """What was looked for."""
    on_record: tuple[Entry, ...] = ()
    """Every line that speaks of the name."""


def parse(text: str, *, source: str) -> list[Entry]:
    """The usable lines of a file; what OpenSSH does not understand is passed over."""
    entries = (
        _parse_line(line, source=source, number=number)
        for number, line in enumerate(text.split("\n"), start=1)
    )
    return [entry for entry in entries if entry is not None]


def look_up_name(host: str, port: int, *, alias: str | None = None) -> str:
    """Under which name a host is looked for: HostKeyAlias as it is, else `host`, or `[host]:port`
    for a port other than 22.
    """
    if alias is not None:
        return alias
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def judge(
    entries: Sequence[Entry], *, host: str, port: int, key: bytes, alias: str | None = None
) -> Verdict:
    """OpenSSH's verdict. A host on another port that is not listed with its port may be listed
    without it, with this very key.
    """
    verdict = _judge_name(entries, look_up_name(host, port, alias=alias), key)
    if (
        verdict.status is Status.UNKNOWN
        and alias is None
        and port != 22
        and _judge_name(entries, host.lower(), key).status is Status.ACCEPTED
    ):
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
    """The host key algorithms in the order to ask for them: those first for which a key is on
    record, as OpenSSH does.

    Of each type the first key on record counts, if it is not revoked. Where the best type is on
    record the order stays as it is.
    """
    name = look_up_name(host, port, alias=alias)
    on_record = [entry for entry in entries if entry.matches(name)]
    revoked = {entry.key for entry in on_record if entry.marker == REVOKED}
    first = {entry.key_type: entry.key for entry in reversed(on_record) if not entry.marker}
    known = {key_type for key_type, key in first.items() if key not in revoked}
    ranked = [
        ("ssh-rsa" if algorithm.startswith("rsa-") else algorithm) in known
        for algorithm in algorithms
    ]
    if not ranked or ranked[0]:
        return list(algorithms)
    return [
        algorithm
        for wanted in (True, False)
        for algorithm, is_known in zip(algorithms, ranked, strict=True)
        if is_known is wanted
    ]


def fingerprint(key: bytes) -> str:
    """As `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


class Refusal(Unreachable):
    """A host key that was not accepted. `next_step` has the line to add."""


def refusal(verdict: Verdict, *, host: str, key_type: str, key: bytes, file: str) -> Refusal:
    """The refusal in words: what was offered, what is on record, how to check it, and what to type
    when it is right.
    """
    offered = f"{key_type} {fingerprint(key)}"
    kind = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}.get(key_type, "ecdsa")
    look = f"on the console of {host}: ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub"
    line = f"{verdict.name} {key_type} {base64.b64encode(key).decode()}"
    plain = [entry for entry in verdict.on_record if not entry.marker]
    if verdict.status is Status.REVOKED:
        revoked = [
            entry for entry in verdict.on_record if entry.marker == REVOKED and entry.key == key
        ]
        where = ", ".join(f"{entry.source}:{entry.line}" for entry in revoked)
        return Refusal(
            (
                f"the host key that {host} ({verdict.name}) offers is revoked: {offered} "
                f"({where}); nothing was sent to it"
            ),
            next_step=(
                f"Find out who answers there before anything else. To compare the fingerprint, "
                f"{look}"
            ),
        )
    if verdict.status is Status.CHANGED:
        removals = "; ".join(
            f"ssh-keygen -R '{verdict.name}' -f {source}"
            for source in dict.fromkeys(entry.source for entry in plain)
        )
        return Refusal(
            (
                f"the host key of {host} ({verdict.name}) is not the one on record: it offers "
                f"{offered}; on record: {', '.join(map(str, plain))}; nothing was sent to it"
            ),
            next_step=(
                f"It was installed anew, or somebody else answers. Compare the fingerprint "
                f"{look}. If it is the same: {removals}; then add to {file}: {line}"
            ),
        )
    authority = (
        (
            " (only a certificate authority is on record; host certificates are not judged here, "
            "a plain key is needed)"
        )
        if verdict.on_record
        else ""
    )
    return Refusal(
        (
            f"the host key of {host} ({verdict.name}) is not known: it offers "
            f"{offered}{authority}; nothing was sent to it"
        ),
        next_step=f"Compare the fingerprint {look}. If it is the same, add to {file}: {line}",
    )


def match_pattern(text: str, pattern: str) -> bool:
    """OpenSSH's patterns know `*` and `?`, and nothing else."""
    expression = "".join(
        ".*" if part.startswith("*") else "." if part == "?" else re.escape(part)
        for part in re.findall(r"\*+|\?|[^*?]+", pattern)
    )
    return re.fullmatch(expression, text, re.DOTALL) is not None


def match_list(text: str, patterns: str) -> bool:
    """A comma-separated list of patterns; one negated match outweighs every other."""
    found = False
    for pattern in patterns.split(","):
        negated = pattern.startswith("!")
        if match_pattern(text, pattern[1:] if negated else pattern):
            if negated:
                return False
            found = True
    return found


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
    fields = line.strip(" \t\r").replace("\t", " ").split(" ")
    fields = [field for field in fields if field]
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
    """The strings that a key is made of, each behind its length (RFC 4251); [] where they do not
    fill it exactly.
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
    """`|1|salt|HMAC-SHA1 of the name`."""
    try:
        _, version, salt, digest = hosts.split("|")
        expected = base64.b64decode(digest, validate=True)
        return version == "1" and hmac.compare_digest(
            hmac.new(base64.b64decode(salt, validate=True), name.encode(), "sha1").digest(),
            expected,
        )
    except (ValueError, binascii.Error):
        return False
