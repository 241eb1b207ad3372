"""Signatures by SSH keys: what we make OpenSSH accepts, what OpenSSH makes we accept, and nothing
else is accepted.
"""

import base64
import hashlib
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from breakglass.signatures.allowed_signers import Signer, parse_allowed_signers
from breakglass.signatures.fields import string
from breakglass.signatures.judgement import Signature, SignatureState, judge
from breakglass.signatures.keys import fingerprint, parse_public_key
from breakglass.signatures.sshsig import armor, blocks, decode, encode, signed_bytes
from tests.signing import (
    allow,
    make_key,
    public_blob,
    public_line,
    signed,
    signed_by_keygen,
    verified_by_keygen,
    with_keygen,
)

MESSAGE = b'{"schema":1,"tag":"0a1b2c3d"}\n'
KINDS = ("ed25519", "nistp256", "nistp384", "nistp521", "rsa")
AT = datetime(2026, 4, 19, tzinfo=UTC)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("keys")
    return {kind: make_key(directory, kind, kind) for kind in KINDS}


def state(data: bytes, *signers: Signer, message: bytes = MESSAGE) -> SignatureState:
    return judge(message, [data], signers, AT).state


@pytest.mark.parametrize("kind", KINDS)
def test_what_each_kind_of_key_signs_is_its_signature_of_this_message_only(
    keys: dict[str, Path], kind: str
) -> None:
    key = public_blob(keys[kind])
    data = signed(keys[kind], MESSAGE)
    assert state(data, Signer("ci@example", key)) is SignatureState.SIGNED
    assert state(data, Signer("ci@example", key), message=MESSAGE + b" ") is SignatureState.INVALID
    other = public_blob(keys["rsa" if kind != "rsa" else "ed25519"])
    assert state(data, Signer("ci@example", other)) is SignatureState.UNKNOWN


@with_keygen
@pytest.mark.parametrize("kind", KINDS)
def test_openssh_accepts_our_signature(keys: dict[str, Path], kind: str, tmp_path: Path) -> None:
    signature = tmp_path / "x.json.sig"
    signature.write_text(armor(signed(keys[kind], MESSAGE)))
    signers = allow(tmp_path / "signers", f"ci@example {public_line(keys[kind])}")
    assert verified_by_keygen(MESSAGE, signature, signers, "ci@example")
    assert not verified_by_keygen(MESSAGE + b" ", signature, signers, "ci@example")


@with_keygen
@pytest.mark.parametrize("kind", KINDS)
def test_we_accept_the_signature_of_openssh(keys: dict[str, Path], kind: str) -> None:
    (data,) = blocks(signed_by_keygen(keys[kind], MESSAGE))
    assert state(data, Signer("ci@example", public_blob(keys[kind]))) is SignatureState.SIGNED


@with_keygen
def test_a_signature_that_was_made_for_another_purpose_is_none(keys: dict[str, Path]) -> None:
    (data,) = blocks(signed_by_keygen(keys["ed25519"], MESSAGE, namespace="file"))
    judged = judge(MESSAGE, [data], [Signer("ci@example", public_blob(keys["ed25519"]))], AT)
    assert judged.state is SignatureState.INVALID
    assert str(judged) == (
        "not signed: the signature beside it is not valid (it was made for file, not for "
        "breakglass-record)"
    )


