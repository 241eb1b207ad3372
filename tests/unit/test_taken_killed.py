"""taken: killed before any of its changes, and called again."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.taken_node import NAMESPACE, OURS, SERVED, Node, fill

pytestmark = pytest.mark.usefixtures("host_python")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path / "node")
    made.directory.mkdir(parents=True)
    return made


# Killed


def sweep(node: Node, *line: object) -> Iterator[int]:
    """Once for each change that the command makes: it is killed before that one. Each time from the
    same start.
    """
    start = node.root.with_name("start")
    node.root.rename(start)
    for before in range(1, 100):
        shutil.rmtree(node.root, ignore_errors=True)
        shutil.copytree(start, node.root, symlinks=True)
        if not node.killed(before, *line):
            return
        yield before
    raise AssertionError("it does not end")


@pytest.mark.slow
@pytest.mark.parametrize("content", [SERVED, None, "copy"])
def test_an_insert_killed_before_any_of_its_changes_is_undone_by_put_back(
    node: Node, content: bytes | str | None
) -> None:
    copy = None
    if isinstance(content, str):
        copy = node.write(SERVED, node.certs / "_default/hosts.toml")
    else:
        fill(node, content)
    at_first = node.listing()
    node.begin()
    count = 0
    for count in sweep(node, *node.insert_line(copy=copy)):
        node.put_back()
        node.end()
        assert node.listing() == at_first, f"killed before change {count}"
    assert count >= 5


@pytest.mark.slow
@pytest.mark.parametrize("content", [SERVED, None])
def test_an_insert_killed_before_any_of_its_changes_is_done_again_and_then_taken_back(
    node: Node, content: bytes | None
) -> None:
    fill(node, content)
    at_first = node.listing()
    node.begin()
    line = node.insert_line()
    count = 0
    for count in sweep(node, *line):
        if not node.file.exists() or OURS not in node.file.read_text():
            node.reported(*line)
        assert node.file.read_bytes() == (content or b"") + OURS.encode()
        node.put_back()
        node.end()
        assert node.listing() == at_first, f"killed before change {count}"
    assert count >= 5


@pytest.mark.slow
@pytest.mark.parametrize("content", [SERVED, None])
def test_a_put_back_killed_before_any_of_its_changes_is_finished_by_the_next(
    node: Node, content: bytes | None
) -> None:
    fill(node, content)
    at_first = node.listing()
    node.begin()
    node.insert()
    count = 0
    for count in sweep(node, "put_back", node.directory, node.file):
        node.put_back()
        node.end()
        assert node.listing() == at_first, f"killed before change {count}"
    assert count >= 4


@pytest.mark.slow
def test_a_put_back_of_what_was_deleted_killed_before_any_of_its_changes_is_finished_by_the_next(
    node: Node,
) -> None:
    fill(node, SERVED)
    at_first = node.listing()
    node.begin()
    node.insert()
    shutil.rmtree(node.file.parent)
    count = 0
    for count in sweep(node, "put_back", node.directory, node.file, "--although-gone"):
        node.reported("put_back", node.directory, node.file, "--although-gone")
        node.end()
        assert node.listing() == at_first, f"killed before change {count}"
    assert count >= 4


def test_a_begin_that_was_cut_short_reads_as_a_record_without_a_namespace_and_is_begun_again(
    node: Node,
) -> None:
    hidden = node.record.with_name(".breakglass.json.partial")
    for content in (b"", b'{"schema": 1, "name'):
        node.write(content, hidden)
        assert node.read()["record"] == {"schema": 1, "namespace": None, "files": {}}
        node.begin()
        assert node.read()["record"] == {"schema": 1, "namespace": NAMESPACE, "files": {}}
        assert not hidden.exists()
        node.end()


def test_a_begin_that_was_cut_short_is_ended(node: Node) -> None:
    at_first = node.listing()
    node.write(b'{"schema": 1, "name', node.record.with_name(".breakglass.json.partial"))
    node.end()
    assert node.listing() == at_first


def test_a_partial_beside_a_record_hides_nothing_of_the_record(node: Node) -> None:
    node.begin()
    node.insert()
    node.write(b"{", node.record.with_name(".breakglass.json.partial"))
    assert list(node.read()["record"]["files"]) == [str(node.file)]
    assert "not restored" in node.refused("end", node.directory)


@pytest.mark.slow
def test_a_begin_or_end_killed_before_any_of_its_changes_leaves_nothing_behind_in_the_end(
    node: Node,
) -> None:
    at_first = node.listing()
    for count in sweep(node, "begin", node.directory, "--namespace", NAMESPACE):
        record = node.read()["record"]
        assert (record is None) is (count == 1), (
            "from its first trace on it is known that something was begun"
        )
        node.end()
        assert node.listing() == at_first
    shutil.rmtree(node.root.with_name("start"))
    node.begin()
    for _ in sweep(node, "end", node.directory):
        node.end()
        assert node.listing() == at_first


def test_what_a_killed_insert_has_recorded_is_not_taken_for_the_original_of_a_file_that_came_since(
    node: Node,
) -> None:
    node.begin()
    assert node.killed(5, *node.insert_line())
    assert str(node.file) in node.recorded()
    assert not node.file.exists()
    theirs = b'server = "https://theirs.example"\n'
    node.write(theirs)
    node.insert()
    node.put_back()
    assert node.file.read_bytes() == theirs


@pytest.mark.slow
def test_a_hidden_partial_that_was_left_over_goes_with_put_back_and_with_insert(node: Node) -> None:
    fill(node, SERVED)
    at_first = node.listing()
    node.begin()
    node.insert()
    node.write(b"half", node.file.parent / ".hosts.toml.breakglass")
    node.put_back()
    node.end()
    assert node.listing() == at_first
    node.write(
        b"half of something that was longer than what is written now" * 100,
        node.file.parent / ".hosts.toml.breakglass",
    ).chmod(0o000)
    node.begin()
    node.insert()
    assert sorted(path.name for path in node.file.parent.iterdir()) == ["hosts.toml"]
    assert node.file.read_bytes() == SERVED + OURS.encode()
    node.put_back()
    node.end()
    assert node.listing() == at_first
