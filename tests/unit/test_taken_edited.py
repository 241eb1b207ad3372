"""taken: files that somebody edited, replaced or deleted after us, and copies."""

import os
import shutil
from pathlib import Path

import pytest

from tests.unit.taken_node import OURS, SERVED, Node, fill

pytestmark = pytest.mark.usefixtures("host_python")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path / "node")
    made.directory.mkdir(parents=True)
    return made


def test_a_file_that_somebody_edited_after_us_is_left_as_it_is(node: Node) -> None:
    fill(node, SERVED)
    node.begin()
    node.insert()
    node.write(node.file.read_bytes() + b"# by hand\n")
    assert "was edited after breakglass wrote it" in node.refused(
        "put_back", node.directory, node.file
    )
    assert "not restored" in node.refused("end", node.directory)


@pytest.mark.parametrize(
    ("content", "theirs"),
    [
        (SERVED, b'server = "https://new.example"\n'),
        (SERVED, b""),
        (SERVED, None),
        (None, b'server = "https://new.example"\n'),
        (None, b""),
    ],
)
def test_a_file_that_somebody_replaced_or_deleted_is_left_and_its_original_is_not_forgotten(
    node: Node, content: bytes | None, theirs: bytes | None
) -> None:
    fill(node, content)
    node.begin()
    node.insert()
    entry = node.recorded()[str(node.file)]
    node.file.unlink()
    if theirs is not None:
        node.write(theirs)
    assert (
        f"{node.file} was {'deleted' if theirs is None else 'edited'} after breakglass wrote "
        f"it; it was left as it is"
    ) in node.refused("put_back", node.directory, node.file)
    assert "not restored" in node.refused("end", node.directory)
    assert node.recorded() == {str(node.file): entry}
    assert (entry["original"]["text"].encode() if entry["original"] else None) == content


@pytest.mark.parametrize("content", [SERVED, None])
def test_a_file_that_somebody_has_put_back_by_hand_is_forgotten(
    node: Node, content: bytes | None
) -> None:
    fill(node, content)
    node.begin()
    node.insert()
    node.file.unlink()
    if content is not None:
        node.write(content)
    assert node.put_back()["put_back"] is False
    assert (node.file.read_bytes() if node.file.exists() else None) == content
    assert node.recorded() == {}
    assert node.file.parent.exists() is (content is not None), (
        "an empty directory that we had made goes"
    )


def test_a_file_that_was_new_is_forgotten_when_its_whole_directory_is_gone(node: Node) -> None:
    node.begin()
    node.insert()
    shutil.rmtree(node.certs)
    node.put_back()
    assert node.recorded() == {}
    assert not node.certs.exists()


# One that was deleted comes back where that is asked for


@pytest.mark.parametrize("gone", ["file", "directory"])
def test_a_file_that_was_deleted_comes_back_with_its_mode_owner_and_time_where_that_is_asked_for(
    node: Node, gone: str
) -> None:
    fill(node, SERVED, mode=0o604)
    if os.geteuid() == 0:
        os.chown(node.file, 1234, 4321)
    at_first = node.listing()
    node.begin()
    node.insert()
    node.file.unlink()
    if gone == "directory":
        node.file.parent.rmdir()
    assert node.reported("put_back", node.directory, node.file, "--although-gone") == {
        "file": str(node.file),
        "put_back": True,
    }
    assert node.recorded() == {}
    node.end()
    assert node.listing() == at_first


@pytest.mark.parametrize(
    "theirs", [SERVED + OURS.encode() + b"# by hand\n", b"", b'server = "https://new.example"\n']
)
def test_although_gone_restores_no_file_that_is_there_and_was_edited(
    node: Node, theirs: bytes
) -> None:
    fill(node, SERVED)
    node.begin()
    node.insert()
    node.write(theirs)
    assert "was edited after" in node.refused(
        "put_back", node.directory, node.file, "--although-gone"
    )


def test_although_gone_makes_no_file_that_was_none_at_first(node: Node) -> None:
    at_first = node.listing()
    node.begin()
    node.insert()
    node.file.unlink()
    node.reported("put_back", node.directory, node.file, "--although-gone")
    node.end()
    assert node.listing() == at_first


def test_although_gone_a_file_that_is_as_we_wrote_it_is_put_back_as_ever(node: Node) -> None:
    fill(node, SERVED)
    at_first = node.listing()
    node.begin()
    node.insert()
    node.reported("put_back", node.directory, node.file, "--although-gone")
    node.end()
    assert node.listing() == at_first


# A new file that is a copy


def test_a_new_file_is_a_copy_of_another_with_its_mode_and_owner_and_goes_again(node: Node) -> None:
    default = node.write(SERVED, node.certs / "_default/hosts.toml")
    default.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(default, 1234, 4321)
    at_first, status = node.listing(), default.stat()
    node.begin()
    node.insert(copy=default)
    made = node.file.stat()
    assert node.file.read_bytes() == SERVED + OURS.encode()
    assert (made.st_mode, made.st_uid, made.st_gid) == (
        status.st_mode,
        status.st_uid,
        status.st_gid,
    )
    assert node.recorded()[str(node.file)]["original"] is None
    assert default.read_bytes() == SERVED
    assert node.put_back()["put_back"] is True
    node.end()
    assert node.listing() == at_first


