"""The signature beside a tarball's record, as the script `archive` brings it there: it is published
with the record, replaced with it, and copied with it to the byte.
"""

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from breakglass.signatures.sshsig import armor
from tests import archives
from tests.interpreters import HOST, zipapp
from tests.unit.test_archive import FILE, listing, prepare, receive, record_of, run

pytestmark = pytest.mark.usefixtures("host_python")

RECORD, SIGNATURE = "infra-ci-0a1b2c3d.json", "infra-ci-0a1b2c3d.json.sig"
OLD, NEW = armor(b"the old signature"), armor(b"the new signature" * 20)


def word(armored: str) -> str:
    """A signature as an argument has it."""
    return "".join(armored.splitlines()[1:-1])


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    directory = tmp_path / "shelf"
    directory.mkdir()
    return directory


def signed(shelf: Path, data: bytes, signature: str, **more: object) -> None:
    """A verified partial with its record and the signature of it."""
    prepare(shelf, data, **more)
    ended = run("sign", shelf, FILE, data=signature.encode())
    assert ended.record == {"signed": FILE}


def test_a_signature_is_published_with_its_record(shelf: Path) -> None:
    signed(shelf, b"data", NEW)
    assert f".{SIGNATURE}.partial" in listing(shelf)
    assert run("publish", shelf, FILE).status == 0
    held = listing(shelf)
    assert held.keys() == {FILE, f"{FILE}.sha256", RECORD, SIGNATURE}
    assert held[SIGNATURE].decode() == NEW
    assert run("publish", shelf, FILE).status == 0
    assert listing(shelf) == held


def test_what_a_person_pastes_is_stored_in_the_form_of_ssh_keygen(shelf: Path) -> None:
    signed(shelf, b"data", "\r\n" + NEW.replace("\n", "\r\n") + "\r\n")
    assert listing(shelf)[f".{SIGNATURE}.partial"].decode() == NEW


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", NEW[:-30], NEW.replace("SSH", "PGP"), NEW.replace("A", "?"), NEW * 200],
)
def test_what_is_no_signature_is_refused_and_not_stored(text: str, shelf: Path) -> None:
    prepare(shelf, b"data")
    before = listing(shelf)
    assert run("sign", shelf, FILE, data=text.encode()).status == 2
    assert listing(shelf) == before


def test_without_a_complete_record_there_is_nothing_to_sign(shelf: Path) -> None:
    assert run("sign", shelf, FILE, data=NEW.encode()).status == 6
    assert listing(shelf) == {}


def test_a_tarball_that_is_not_signed_loses_the_signature_of_the_one_that_it_replaces(
    shelf: Path,
) -> None:
    signed(shelf, b"old", OLD)
    assert run("publish", shelf, FILE).status == 0
    prepare(shelf, b"new")
    assert run("publish", shelf, FILE).status == 0
    assert listing(shelf).keys() == {FILE, f"{FILE}.sha256", RECORD}


def test_a_link_under_the_name_of_the_signature_is_refused(shelf: Path) -> None:
    signed(shelf, b"data", NEW)
    (shelf / SIGNATURE).symlink_to("elsewhere")
    assert run("publish", shelf, FILE).status == 3
    assert not (shelf / FILE).exists()


def test_a_signed_record_is_copied_to_the_byte_with_its_signature(shelf: Path) -> None:
    """Whatever keys a later version has in it, and in whatever order."""
    data = archives.tarball()
    known = record_of(data)
    record = {"a later key": ["x", 1], **dict(reversed(known.items()))}
    text = json.dumps(record, separators=(",", ":"))
    assert receive(shelf, data, record=record, more=("--signature", word(NEW))).status == 0
    assert run("publish", shelf, FILE).status == 0
    held = listing(shelf)
    assert (held[RECORD].decode(), held[SIGNATURE].decode()) == (text + "\n", NEW)


@pytest.mark.parametrize("wrong", ["?", "-----BEGIN", "QUJD QUJD", "Q" * 40_000])
def test_an_argument_that_is_no_signature_is_a_usage_error(wrong: str, shelf: Path) -> None:
    assert receive(shelf, archives.tarball(), more=(f"--signature={wrong}",)).status == 2
    assert listing(shelf) == {}


def test_a_new_transfer_does_not_take_the_signature_of_an_earlier_one(shelf: Path) -> None:
    data = archives.tarball()
    assert receive(shelf, data, more=("--signature", word(OLD))).status == 0
    assert receive(shelf, data).status == 0
    assert run("publish", shelf, FILE).status == 0
    assert SIGNATURE not in listing(shelf)


CUT_SHORT = """
import os, sys
zipapp, directory, file, lines = *sys.argv[1:4], int(sys.argv[4])
sys.path.insert(0, zipapp)
from breakglass.remote.archive.main import main

def trace(frame, event, argument):
    global lines
    if "breakglass" not in frame.f_code.co_filename:
        return None
    if event == "line":
        lines -= 1
        if lines < 0:
            os._exit(99)
    return trace

sys.settrace(trace)
sys.exit(main(["publish", directory, file], None))
"""


@pytest.mark.slow
@pytest.mark.parametrize("then", ["publish", "discard, then publish"])
def test_a_replacement_cut_short_at_any_line_leaves_the_signature_of_what_is_there(
    then: str, shelf: Path, tmp_path: Path
) -> None:
    signed(shelf, b"old", OLD, sequence=1)
    assert run("publish", shelf, FILE).status == 0
    signed(shelf, b"new", NEW, sequence=2)
    template = shelf.rename(tmp_path / "template")
    states: list[dict[str, bytes]] = []
    for lines in itertools.count(0, 3):
        shutil.rmtree(shelf, ignore_errors=True)
        shutil.copytree(template, shelf)
        line = [HOST.python, "-c", CUT_SHORT, str(zipapp()), str(shelf), FILE, str(lines)]
        ended = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert ended.returncode in (0, 99), ended.stderr
        held = listing(shelf)
        if held not in states:
            states.append(held)
            assert {b"old": OLD, b"new": NEW}[held[FILE]].encode() in held[SIGNATURE]
            if held[FILE] == b"new" and then.startswith("discard"):
                assert run("discard", shelf, FILE).status == 0
            assert run("publish", shelf, FILE).status == 0
            after = listing(shelf)
            assert after[FILE] == b"new"
            assert after[SIGNATURE].decode().startswith(NEW)
        if ended.returncode == 0:
            break
    assert len(states) > 5, "fewer states than steps: the harness saw nothing"
