"""The script taken as it runs on a node, a process of its own, over real files: there and back, and
what it never touches.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from breakglass.observe.answering import MARK
from tests.unit.taken_node import NAMESPACE, OURS, SERVED, Node, fill

pytestmark = pytest.mark.usefixtures("host_python")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path / "node")
    made.directory.mkdir(parents=True)
    return made


# There and back


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(SERVED, id="usual"),
        pytest.param(SERVED.rstrip(b"\n"), id="no final newline", marks=pytest.mark.slow),
        pytest.param(b"", id="empty", marks=pytest.mark.slow),
        pytest.param(b"\n\n\n", id="newlines only", marks=pytest.mark.slow),
        pytest.param(SERVED.replace(b"\n", b"\r\n"), id="CRLF", marks=pytest.mark.slow),
        pytest.param(SERVED.replace(b"\n", b"\r\n").rstrip(b"\r\n"), id="CRLF, no final newline"),
        pytest.param(
            "# ein\u2028Kommentar\u0085mit\u2029Trennern\x0b\x0c\n".encode() + SERVED,
            id="unicode line separators",
            marks=pytest.mark.slow,
        ),
        pytest.param(b"\xef\xbb\xbf" + SERVED, id="byte order mark", marks=pytest.mark.slow),
        pytest.param(b"\0 no TOML at all \x1b[31m\n", id="no TOML", marks=pytest.mark.slow),
    ],
)
def test_what_is_inserted_into_a_file_is_taken_out_to_the_last_byte_with_mode_owner_and_time(
    node: Node, content: bytes
) -> None:
    fill(node, content, mode=0o604)
    if os.geteuid() == 0:
        os.chown(node.file, 1234, 4321)
    at_first, status = node.listing(), node.file.stat()
    for before in ("end", "1", "3", "999999"):
        node.begin()
        node.insert(before=before)
        during = node.file.stat()
        assert node.file.read_bytes().decode().count(OURS) == 1
        assert (during.st_mode, during.st_uid, during.st_gid) == (
            status.st_mode,
            status.st_uid,
            status.st_gid,
        )
        assert node.put_back()["put_back"] is True
        node.end()
        assert node.listing() == at_first


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_a_mode_with_set_id_bits_survives_the_change_of_owner(node: Node) -> None:
    fill(node, SERVED)
    os.chown(node.file, 1234, 4321)
    node.file.chmod(0o6755)
    at_first = node.listing()
    node.begin()
    node.insert()
    node.put_back()
    node.end()
    assert node.listing() == at_first


@pytest.mark.parametrize(
    ("content", "before", "wanted"),
    [
        (b"a\nb\n", "1", OURS + "a\nb\n"),
        (b"a\nb\n", "2", f"a\n{OURS}b\n"),
        (b"a\nb\n", "3", f"a\nb\n{OURS}"),
        (b"a\nb\n", "end", f"a\nb\n{OURS}"),
        (b"a\nb", "end", f"a\nb\n{OURS}"),
        (b"a\nb", "2", f"a\n{OURS}b\n"),
        (b"a\r\nb\r\n", "2", f"a\r\n{OURS}b\r\n"),
        (b"a\x0cb\xc2\x85c\nd\n", "2", f"a\x0cb\x85c\n{OURS}d\n"),
        (b"", "end", OURS),
        (None, "end", OURS),
    ],
)
def test_lines_go_before_the_line_that_is_named_where_only_a_newline_ends_a_line(
    node: Node, content: bytes | None, before: str, wanted: str
) -> None:
    fill(node, content)
    node.begin()
    node.insert(before=before)
    assert node.file.read_bytes() == wanted.encode()


def test_lines_are_written_as_they_are_given_also_where_the_locale_is_c(node: Node) -> None:
    node.environment |= {"LC_ALL": "C"}
    node.begin()
    node.insert(lines=(MARK, "", "--", '# "Grüße" $(id) `id` \\n', "  --before"))
    assert node.file.read_text("utf-8") == f'{MARK}\n\n--\n# "Grüße" $(id) `id` \\n\n  --before\n'


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_file_and_its_directories_can_be_read_by_all_whatever_the_umask_and_go_again(
    node: Node, umask: int
) -> None:
    at_first = node.listing()
    node.begin()
    before = os.umask(umask)
    try:
        node.insert()
    finally:
        os.umask(before)
    assert node.file.read_text() == OURS
    assert stat.S_IMODE(node.file.stat().st_mode) == 0o644
    assert {
        stat.S_IMODE(directory.stat().st_mode)
        for directory in (node.file.parent, node.certs, node.certs.parent)
    } == {0o755}
    assert node.put_back()["put_back"] is True
    node.end()
    assert node.listing() == at_first


def test_a_directory_that_was_made_stays_when_somebody_put_something_into_it(node: Node) -> None:
    node.begin()
    node.insert()
    certificate = node.write(b"theirs", node.file.parent / "ca.crt")
    node.put_back()
    assert certificate.read_bytes() == b"theirs"
    assert not node.file.exists()
    assert node.recorded() == {}


def test_an_empty_directory_that_was_there_before_stays(node: Node) -> None:
    node.file.parent.mkdir(parents=True)
    at_first = node.listing()
    node.begin()
    node.insert()
    node.put_back()
    node.end()
    assert node.listing() == at_first


@pytest.mark.slow
def test_two_files_that_share_a_new_parent_leave_nothing_in_either_order(node: Node) -> None:
    other = node.certs / "forgejo.example/hosts.toml"
    at_first = node.listing()
    for first, second in ((node.file, other), (other, node.file)):
        node.begin()
        node.insert(node.file)
        node.insert(other)
        node.put_back(first)
        assert not first.exists()
        assert second.read_text() == OURS
        node.put_back(second)
        node.end()
        assert node.listing() == at_first


def test_the_record_can_be_read_by_root_alone(node: Node) -> None:
    fill(node, SERVED)
    node.begin()
    node.insert()
    assert stat.S_IMODE(node.record.stat().st_mode) == 0o600


def test_begin_keeps_a_record_that_is_there(node: Node) -> None:
    node.begin()
    node.insert()
    before = node.listing()
    assert node.reported("begin", node.directory, "--namespace", "other") == {
        "files": [str(node.file)]
    }
    assert node.listing() == before
    assert json.loads(node.record.read_text())["namespace"] == NAMESPACE, (
        "names of ours are where the first import has put them"
    )


def test_put_back_twice_is_put_back_once(node: Node) -> None:
    fill(node, SERVED)
    node.begin()
    node.insert()
    node.put_back()
    before = node.listing()
    assert node.put_back() == {"file": str(node.file), "put_back": False}
    assert node.listing() == before


def test_put_back_touches_no_file_that_the_record_does_not_name(node: Node) -> None:
    fill(node, SERVED)
    node.begin()
    before = node.listing()
    assert node.put_back() == {"file": str(node.file), "put_back": False}
    assert node.listing() == before


def test_the_record_does_not_go_while_a_file_is_to_be_restored(node: Node) -> None:
    node.begin()
    node.insert()
    assert str(node.file) in node.refused("end", node.directory)


def test_end_twice_is_end_once(node: Node) -> None:
    node.begin()
    node.end()
    node.end()
    assert node.listing().keys() == {"breakglass"}


# Refused


def test_a_file_that_changed_since_it_was_read_is_not_touched(node: Node) -> None:
    fill(node, SERVED)
    node.begin()
    line = node.insert_line()
    node.write(SERVED + b"# by hand\n")
    assert "changed since it was read" in node.refused(*line)


def test_a_file_that_came_since_it_was_found_missing_is_not_touched(node: Node) -> None:
    node.begin()
    line = node.insert_line()
    node.write(b"")
    assert "changed since it was read" in node.refused(*line)


def test_a_file_that_went_since_it_was_read_is_not_made_anew(node: Node) -> None:
    fill(node, SERVED)
    node.begin()
    line = node.insert_line()
    node.file.unlink()
    assert "changed since it was read" in node.refused(*line)


def test_our_own_file_is_never_saved_as_the_original(node: Node) -> None:
    fill(node, SERVED)
    node.begin()
    node.insert()
    assert "already" in node.refused(*node.insert_line())
    assert node.recorded()[str(node.file)]["original"]["text"].encode() == SERVED


def test_a_file_that_became_a_link_since_it_was_read_is_not_touched(node: Node) -> None:
    fill(node, SERVED)
    node.begin()
    line = node.insert_line()
    node.file.rename(node.root / "elsewhere")
    node.file.symlink_to(node.root / "elsewhere")
    assert "symbolic link" in node.refused(*line)


@pytest.mark.parametrize("command", ["insert", "put_back"])
def test_without_a_record_no_file_is_touched(node: Node, command: str) -> None:
    fill(node, SERVED)
    line = node.insert_line() if command == "insert" else ("put_back", node.directory, node.file)
    assert "is gone" in node.refused(*line)


ENTRY: dict[str, Any] = {"original": None, "made": [], "written": OURS}


ORIGINAL = {"text": "", "mode": 0o644, "uid": 0, "gid": 0, "mtime_ns": 1}


DAMAGED = {
    "empty": "",
    "cut": '{"schema": 1, "fi',
    "no object": "[]",
    "null": "null",
    "number": "7",
    "no files": '{"schema": 1, "namespace": "k8s.io"}',
    "later schema": '{"schema": 2, "namespace": "k8s.io", "files": {}}',
    "no namespace": '{"schema": 1, "files": {}}',
    "namespace is null": '{"schema": 1, "namespace": null, "files": {}}',
    "namespace is a number": '{"schema": 1, "namespace": 5, "files": {}}',
    "files are a list": '{"schema": 1, "namespace": "k8s.io", "files": []}',
    "entry is null": '{"schema": 1, "namespace": "k8s.io", "files": {"FILE": null}}',
    "nested without end": "[" * 100_000,
    "entry without original": {"made": [], "written": OURS},
    "original is a text": {**ENTRY, "original": "text"},
    "original without text": {
        **ENTRY,
        "original": {"mode": 0o644, "uid": 0, "gid": 0, "mtime_ns": 1},
    },
    "original without mode": {
        **ENTRY,
        "original": {key: value for key, value in ORIGINAL.items() if key != "mode"},
    },
    "mode is a text": {**ENTRY, "original": {**ORIGINAL, "mode": "0644"}},
    "text is a number": {**ENTRY, "original": {**ORIGINAL, "text": 5}},
    "made of numbers": {**ENTRY, "made": [5]},
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGED)
def test_with_a_damaged_record_nothing_is_touched_and_one_sentence_says_so(
    node: Node, damage: str
) -> None:
    node.write(OURS.encode())
    what = DAMAGED[damage]
    node.record.write_text(
        what.replace("FILE", str(node.file))
        if isinstance(what, str)
        else json.dumps({"schema": 1, "namespace": NAMESPACE, "files": {str(node.file): what}})
    )
    read, begin = (
        ("read", node.directory, "--certs", node.certs),
        ("begin", node.directory, "--namespace", NAMESPACE),
    )
    for line in (
        read,
        ("put_back", node.directory, node.file),
        node.insert_line(),
        begin,
        ("end", node.directory),
    ):
        assert f"{node.record} cannot be read" in node.refused(*line)


def test_a_record_that_is_no_text_is_damaged(node: Node) -> None:
    node.record.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in node.refused("read", node.directory, "--certs", node.certs)
