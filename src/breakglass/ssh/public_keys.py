"""Reads public keys and OpenSSH certificates of users, without any private key."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from breakglass.text import printable

FOREVER = 2**64 - 1


@dataclass(frozen=True)
class Certificate:
    """A certificate for a user's key, signed by an authority."""

    name: str
    """The file's path, or what the agent calls it."""
    kind: str
    blob: bytes
    key: bytes
    """The public key that it certifies."""
    principals: tuple[str, ...]
    valid_before: int

    def __str__(self) -> str:
        users = printable(", ".join(self.principals)) or "any user"
        return f"{self.name} (certificate for {users}, valid {self._until()})"

    def _until(self) -> str:
        if self.valid_before == FOREVER:
            return "for ever"
        try:
            end = datetime.fromtimestamp(self.valid_before, UTC)
        except (ValueError, OverflowError, OSError):
            return "for ever"
        is_over = end < datetime.now(UTC)
        return f"until {end:%Y-%m-%d %H:%M} UTC{', which is over' if is_over else ''}"


def read_certificate(path: Path) -> Certificate | None:
    """The certificate of a user in a file. None if the file is absent or anything else."""
    try:
        return parse_certificate(path.read_bytes(), name=str(path))
    except OSError:
        return None


def parse_certificate(text: bytes, *, name: str) -> Certificate | None:
    """The certificate of a user in the text of its file. None if it is anything else."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        identity = serialization.load_ssh_public_identity(text)
        if (
            not isinstance(identity, serialization.SSHCertificate)
            or identity.type is not serialization.SSHCertificateType.USER
        ):
            return None
        plain = identity.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        kind, blob = text.split()[:2]
        return Certificate(
            name=name,
            kind=kind.decode(),
            blob=base64.b64decode(blob),
            key=base64.b64decode(plain.split()[1]),
            principals=tuple(user.decode("utf-8", "replace") for user in identity.valid_principals),
            valid_before=identity.valid_before,
        )
    except (ValueError, UnsupportedAlgorithm):
        return None


def read_beside(path: Path) -> Certificate | None:
    """The certificate of a key file, from where OpenSSH looks for it."""
    return read_certificate(path.with_name(path.name + "-cert.pub"))


def public_part(path: Path) -> bytes | None:
    """The public key of an identity file, without its passphrase: from `PATH.pub`, or from the file
    itself if it is a public key or has OpenSSH's form. None if there is none.
    """
    for candidate in (path.with_name(path.name + ".pub"), path):
        try:
            text = candidate.read_text(errors="replace")
            fields = text.split()
            if "BEGIN OPENSSH PRIVATE KEY" in text:
                body = [line for line in text.split("\n") if not line.startswith("-----")]
                return _public_field(base64.b64decode("".join(body)))
            if len(fields) > 1 and not text.startswith("-----"):
                return base64.b64decode(fields[1], validate=True)
        except (OSError, ValueError, binascii.Error):
            continue
    return None


def _public_field(data: bytes) -> bytes | None:
    """The public key in a private key of OpenSSH's form: a magic word, then cipher, kdf and its
    options as strings, a count, then the public key (OpenSSH, PROTOCOL.key).
    """
    magic = b"openssh-key-v1\0"
    if not data.startswith(magic):
        return None
    position = len(magic)
    for _ in range(3):
        position += 4 + int.from_bytes(data[position : position + 4], "big")
    position += 4
    size = int.from_bytes(data[position : position + 4], "big")
    return data[position + 4 : position + 4 + size]