@pytest.mark.parametrize(
    ("before", "wanted"), [("1", OURS + "a\nb\n"), ("2", f"a\n{OURS}b\n"), ("end", f"a\nb\n{OURS}")]
)
def test_lines_go_into_a_copy_where_they_would_go_into_the_file_itself(
    node: Node, before: str, wanted: str
) -> None:
    default = node.write(b"a\nb", node.certs / "_default/hosts.toml")
    node.begin()
    node.insert(copy=default, before=before)
    assert node.file.read_text() == wanted


@pytest.mark.parametrize("content", [SERVED, b""])
def test_a_file_that_is_there_becomes_no_copy(node: Node, content: bytes) -> None:
    default = node.write(SERVED, node.certs / "_default/hosts.toml")
    fill(node, content)
    node.begin()
    assert "changed since it was read" in node.refused(*node.insert_line(copy=default))


@pytest.mark.parametrize("theirs", [SERVED + b"# by hand\n", None])
def test_nothing_is_copied_from_a_file_that_changed_since_it_was_read(
    node: Node, theirs: bytes | None
) -> None:
    default = node.write(SERVED, node.certs / "_default/hosts.toml")
    node.begin()
    line = node.insert_line(copy=default)
    if theirs is None:
        default.unlink()
    else:
        default.write_bytes(theirs)
    assert f"{default} has changed since it was read" in node.refused(*line)


def test_lines_of_ours_are_never_copied(node: Node) -> None:
    default = node.write(SERVED + OURS.encode(), node.certs / "_default/hosts.toml")
    node.begin()
    assert f"{default} holds lines of breakglass already" in node.refused(
        *node.insert_line(copy=default)
    )


def test_one_that_cannot_be_read_is_left_and_the_sentence_names_it(node: Node) -> None:
    fill(node, SERVED)
    node.begin()
    node.insert()
    node.write(b"\xff")
    assert f"{node.file} is not UTF-8" in node.refused("put_back", node.directory, node.file)
    assert "not UTF-8" in node.refused(*node.insert_line())


def test_a_recorded_file_that_cannot_be_read_does_not_hide_what_else_was_taken(node: Node) -> None:
    other = node.certs / "forgejo.example/hosts.toml"
    node.begin()
    node.insert()
    node.insert(other)
    node.write(b"\xff")
    assert node.read()["now"][str(other)] == OURS


def test_a_link_in_the_place_of_the_hidden_file_is_not_followed(node: Node) -> None:
    fill(node, SERVED)
    node.begin()
    victim = node.write(b"victim", node.root / "victim")
    (node.file.parent / ".hosts.toml.breakglass").symlink_to(victim)
    ended = node.run(*node.insert_line())
    assert ended.returncode == 4
    assert victim.read_bytes() == b"victim"
    assert node.file.read_bytes() == SERVED


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("nonsense",),
        ("read",),
        ("read", "relative"),
        ("read", "/a/../b"),
        ("read", "/a//b"),
        ("read", "/a"),
        ("read", "/a", "--certs", "certs.d"),
        ("read", "/a", "--certs", "/c", "--registry", "a/b"),
        ("read", "/a", "--certs", "/c", "--registry", ".."),
        ("read", "/a", "--certs", "/c", "--registry", ""),
        ("read", "/a", "--certs", "/c", "--registry", "a:b"),
        ("read", "/a", "--certs", "/c", "--registry", "a:5050\n"),
        ("read", "/a", "--cert", "/c"),
        ("begin", "/a"),
        ("begin", "/a", "--namespace", ""),
        ("begin", "/a", "--namespace", "a/b"),
        ("begin", "/a", "--namespace", "k8s.io\n"),
        ("begin", "/a", "--namespace", "n" * 77),
        ("insert", "/a"),
        ("insert", "/a", "/f", "--onto", "absent", "--copy", "f", "--before", "end", "--", "x"),
        ("insert", "/a", "/f", "--onto", "absent", "--", "x"),
        ("insert", "/a", "/f", "--before", "end", "--", "x"),
        ("insert", "/a", "/f", "--onto", "ABSENT", "--before", "end", "--", "x"),
        ("insert", "/a", "/f", "--onto", "0" * 63, "--before", "end", "--", "x"),
        ("insert", "/a", "/f", "--onto", "absent", "--before", "0", "--", "x"),
        ("insert", "/a", "/f", "--onto", "absent", "--before", "-1", "--", "x"),
        ("insert", "/a", "/f", "--onto", "absent", "--before", "1.5", "--", "x"),
        ("insert", "/a", "f", "--onto", "absent", "--before", "end", "--", "x"),
        ("put_back", "/a"),
        ("put_back", "/a", "/f", "--although"),
        ("end", "/a", "/b"),
    ],
)
@pytest.mark.slow
def test_arguments_that_make_no_sense_are_usage_errors(node: Node, argv: tuple[str, ...]) -> None:
    assert node.refused(*argv, status=2).startswith("breakglass-remote.pyz taken")
