"""The format of a signature: OpenSSH, PROTOCOL.sshsig."""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from itertools import islice

from breakglass.signatures.fields import Fields, string
from breakglass.signatures.keys import is_signed_by

NAMESPACE = "breakglass-record"
"""What the signatures of records are for: one that was made for another purpose is none."""
LARGEST_BYTES = 16 * 1024
MOST_SIGNATURES = 4
"""In one file: two while a tarball replaces another, more where such a run was cut short before."""
HASH = "sha512"
"""What is signed with; `sha256` is accepted too."""
_MAGIC = b"SSHSIG"
_HASHES = ("sha256", "sha512")
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_BLOCK = re.compile(rf"{_BEGIN}\s([A-Za-z0-9+/=\s]{{1,{2 * LARGEST_BYTES}}}){_END}")


@dataclass(frozen=True)
class SshSignature:
    key: bytes
    """The public key that it names."""
    namespace: str
    hash_name: str
    signature: bytes

    def is_of(self, message: bytes) -> bool:
        """Whether its key has signed this message. Raises ValueError where the kind of key or
        signature is not verified here.
        """
        signed = signed_bytes(message, namespace=self.namespace, hash_name=self.hash_name)
        return is_signed_by(self.key, self.signature, signed)


def signed_bytes(message: bytes, *, namespace: str = NAMESPACE, hash_name: str = HASH) -> bytes:
    """What the key really signs."""
    digest = hashlib.new(hash_name, message).digest()
    parts = (namespace.encode(), b"", hash_name.encode(), digest)
    return _MAGIC + b"".join(map(string, parts))


def encode(key: bytes, signature: bytes, *, namespace: str = NAMESPACE) -> bytes:
    """A whole signature. `signature`: of `signed_bytes`, with the name of its algorithm."""
    parts = (key, namespace.encode(), b"", HASH.encode(), signature)
    return _MAGIC + (1).to_bytes(4, "big") + b"".join(map(string, parts))


def decode(data: bytes) -> SshSignature:
    """Raises ValueError with the reason."""
    fields = Fields(data)
    if fields.take(len(_MAGIC)) != _MAGIC:
        raise ValueError("it is no SSH signature")
    version = fields.number()
    if version != 1:
        raise ValueError(f"its version is {version}, not 1")
    key, namespace = fields.string(), fields.word()
    fields.string()  # reserved: what is in it is ignored, and not signed as anything else
    hash_name, signature = fields.word(), fields.string()
    fields.end()
    if hash_name not in _HASHES:
        raise ValueError(f"its hash is {hash_name}, not one of {', '.join(_HASHES)}")
    return SshSignature(key, namespace, hash_name, signature)


def armor(data: bytes) -> str:
    """As a file has it."""
    text = base64.b64encode(data).decode()
    lines = (text[start : start + 70] for start in range(0, len(text), 70))
    return "\n".join((_BEGIN, *lines, _END)) + "\n"


def blocks(text: str) -> list[bytes]:
    """The first signatures in a file. What is no block of base64 is left out."""
    found = []
    for match in islice(_BLOCK.finditer(text), MOST_SIGNATURES):
        try:
            found.append(base64.b64decode("".join(match[1].split()), validate=True))
        except binascii.Error:
            continue
    return found
