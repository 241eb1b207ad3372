"""Reading a directory of tarballs, with the shells that are really there."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakglass.errors import BreakglassError
from breakglass.observe.listing import tag_of
from breakglass.observe.record import parse_records
from breakglass.observe.shelf import Shelf, parse_shelf, read_shelf
from tests.local import HOST, LocalReads


def put(
    directory: Path,
    tag: str,
    *,
    sequence: int,
    content: bytes = b"tarball",
    size_bytes: int | None = None,
) -> None:
    file = directory / f"infra-ci-{tag}.tar.gz"
    file.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    record = {
        "tag": tag,
        "references": [f"registry.example:5050/infra-ci:{tag}"],
        "image_id": "sha256:" + "a" * 64,
        "companions": {},
        "platform": "linux/amd64",
        "size_bytes": len(content) if size_bytes is None else size_bytes,
        "sha256": digest,
        "sequence": sequence,
        "created_at": "2026-04-19T00:00:00Z",
        "version": "0.1.0",
    }
    (directory / f"infra-ci-{tag}.json").write_text(json.dumps(record) + "\n")
    (directory / f"{file.name}.sha256").write_text(f"{digest}  {file.name}\n")


@pytest.fixture(params=["sh", "busybox"])
def reads(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalReads:
    """The machine's own commands, and a NAS that has busybox's only."""
    if request.param == "sh":
        return LocalReads()
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("no busybox on this machine (Debian: busybox-static)")
    applets = tmp_path_factory.mktemp("nas")
    for applet in ("sh", "cat", "ls", "wc", "tail", "readlink"):
        (applets / applet).symlink_to(busybox)
    return LocalReads(path=str(applets))


def read(reads: LocalReads, directory: Path) -> Shelf:
    return read_shelf(reads, HOST, str(directory), "infra-ci", signers=None)


def test_a_directory_that_is_not_there_is_an_empty_shelf(reads: LocalReads, tmp_path: Path) -> None:
    shelf = read(reads, tmp_path / "absent")
    assert not shelf.present
    assert shelf.tarballs == ()


def test_tarballs_are_read_newest_first_by_sequence_and_latest_is_what_the_link_means(
    reads: LocalReads, tmp_path: Path
) -> None:
    put(tmp_path, "bbbb", sequence=1)
    put(tmp_path, "aaaa", sequence=3)
    put(tmp_path, "cccc", sequence=2)
    (tmp_path / "infra-ci-latest.tar.gz").symlink_to("infra-ci-aaaa.tar.gz")
    shelf = read(reads, tmp_path)
    assert [tarball.tag for tarball in shelf.verified] == ["aaaa", "cccc", "bbbb"]
    assert (shelf.latest, shelf.latest_fault) == ("aaaa", "")


def test_only_a_whole_sidecar_and_an_equal_size_count_as_verified(
    reads: LocalReads, tmp_path: Path
) -> None:
    put(tmp_path, "good", sequence=1)
    put(tmp_path, "cut", sequence=2, size_bytes=99)
    put(tmp_path, "nosum", sequence=3)
    (tmp_path / "infra-ci-nosum.tar.gz.sha256").unlink()
    put(tmp_path, "othersum", sequence=4)
    (tmp_path / "infra-ci-othersum.tar.gz.sha256").write_text(
        "0" * 64 + "  infra-ci-othersum.tar.gz\n"
    )
    put(tmp_path, "halfjson", sequence=5)
    (tmp_path / "infra-ci-halfjson.json").write_text('{"tag": "halfjson"')
    put(tmp_path, "stolen", sequence=6)
    (tmp_path / "infra-ci-stolen.json").write_text((tmp_path / "infra-ci-good.json").read_text())
    (tmp_path / "infra-ci-bare.tar.gz").write_bytes(b"old pipeline")
    shelf = read(reads, tmp_path)
    assert [tarball.tag for tarball in shelf.verified] == ["good"]
    assert {tarball.tag for tarball in shelf.tarballs} == {
        "good",
        "cut",
        "nosum",
        "othersum",
        "halfjson",
        "stolen",
        "bare",
    }


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("infra-ci-gone.tar.gz", "which is not there"),
        ("/etc/passwd", "outside"),
        ("../infra-ci-good.tar.gz", "outside"),
        ("infra-ci-latest.tar.gz", "outside"),
        ("infra-ci-good.tar.gz\nfile infra-ci-x.tar.gz -rw 1 0 0 5", "outside"),
    ],
)
def test_a_latest_that_dangles_loops_or_leaves_the_directory_is_a_fault_and_not_followed(
    reads: LocalReads, tmp_path: Path, target: str, fault: str
) -> None:
    put(tmp_path, "good", sequence=1)
    (tmp_path / "infra-ci-latest.tar.gz").symlink_to(target)
    shelf = read(reads, tmp_path)
    if "\n" in target:
        assert shelf.latest in (None, "good")
        return
    assert shelf.latest is None
    assert fault in shelf.latest_fault


def test_names_with_spaces_newlines_and_dashes_and_other_kinds_of_file_are_nothing_of_ours(
    reads: LocalReads, tmp_path: Path
) -> None:
    put(tmp_path, "good", sequence=1)
    for name in (
        "infra-ci-a b.tar.gz",
        "infra-ci-a\nfile infra-ci-b.tar.gz x 1 0 0 7.tar.gz",
        "-rf",
        "infra-ci-$(id).tar.gz",
    ):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "infra-ci-dir.tar.gz").mkdir()
    (tmp_path / "infra-ci-link.tar.gz").symlink_to("infra-ci-good.tar.gz")
    shelf = read(reads, tmp_path)
    assert [tarball.tag for tarball in shelf.tarballs] == ["good"]
    assert shelf.foreign == ("infra-ci-dir.tar.gz", "infra-ci-link.tar.gz")


def test_a_partial_is_known_with_the_object_that_it_is_the_beginning_of(
    reads: LocalReads, tmp_path: Path
) -> None:
    (tmp_path / ".infra-ci-aaaa.tar.gz.partial").write_bytes(b"12345")
    (tmp_path / ".infra-ci-aaaa.tar.gz.partial.sha256").write_text("b" * 64 + "\n")
    (tmp_path / ".infra-ci-bbbb.tar.gz.partial").write_bytes(b"1")
    shelf = read(reads, tmp_path)
    assert [(partial.file, partial.size_bytes, partial.sha256) for partial in shelf.partials] == [
        ("infra-ci-aaaa.tar.gz", 5, "b" * 64),
        ("infra-ci-bbbb.tar.gz", 1, None),
    ]


def test_a_file_that_is_named_latest_and_is_no_link_is_a_fault(
    reads: LocalReads, tmp_path: Path
) -> None:
    (tmp_path / "infra-ci-latest.tar.gz").write_bytes(b"x")
    assert read(reads, tmp_path).latest_fault == "is not a link"


@given(st.binary(max_size=300))
def test_no_output_makes_the_parser_raise_anything_but_our_own_errors(output: bytes) -> None:
    for text in (output, b"present\n" + output + b"\nend\n"):
        try:
            parse_shelf(text, host=HOST, directory="/d", name="infra-ci", signers=None)
        except BreakglassError:
            continue


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
        ),
    )
)
def test_no_json_is_taken_for_a_record_that_is_none(data: object) -> None:
    assert parse_records(json.dumps(data).encode()) == []


@pytest.mark.parametrize(
    "file",
    [
        "infra-ci-.tar.gz",
        "infra-ci.tar.gz",
        "other-a.tar.gz",
        "infra-ci-a b.tar.gz",
        "infra-ci-" + "a" * 129 + ".tar.gz",
    ],
)
def test_a_name_outside_the_grammar_has_no_tag(file: str) -> None:
    assert tag_of(file, "infra-ci") is None


def test_sidecars_without_a_tarball_are_left_over_only_where_they_are_ours(
    reads: LocalReads, tmp_path: Path
) -> None:
    put(tmp_path, "gone", sequence=1)
    put(tmp_path, "moved", sequence=2)
    (tmp_path / "infra-ci-moved.json").rename(tmp_path / "infra-ci-copy.json")
    (tmp_path / "infra-ci-moved.tar.gz.sha256").rename(tmp_path / "infra-ci-copy.tar.gz.sha256")
    for tag in ("gone", "moved"):
        (tmp_path / f"infra-ci-{tag}.tar.gz").unlink()
    (tmp_path / "infra-ci-notes.json").write_text('{"these": "are notes of mine"}')
    (tmp_path / "infra-ci-list.json").write_text("orphan infra-ci-x.json\n[]")
    (tmp_path / "infra-ci-big.json").write_text(" " * 70000)
    (tmp_path / "infra-ci-sums.tar.gz.sha256").write_text(
        "0" * 64 + "  infra-ci-sums.tar.gz\nmine\n"
    )
    assert set(read(reads, tmp_path).orphans) == {
        "infra-ci-gone.json",
        "infra-ci-gone.tar.gz.sha256",
    }