@pytest.mark.parametrize("algorithm", ["ssh-rsa", "rsa-sha2-256", "rsa-sha2-512", "ssh-ed25519"])
def test_an_rsa_key_signs_with_sha2_only(keys: dict[str, Path], algorithm: str) -> None:
    loaded = serialization.load_ssh_private_key(keys["rsa"].read_bytes(), None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    used = {"ssh-rsa": hashes.SHA1(), "rsa-sha2-256": hashes.SHA256()}.get(
        algorithm, hashes.SHA512()
    )
    made = loaded.sign(signed_bytes(MESSAGE), padding.PKCS1v15(), used)
    key = public_blob(keys["rsa"])
    data = encode(key, string(algorithm.encode()) + string(made))
    wanted = "rsa-sha2" in algorithm
    found = state(data, Signer("ci@example", key))
    assert found is (SignatureState.SIGNED if wanted else SignatureState.INVALID)


def test_a_short_rsa_key_is_refused_where_it_is_listed(tmp_path: Path) -> None:
    short = make_key(tmp_path, "short", "rsa", bits=1024)
    with pytest.raises(ValueError, match="line 1: an RSA key of less than 2048 bits is too weak"):
        parse_allowed_signers(f"ci@example {public_line(short)}")


def security_key(kind: str) -> tuple[bytes, bytes]:
    """The public key of a security key, and its signature of MESSAGE: made as its hardware does
    (OpenSSH, PROTOCOL.u2f).
    """
    application, flags, counter = b"ssh:", b"\x01", (7).to_bytes(4, "big")
    signed_message = (
        hashlib.sha256(application).digest()
        + flags
        + counter
        + hashlib.sha256(signed_bytes(MESSAGE)).digest()
    )
    if kind == "sk-ssh-ed25519@openssh.com":
        private = ed25519.Ed25519PrivateKey.generate()
        parts = [private.public_key().public_bytes_raw()]
        made = private.sign(signed_message)
    else:
        curve = ec.generate_private_key(ec.SECP256R1())
        point = curve.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        parts = [b"nistp256", point]
        numbers = decode_dss_signature(curve.sign(signed_message, ec.ECDSA(hashes.SHA256())))
        made = b"".join(
            string(number.to_bytes(number.bit_length() // 8 + 1, "big")) for number in numbers
        )
    key = b"".join(map(string, [kind.encode(), *parts, application]))
    return key, encode(key, string(kind.encode()) + string(made) + flags + counter)


SECURITY_KEYS = ("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")


@pytest.mark.parametrize("kind", SECURITY_KEYS)
def test_a_security_key_signs_too(kind: str) -> None:
    key, data = security_key(kind)
    assert state(data, Signer("ci@example", key)) is SignatureState.SIGNED
    assert state(data, Signer("ci@example", key), message=b"") is SignatureState.INVALID


@with_keygen
@pytest.mark.parametrize("kind", SECURITY_KEYS)
def test_openssh_reads_the_signature_of_a_security_key_as_we_do(kind: str, tmp_path: Path) -> None:
    key, data = security_key(kind)
    signature = tmp_path / "x.json.sig"
    signature.write_text(armor(data))
    signers = allow(tmp_path / "signers", f"ci@example {kind} {base64.b64encode(key).decode()}")
    assert verified_by_keygen(MESSAGE, signature, signers, "ci@example")


@with_keygen
def test_a_signature_by_a_certificate_is_refused_with_the_reason(tmp_path: Path) -> None:
    authority, key = make_key(tmp_path, "ca"), make_key(tmp_path, "key")
    line = ["ssh-keygen", "-q", "-s", str(authority), "-I", "ci", "-n", "ci", f"{key}.pub"]
    subprocess.run(line, check=True, capture_output=True)
    with pytest.raises(ValueError, match="certificates are not supported: name the key itself"):
        parse_public_key((tmp_path / "key-cert.pub").read_text())
    certificate = (tmp_path / "key-cert.pub").read_text().split()[1]
    data = encode(base64.b64decode(certificate), decode(signed(key, MESSAGE)).signature)
    judged = judge(MESSAGE, [data], [Signer("ci", public_blob(key))], AT)
    assert judged.state is SignatureState.INVALID
    assert "keys of the kind ssh-ed25519-cert-v01@openssh.com are not supported" in judged.why


def test_the_best_of_several_signatures_counts_and_none_is_not_signed(
    keys: dict[str, Path],
) -> None:
    ours, other = signed(keys["ed25519"], MESSAGE), signed(keys["rsa"], b"another record")
    signers = [Signer("ci@example", public_blob(keys["ed25519"]))]
    judged = judge(MESSAGE, [other, b"nonsense", ours], signers, AT)
    assert judged == Signature(SignatureState.SIGNED, "ci@example", data=ours)
    assert str(judged) == "signed by ci@example"
    assert judge(MESSAGE, [], signers, AT) == Signature()
    assert str(judge(MESSAGE, [], signers, AT)) == "not signed"


def test_without_signers_a_signature_that_fits_is_named_by_its_key(keys: dict[str, Path]) -> None:
    judged = judge(MESSAGE, [signed(keys["ed25519"], MESSAGE)], None, AT)
    named = fingerprint(public_blob(keys["ed25519"]))
    assert (judged.state, judged.by, judged.fits) == (SignatureState.UNKNOWN, named, True)
    assert str(judged) == f"signed by the key {named}, and image.signers is not set"


@given(st.binary(max_size=400))
def test_any_bytes_are_a_signature_or_a_reason(data: bytes) -> None:
    judged = judge(MESSAGE, [data, b"SSHSIG\0\0\0\1" + data], [Signer("ci", b"")], AT)
    assert judged.state is SignatureState.INVALID
    assert judged.why.isprintable()


@given(st.data())
def test_a_signature_with_a_changed_byte_is_no_signature(data: st.DataObject) -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    blob = string(b"ssh-ed25519") + string(key.public_key().public_bytes_raw())
    good = encode(blob, string(b"ssh-ed25519") + string(key.sign(signed_bytes(MESSAGE))))
    assert state(good, Signer("ci", blob)) is SignatureState.SIGNED
    at = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != good[at]))
    assert state(good[:at] + bytes([other]) + good[at + 1 :], Signer("ci", blob)) is not (
        SignatureState.SIGNED
    )


@given(st.text(max_size=300))
def test_any_text_is_a_list_of_signatures(text: str) -> None:
    assert isinstance(blocks(text), list)
    assert blocks(armor(b"abc") + text + armor(b"def"))[0] == b"abc"


def test_only_the_first_signatures_of_a_file_are_looked_at() -> None:
    assert blocks("".join(armor(bytes([number])) for number in range(100))) == [
        b"\x00",
        b"\x01",
        b"\x02",
        b"\x03",
    ]


@pytest.mark.parametrize(("exponent_bytes", "modulus_bytes"), [(3, 20_000), (8_000, 512), (9, 300)])
def test_a_huge_rsa_key_is_refused_before_it_takes_long(
    exponent_bytes: int, modulus_bytes: int
) -> None:
    numbers = (b"\x01" * exponent_bytes, b"\x7f" * modulus_bytes)
    key = b"".join(map(string, (b"ssh-rsa", *numbers)))
    data = encode(key, string(b"rsa-sha2-512") + string(b"\x01" * modulus_bytes))
    assert judge(MESSAGE, [data], [Signer("ci", key)], AT).why == "the RSA key is huge"
