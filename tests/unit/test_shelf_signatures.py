"""Reading a directory of tarballs whose records are signed: with signers in the configuration only
those count that one of them has signed.
"""

import json
import subprocess
from pathlib import Path

import pytest

from breakglass.observe.shelf import Shelf, read_shelf
from breakglass.signatures.allowed_signers import Signer, parse_allowed_signers
from breakglass.signatures.judgement import SignatureState
from breakglass.signatures.keys import fingerprint
from breakglass.signatures.sshsig import armor
from tests.local import HOST, LocalReads
from tests.signing import (
    allow,
    make_key,
    public_blob,
    public_line,
    signed,
    verified_by_keygen,
    with_keygen,
)
from tests.unit.test_shelf import put


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("ours"), "key")


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("strangers"), "key")


def record_of(directory: Path, tag: str) -> bytes:
    """As `publish` stores it."""
    file = directory / f"infra-ci-{tag}.json"
    text = json.dumps(json.loads(file.read_text()), separators=(",", ":")) + "\n"
    file.write_text(text)
    return text.encode()


def put_signed(directory: Path, tag: str, *keys: Path, sequence: int = 1) -> None:
    put(directory, tag, sequence=sequence)
    message = record_of(directory, tag)
    text = "".join(armor(signed(key, message)) for key in keys)
    if keys:
        (directory / f"infra-ci-{tag}.json.sig").write_text(text)


def read(directory: Path, *signers: Signer | None) -> Shelf:
    """Without a signer: the configuration names none."""
    allowed = [signer for signer in signers if signer]
    return read_shelf(
        LocalReads(), HOST, str(directory), "infra-ci", signers=allowed if signers else None
    )


def test_with_signers_only_what_one_of_them_has_signed_counts_whatever_its_sequence(
    tmp_path: Path, ours: Path, strangers: Path
) -> None:
    put_signed(tmp_path, "ours", ours, sequence=1)
    put_signed(tmp_path, "foreign", strangers, sequence=999_999_999)
    put_signed(tmp_path, "unsigned", sequence=5)
    (tmp_path / "infra-ci-bare.tar.gz").write_bytes(b"made by the old pipeline")
    shelf = read(tmp_path, Signer("ci@example", public_blob(ours)))
    assert [tarball.tag for tarball in shelf.verified] == ["ours"]
    found = {tarball.tag: tarball.signature for tarball in shelf.tarballs}
    assert {tag: signature.state for tag, signature in found.items()} == {
        "ours": SignatureState.SIGNED,
        "foreign": SignatureState.UNKNOWN,
        "unsigned": SignatureState.UNSIGNED,
        "bare": SignatureState.UNSIGNED,
    }
    assert (found["ours"].by, found["foreign"].by) == (
        "ci@example",
        fingerprint(public_blob(strangers)),
    )
    assert {tarball.tag for tarball in shelf.tarballs if tarball.trusted} == {"ours"}


def test_without_signers_everything_counts_as_before_and_a_key_is_named_where_one_signed(
    tmp_path: Path, ours: Path
) -> None:
    put_signed(tmp_path, "ours", ours, sequence=1)
    put_signed(tmp_path, "unsigned", sequence=5)
    shelf = read(tmp_path)
    assert [(each.tag, each.signature.by) for each in shelf.verified] == [
        ("unsigned", ""),
        ("ours", fingerprint(public_blob(ours))),
    ]


@pytest.mark.parametrize("changed", ["sequence", "sha256", "created_at", "references"])
def test_a_record_that_was_changed_after_it_was_signed_does_not_count(
    changed: str, tmp_path: Path, ours: Path
) -> None:
    put_signed(tmp_path, "ours", ours)
    file = tmp_path / "infra-ci-ours.json"
    record = json.loads(file.read_text())
    other = {"sequence": 2, "references": ["evil.example/infra-ci:ours"], "sha256": "0" * 64}
    record[changed] = other.get(changed, "2027-01-01T00:00:00Z")
    file.write_text(json.dumps(record, separators=(",", ":")) + "\n")
    (tmp_path / "infra-ci-ours.tar.gz.sha256").write_text(
        f"{record['sha256']}  infra-ci-ours.tar.gz\n"
    )
    shelf = read(tmp_path, Signer("ci@example", public_blob(ours)))
    assert shelf.verified == ()
    assert shelf.tarballs[0].signature.state is SignatureState.INVALID


