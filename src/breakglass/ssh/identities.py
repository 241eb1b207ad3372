"""Collects the keys to log in with, in OpenSSH's order: the key of the environment, the keys of the
agent, then key files.
"""

import base64
import binascii
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from breakglass.errors import Unreachable
from breakglass.signatures.keys import fingerprint
from breakglass.ssh.settings import Target
from breakglass.text import printable

if TYPE_CHECKING:
    import paramiko

KEY_VARIABLE = "BREAKGLASS_SSH_KEY"
AGENT_SECONDS = 30.0
"""An agent may ask its owner before it signs."""


class KeyRefused(Exception):
    """A private key can not be used. The message has the reason and nothing of the key."""

    def __init__(self, reason: str, *, encrypted: bool = False) -> None:
        super().__init__(reason)
        self.encrypted = encrypted


@dataclass(frozen=True)
class Identity:
    """A key to offer, and its name for messages."""

    name: str
    key: "paramiko.PKey" = field(repr=False)

    def __str__(self) -> str:
        return f"{self.name} ({fingerprint(self.key.asbytes())})"


@dataclass
class Identities:
    """The keys to offer, and the files that cannot be used, with a remedy for each."""

    usable: list[Identity] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    looked_for: list[str] = field(default_factory=list)
    remedies: list[str] = field(default_factory=list)

    def refuse(self, reason: str, remedy: str) -> None:
        self.unusable.append(reason)
        self.remedies.append(remedy)

    def explain(self) -> str:
        """Why there is no usable key."""
        if self.unusable:
            return "; ".join(self.unusable)
        return f"no agent key, and none of {', '.join(self.looked_for) or 'no file named'}"

    def advice(self) -> str:
        """The next step of somebody who has no usable key."""
        return "; ".join(self.remedies) or (
            f"Name a key with IdentityFile in the SSH configuration, load one with ssh-add, "
            f"or set {KEY_VARIABLE}."
        )

    def unusable_words(self) -> str:
        return f"; not used: {'; '.join(self.unusable)}" if self.unusable else ""


@contextmanager
def collect(
    target: Target, *, key_text: str | None, timeout_seconds: float
) -> Iterator[Identities]:
    """The identities to offer. The agent stays connected within the context. Raises Unreachable if
    the environment's key can not be used.
    """
    identities = Identities()
    if key_text is not None:
        identities.usable.append(Identity(f"${KEY_VARIABLE}", _from_environment(key_text)))
    connection, of_agent = agent_keys(target.agent_socket, timeout_seconds=timeout_seconds)
    try:
        public = {path: public_part(path) for path in target.identity_files}
        listed = [blob for blob in public.values() if blob is not None]
        preferred = [identity for identity in of_agent if identity.key.asbytes() in listed]
        identities.usable += preferred
        if not target.identities_only:
            identities.usable += [identity for identity in of_agent if identity not in preferred]
        held = {identity.key.asbytes() for identity in of_agent}
        for path, blob in public.items():
            if blob is None or blob not in held:
                _add_file(path, identities, named=target.identity_files_named)
        yield identities
    finally:
        if connection is not None:
            connection.close()


def _add_file(path: Path, identities: Identities, *, named: bool) -> None:
    identities.looked_for.append(str(path))
    try:
        status = path.stat()
        text = path.read_bytes()
        if text.startswith((b"ssh-", b"ecdsa-", b"sk-")):
            identities.refuse(
                f"{path} is a public key, and no agent holds the private one",
                f"ssh-add {path.with_suffix('')}",
            )
            return
        if status.st_mode & 0o077:
            mode = f"{status.st_mode & 0o777:04o}"
            identities.refuse(f"{path} is open to others (mode {mode})", f"chmod 600 {path}")
            return
        identities.usable.append(Identity(str(path), load(text)))
    except FileNotFoundError:
        if named:
            identities.refuse(
                f"{path} does not exist", "Correct IdentityFile in the SSH configuration."
            )
    except OSError as error:
        identities.refuse(f"{path} can not be read ({error.strerror})", f"ls -l {path}")
    except KeyRefused as error:
        if error.encrypted:
            identities.refuse(f"{path} {error}, and no agent holds it", f"ssh-add {path}")
        else:
            identities.refuse(f"{path} {error}", f"ssh-keygen -y -f {path}")


def load(text: bytes) -> "paramiko.PKey":
    """A private key in OpenSSH's or a PEM form. Raises KeyRefused."""
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    text = b"\n".join(line.strip() for line in text.strip().splitlines()) + b"\n"
    read = serialization.load_pem_private_key
    if b"BEGIN OPENSSH" in text:
        read = serialization.load_ssh_private_key
    try:
        loaded = read(text, None)
    except TypeError as error:
        raise KeyRefused("is encrypted", encrypted=True) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        # The library has no separate exception for an encrypted key in OpenSSH's form.
        if "password" in str(error).lower() and "protected" in str(error):
            raise KeyRefused("is encrypted", encrypted=True) from error
        raise KeyRefused("is no private key that can be read") from error
    kinds: list[tuple[type, type[paramiko.PKey]]] = [
        (ed25519.Ed25519PrivateKey, paramiko.Ed25519Key),
        (ec.EllipticCurvePrivateKey, paramiko.ECDSAKey),
        (rsa.RSAPrivateKey, paramiko.RSAKey),
    ]
    for kind, wrapper in kinds:
        if isinstance(loaded, kind):
            plain = loaded.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            )
            return wrapper.from_private_key(StringIO(plain.decode()))
    raise KeyRefused("is of a kind that is not used for logging in")


def _from_environment(text: str) -> "paramiko.PKey":
    try:
        return load(text.encode())
    except KeyRefused as error:
        raise Unreachable(
            f"${KEY_VARIABLE} {error}",
            next_step=(
                f"Set {KEY_VARIABLE} to the whole text of a private key without a passphrase "
                f"(ed25519, ecdsa or rsa)."
            ),
        ) from error


def agent_keys(
    path: str | None, *, timeout_seconds: float
) -> tuple[socket.socket | None, list[Identity]]:
    """The connection to the agent, and its keys. An agent that does not answer has no keys."""
    if path is None:
        return None, []
    from paramiko.agent import AgentSSH
    from paramiko.ssh_exception import SSHException

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_seconds)
    agent = AgentSSH()
    try:
        connection.connect(path)
        # paramiko's public function connects to the socket in $SSH_AUTH_SOCK only.
        agent._connect(connection)  # type: ignore[attr-defined]
    except (OSError, SSHException):
        connection.close()
        return None, []
    connection.settimeout(AGENT_SECONDS)
    return connection, [
        Identity(f"agent key {printable(key.comment)!r}", key)
        for key in agent.get_keys()
        if "-cert-v01@" not in key.get_name()
    ]


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
