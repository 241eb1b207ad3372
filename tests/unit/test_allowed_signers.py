"""The file of allowed signers is read as `ssh-keygen -Y verify` reads it. What cannot be honoured
is refused with its line.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakglass.signatures.allowed_signers import Signer, parse_allowed_signers
from breakglass.signatures.sshsig import NAMESPACE, armor
from tests.signing import (
    allow,
    make_key,
    public_blob,
    public_line,
    signed,
    verified_by_keygen,
    with_keygen,
)

NOW = datetime.now(UTC)
YESTERDAY, TOMORROW = (f"{NOW + timedelta(days=days):%Y%m%d}" for days in (-2, 2))
MESSAGE = b"a record\n"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("keys"), "key")


# (what stands before the key, whether its signature of a record counts now)
LINES = [
    ("ci@example", True),
    ('"ci@example"', True),
    ("ci@example,other@example", True),
    ('ci@example namespaces="breakglass-record"', True),
    ('ci@example namespaces="file,breakglass-*"', True),
    ('ci@example NAMESPACES="breakglass-record"', True),
    ('ci@example namespaces="file"', False),
    ('ci@example namespaces="*,!breakglass-record"', False),
    (f'ci@example valid-after="{YESTERDAY}"', True),
    (f'ci@example valid-after="{YESTERDAY}Z",valid-before="{TOMORROW}1200Z"', True),
    (f'ci@example valid-after="{TOMORROW}"', False),
    (f'ci@example valid-before="{TOMORROW}235959"', True),
    (f'ci@example valid-before="{YESTERDAY}"', False),
    (f'ci@example namespaces="breakglass-record",valid-before="{YESTERDAY}Z"', False),
]


@pytest.mark.parametrize(("before", "counts"), LINES)
def test_each_option_decides_whether_a_signature_counts(
    key: Path, before: str, counts: bool
) -> None:
    (signer,) = parse_allowed_signers(f"{before} {public_line(key)}")
    assert signer.key == public_blob(key)
    assert signer.may_sign(NAMESPACE, NOW) is counts


@with_keygen
@pytest.mark.parametrize(("before", "counts"), LINES)
def test_openssh_decides_the_same(key: Path, before: str, counts: bool, tmp_path: Path) -> None:
    signature = tmp_path / "x.json.sig"
    signature.write_text(armor(signed(key, MESSAGE)))
    signers = allow(tmp_path / "signers", f"{before} {public_line(key)}")
    assert verified_by_keygen(MESSAGE, signature, signers, "ci@example") is counts


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ci@example", "it is not PRINCIPALS [OPTIONS] KEY"),
        ("ci@example cert-authority KEY", "cert-authority is not supported: list the keys"),
        ('ci@example namespaces="a",cert-authority KEY', "cert-authority is not supported"),
        ("ci@example no-such-option KEY", "the option 'no-such-option' is not known"),
        ("ci@example namespaces=breakglass-record KEY", "is not known"),
        ('ci@example namespaces="" KEY', "the option namespaces has no value in quotes"),
        ("ci@example namespaces KEY", "the option namespaces has no value in quotes"),
        ('ci@example namespaces="a",namespaces="b" KEY', "namespaces is given twice"),
        ('ci@example valid-after="yesterday" KEY', "valid-after is no time of the form"),
        ('ci@example valid-before="20261331" KEY', "valid-before is no time of the form"),
        ('ci@example namespaces="a KEY', "it has no public key"),
        ("ci@example ssh-ed25519 AAAA", "ends too early"),
        ("ci@example ssh-ed25519 ?", "the public key is not base64"),
        ("ci@example ssh-dss AAAA", "no public key of a kind that is supported"),
        ("ci@example ssh-ed25519-cert-v01@openssh.com AAAA", "certificates are not supported"),
    ],
)
def test_a_line_that_cannot_be_honoured_is_refused_with_its_number_and_the_reason(
    key: Path, line: str, reason: str
) -> None:
    text = line.replace("KEY", public_line(key))
    with pytest.raises(ValueError) as raised:
        parse_allowed_signers(f"# a comment\n\n{text}\n")
    assert str(raised.value).startswith("line 3: ")
    assert reason in str(raised.value)


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n"])
def test_a_file_that_allows_nobody_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="it lists no signer"):
        parse_allowed_signers(text)


def test_a_key_with_a_time_signs_nothing_whose_time_is_not_known() -> None:
    assert Signer("ci", b"").may_sign(NAMESPACE, None)
    assert not Signer("ci", b"", valid_before=NOW).may_sign(NAMESPACE, None)


@given(st.text(max_size=200))
def test_any_text_is_a_list_of_signers_or_a_reason(text: str) -> None:
    with suppress(ValueError):
        assert parse_allowed_signers(text)