def test_a_signature_of_another_tag_does_not_count(tmp_path: Path, ours: Path) -> None:
    """Nobody can give an old image the name of a new one."""
    put_signed(tmp_path, "old", ours)
    for end in ("tar.gz", "json", "json.sig"):
        (tmp_path / f"infra-ci-old.{end}").rename(tmp_path / f"infra-ci-new.{end}")
    sums = (tmp_path / "infra-ci-old.tar.gz.sha256").read_text()
    (tmp_path / "infra-ci-new.tar.gz.sha256").write_text(sums.replace("old", "new"))
    assert read(tmp_path, Signer("ci@example", public_blob(ours))).verified == ()


def test_while_a_tarball_is_replaced_the_signature_of_each_is_known(
    tmp_path: Path, ours: Path
) -> None:
    put_signed(tmp_path, "tag", ours, sequence=2)
    new, new_text = (
        (tmp_path / "infra-ci-tag.json").read_text(),
        signed(ours, record_of(tmp_path, "tag")),
    )
    put(tmp_path, "tag", sequence=1, content=b"the tarball that is replaced")
    old_text = signed(ours, record_of(tmp_path, "tag"))
    old = json.loads((tmp_path / "infra-ci-tag.json").read_text())
    both = {**json.loads(new), "previous": old}
    (tmp_path / "infra-ci-tag.json").write_text(json.dumps(both, separators=(",", ":")) + "\n")
    with (tmp_path / "infra-ci-tag.tar.gz.sha256").open("a") as sums:
        sums.write(f"{both['sha256']}  infra-ci-tag.tar.gz\n")
    (tmp_path / "infra-ci-tag.json.sig").write_text(armor(new_text) + armor(old_text))
    for content in (b"the tarball that is replaced", b"tarball"):
        (tmp_path / "infra-ci-tag.tar.gz").write_bytes(content)
        (tarball,) = read(tmp_path, Signer("ci@example", public_blob(ours))).verified
        assert (tarball.being_replaced, tarball.signature.by) == (True, "ci@example")


def test_a_key_may_have_been_replaced_since_the_record_was_signed(
    tmp_path: Path, ours: Path
) -> None:
    put_signed(tmp_path, "ours", ours)  # it says 2026-04-19
    for options, count in (
        ('valid-before="20260501Z"', 1),
        ('valid-before="20260401Z"', 0),
        ('valid-after="20260501Z"', 0),
    ):
        signers = parse_allowed_signers(f"ci@example {options} {public_line(ours)}")
        assert len(read(tmp_path, *signers).verified) == count


def test_a_link_or_a_huge_file_under_the_name_of_a_signature_is_none(
    tmp_path: Path, ours: Path
) -> None:
    put_signed(tmp_path, "ours", ours)
    file = tmp_path / "infra-ci-ours.json.sig"
    text = file.read_text()
    file.rename(tmp_path / "elsewhere")
    file.symlink_to("elsewhere")
    signer = Signer("ci@example", public_blob(ours))
    assert read(tmp_path, signer).verified == ()
    file.unlink()
    file.write_text(text + "x" * 70_000)
    assert read(tmp_path, signer).verified == ()
    file.write_text(text)
    assert len(read(tmp_path, signer).verified) == 1


def test_what_is_left_of_a_signature_is_named_where_it_is_ours(tmp_path: Path, ours: Path) -> None:
    (tmp_path / "infra-ci-gone.json.sig").write_text(armor(signed(ours, b"a record")))
    (tmp_path / "infra-ci-other.json.sig").write_text("somebody else's file\n")
    (tmp_path / ".infra-ci-half.json.sig.partial").write_text(armor(b"half"))
    shelf = read(tmp_path)
    assert shelf.orphans == ("infra-ci-gone.json.sig",)
    assert [partial.file for partial in shelf.partials] == ["infra-ci-half.tar.gz"]


@with_keygen
def test_a_person_signs_and_verifies_a_record_by_hand_with_ssh_keygen(
    tmp_path: Path, ours: Path
) -> None:
    put_signed(tmp_path, "tag")
    file = tmp_path / "infra-ci-tag.json"
    line = ["ssh-keygen", "-Y", "sign", "-q", "-n", "breakglass-record", "-f", str(ours), str(file)]
    subprocess.run(line, check=True, capture_output=True)
    (tarball,) = read(tmp_path, Signer("ci@example", public_blob(ours))).verified
    assert tarball.signature.by == "ci@example"
    signature = tmp_path / "infra-ci-tag.json.sig"
    assert signature.read_text() == armor(tarball.signature.data)
    signers = allow(tmp_path / "signers", f"ci@example {public_line(ours)}")
    assert verified_by_keygen(file.read_bytes(), signature, signers, "ci@example")
