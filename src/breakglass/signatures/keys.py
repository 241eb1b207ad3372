"""Public SSH keys, and whether a signature is one of theirs."""

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from breakglass.signatures.fields import Fields

SMALLEST_RSA_BITS, LARGEST_RSA_BITS = 2048, 8192
LARGEST_RSA_EXPONENT = 2**32
"""Beyond these a single signature may take very long."""
ED25519, RSA = "ssh-ed25519", "ssh-rsa"
CURVES = {f"ecdsa-sha2-{curve}": curve for curve in ("nistp256", "nistp384", "nistp521")}
SK_ED25519, SK_ECDSA = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"
KINDS = (ED25519, *CURVES, RSA, SK_ED25519, SK_ECDSA)
"""Every kind of key that is verified here."""
RSA_ALGORITHMS = ("rsa-sha2-512", "rsa-sha2-256")
"""What an RSA key signs with. `ssh-rsa` as the name of an algorithm means SHA-1: it is refused."""

Check = Callable[[str, bytes, bytes], None]
"""(algorithm, signature, message): raises InvalidSignature where it is not of this key."""


@dataclass(frozen=True)
class _Key:
    check: Check
    application: bytes | None = None
    """Of a key on a security key: what it was made for, `ssh:` say."""


def fingerprint(key: bytes) -> str:
    """As `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def kind_of(key: bytes) -> str:
    """The name of its kind. Raises ValueError for what is no key."""
    return Fields(key).word()


def parse_public_key(text: str) -> bytes:
    """The key in a line `ssh-ed25519 AAAA... [comment]`. Raises ValueError with the reason."""
    kind, base64_text = [*text.split(None, 2), "", ""][:2]
    if "-cert-v" in kind:
        raise ValueError("certificates are not supported: name the key itself")
    if kind not in KINDS:
        raise ValueError(f"no public key of a kind that is supported ({', '.join(KINDS)})")
    try:
        key = base64.b64decode(base64_text, validate=True)
    except binascii.Error as error:
        raise ValueError("the public key is not base64") from error
    if kind_of(key) != kind:
        raise ValueError(f"the public key is not of the kind {kind}")
    _read(key)
    return key


def is_signed_by(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the signature of the message is of this key. Raises ValueError where either is not
    of a kind that is verified here.
    """
    from cryptography.exceptions import InvalidSignature

    known, fields = _read(key), Fields(signature)
    algorithm, signed = fields.word(), fields.string()
    if known.application is not None:
        # A security key signs a hash of the message, whether it was touched, and a counter:
        # OpenSSH, PROTOCOL.u2f.
        message = (
            hashlib.sha256(known.application).digest()
            + fields.take(1)
            + fields.take(4)
            + hashlib.sha256(message).digest()
        )
    fields.end()
    try:
        known.check(algorithm, signed, message)
    except InvalidSignature:
        return False
    return True


def _read(key: bytes) -> _Key:
    """Raises ValueError."""
    from cryptography.exceptions import UnsupportedAlgorithm

    fields = Fields(key)
    kind = fields.word()
    try:
        if kind in (ED25519, SK_ED25519):
            check = _ed25519(kind, fields)
        elif kind in (*CURVES, SK_ECDSA):
            check = _ecdsa(kind, fields)
        elif kind == RSA:
            check = _rsa(fields)
        else:
            raise ValueError(f"keys of the kind {kind} are not supported")
    except UnsupportedAlgorithm as error:
        raise ValueError(f"keys of the kind {kind} are not supported on this machine") from error
    application = fields.string() if kind in (SK_ED25519, SK_ECDSA) else None
    fields.end()
    return _Key(check, application)


def _ed25519(kind: str, fields: Fields) -> Check:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    public = Ed25519PublicKey.from_public_bytes(fields.string())

    def check(algorithm: str, signature: bytes, message: bytes) -> None:
        _check_algorithm(algorithm, kind)
        public.verify(signature, message)

    return check


def _ecdsa(kind: str, fields: Fields) -> Check:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    name = fields.word()
    if name != CURVES.get(kind, "nistp256"):
        raise ValueError(f"the curve {name} does not fit a key of the kind {kind}")
    curve, algorithm_hash = {
        "nistp256": (ec.SECP256R1(), hashes.SHA256()),
        "nistp384": (ec.SECP384R1(), hashes.SHA384()),
        "nistp521": (ec.SECP521R1(), hashes.SHA512()),
    }[name]
    public = ec.EllipticCurvePublicKey.from_encoded_point(curve, fields.string())

    def check(algorithm: str, signature: bytes, message: bytes) -> None:
        _check_algorithm(algorithm, kind)
        numbers = Fields(signature)
        r, s = numbers.integer(), numbers.integer()
        numbers.end()
        public.verify(encode_dss_signature(r, s), message, ec.ECDSA(algorithm_hash))

    return check


def _rsa(fields: Fields) -> Check:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    exponent, modulus = fields.integer(), fields.integer()
    if modulus.bit_length() < SMALLEST_RSA_BITS:
        raise ValueError(f"an RSA key of less than {SMALLEST_RSA_BITS} bits is too weak")
    if modulus.bit_length() > LARGEST_RSA_BITS or exponent > LARGEST_RSA_EXPONENT:
        raise ValueError("the RSA key is huge")
    public = rsa.RSAPublicNumbers(exponent, modulus).public_key()

    def check(algorithm: str, signature: bytes, message: bytes) -> None:
        _check_algorithm(algorithm, *RSA_ALGORITHMS)
        used = hashes.SHA256() if algorithm == "rsa-sha2-256" else hashes.SHA512()
        public.verify(signature, message, padding.PKCS1v15(), used)

    return check


def _check_algorithm(algorithm: str, *known: str) -> None:
    if algorithm not in known:
        raise ValueError(f"the key signs with {' or '.join(known)}, not with {algorithm}")
