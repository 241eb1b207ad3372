"""Reads private keys."""

from io import StringIO
from typing import TYPE_CHECKING

from breakglass.errors import Unreachable

if TYPE_CHECKING:
    import paramiko

KEY_VARIABLE = "BREAKGLASS_SSH_KEY"


class KeyRefused(Exception):
    """A private key can not be used. The message has the reason and nothing of the key."""

    def __init__(self, reason: str, *, encrypted: bool = False) -> None:
        super().__init__(reason)
        self.encrypted = encrypted


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


def from_environment(text: str) -> "paramiko.PKey":
    """The key that the environment variable holds. Raises Unreachable."""
    try:
        return load(text.encode())
    except KeyRefused as error:
        raise Unreachable(
            f"${KEY_VARIABLE} {error}",
            next_step=(
                f"set {KEY_VARIABLE} to the whole text of a private key without a passphrase "
                f"(ed25519, ecdsa or rsa)"
            ),
        ) from error
