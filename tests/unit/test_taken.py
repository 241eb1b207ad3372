"""The script taken as it runs on a node: a process of its own, over real files."""

import ast
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from breakglass.commands.hosts_toml import compose
from breakglass.observe.answering import MARK, Site, _site
from breakglass.remote import taken
from tests.interpreters import HOST, script, zipapp

pytestmark = pytest.mark.usefixtures("host_python")

REMOTE = Path(__file__).parents[2] / "src/breakglass/remote"
REGISTRY, NAMESPACE = "registry.example:5050", "k8s.io"
LINES = (
    f"{MARK}, so that this node serves the image locally",
    '[host."http://127.0.0.1:4000"]',
    '  capabilities = ["pull", "resolve"]',
)
OURS = "".join(f"{line}\n" for line in LINES)
SERVED = (
    b'server = "https://registry.example:5050"\n\n[host."https://mirror.example"]\n  '
    b'capabilities = ["pull"]\n'
)

# Ends the process, as a kill does, before its Nth change of the file system.
KILLED = """
import os, sys
left, changing = int(sys.argv.pop(1)), {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.chown", "os.utime"}
def count(event, arguments):
    global left
    if event in changing or (event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
        left -= 1
        if left == 0:
            os._exit(137)
sys.path.insert(0, sys.argv.pop(1))
from breakglass.remote.taken.main import main
sys.addaudithook(count)
sys.exit(main(sys.argv[1:], None))
"""  # noqa: E501


class Node:
    """A directory of ours with its record, and a config_path of containerd, below one root."""

    def __init__(self, root: Path) -> None:
        self.root, self.directory, self.certs = (
            root,
            root / "breakglass",
            root / "containerd/certs.d",
        )
        self.record = self.directory / ".breakglass.json"
        self.file = self.certs / REGISTRY / "hosts.toml"
        self.environment = {"PATH": os.environ["PATH"]}

    def run(self, *argv: object) -> subprocess.CompletedProcess[str]:
        return self._run(*script("taken", *argv))

    def killed(self, before: int, *argv: object) -> bool:
        """Whether it came to its change number `before`, and was killed there."""
        ended = self._run(HOST.python, "-IS", "-c", KILLED, before, zipapp(), *argv)
        assert ended.returncode in (0, 137), ended.stderr
        return ended.returncode == 137

    def reported(self, *argv: object) -> dict[str, Any]:
        ended = self.run(*argv)
        assert (ended.returncode, ended.stderr) == (0, "")
        reported: dict[str, Any] = json.loads(ended.stdout)
        return reported

    def refused(self, *argv: object, status: int = 4) -> str:
        """One sentence on stderr, nothing on stdout, and not a byte of the node has changed."""
        before = self.listing()
        ended = self.run(*argv)
        assert (ended.returncode, ended.stdout) == (status, ""), ended.stderr
        assert ended.stderr.count("\n") == 1
        assert self.listing() == before
        return ended.stderr.rstrip("\n")

    def begin(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.reported("begin", self.directory, "--namespace", NAMESPACE)

    def end(self) -> None:
        self.reported("end", self.directory)

    def insert_line(
        self,
        file: Path | None = None,
        *,
        before: object = "end",
        lines: tuple[str, ...] = LINES,
        copy: Path | None = None,
    ) -> tuple[object, ...]:
        path, source = file or self.file, copy or file or self.file
        onto = hashlib.sha256(source.read_bytes()).hexdigest() if source.exists() else "absent"
        return (
            "insert",
            self.directory,
            path,
            "--onto",
            onto,
            *(("--copy", copy) if copy else ()),
            "--before",
            before,
            "--",
            *lines,
        )

    def insert(
        self,
        file: Path | None = None,
        *,
        before: object = "end",
        lines: tuple[str, ...] = LINES,
        copy: Path | None = None,
    ) -> None:
        self.reported(*self.insert_line(file, before=before, lines=lines, copy=copy))

    def put_back(self, file: Path | None = None) -> dict[str, Any]:
        return self.reported("put_back", self.directory, file or self.file)

    def read(self, *more: object) -> dict[str, Any]:
        return self.reported("read", self.directory, "--certs", self.certs, *more)

    def site(self, registry: str = REGISTRY) -> dict[str, Any]:
        found: dict[str, Any] = self.read("--registry", registry)["sites"][registry]
        return found

    def recorded(self) -> dict[str, Any]:
        files: dict[str, Any] = json.loads(self.record.read_text())["files"]
        return files

    def write(self, content: bytes, path: Path | None = None) -> Path:
        target = path or self.file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return target

    def listing(self) -> dict[str, tuple[object, ...]]:
        """Everything below the root: kind and mode, owner, content; of files and links the time as
        well.
        """
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.root.rglob("*")):
            status = path.lstat()
            what: tuple[object, ...] = ()
            if path.is_symlink():
                what = (str(path.readlink()), status.st_mtime_ns)
            elif path.is_file():
                what = (path.read_bytes(), status.st_mtime_ns)
            found[str(path.relative_to(self.root))] = (
                oct(status.st_mode),
                status.st_uid,
                status.st_gid,
                *what,
            )
        return found

    def _run(self, *argv: object) -> subprocess.CompletedProcess[str]:
        words, given = [*map(str, argv)], ""
        if "insert" in words and "--" in words:
            at = words.index("--")
            words, given = words[:at], "".join(f"{line}\n" for line in words[at + 1 :])
        return subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=self.environment,
            input=given,
        )


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path / "node")
    made.directory.mkdir(parents=True)
    return made


def fill(node: Node, content: bytes | None, *, mode: int = 0o640) -> None:
    """A hosts.toml from years ago; None: not even its directory."""
    if content is not None:
        node.write(content).chmod(mode)
        os.utime(node.file, ns=(1_000_000_007, 987_654_321_123_456_789))


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


# What is there


def test_reading_changes_nothing_and_tells_of_a_node_on_which_we_never_were(node: Node) -> None:
    node.directory.rmdir()
    before = node.listing()
    assert node.read() == {"record": None, "responder": False, "now": {}, "strays": []}
    assert node.listing() == before


def test_reading_tells_what_the_files_of_the_record_are_now_and_whether_the_responder_lies_there(
    node: Node,
) -> None:
    node.begin()
    node.insert()
    (node.directory / ".breakglass-responder.pyz").symlink_to("/nowhere")
    reported = node.read()
    assert reported["now"] == {str(node.file): OURS}
    assert reported["responder"] is True
    assert reported["record"]["namespace"] == NAMESPACE
    node.file.unlink()
    assert node.read()["now"] == {str(node.file): None}


def test_reading_tells_of_lines_of_ours_that_the_record_does_not_know(node: Node) -> None:
    node.begin()
    node.insert()
    stray = node.write(SERVED + OURS.encode(), node.certs / "forgejo.example/hosts.toml")
    node.write(SERVED, node.certs / "_default/hosts.toml")
    node.write(OURS.encode(), node.certs / "forgejo.example/hosts.toml.bak")
    assert node.read()["strays"] == [str(stray)]
    node.record.unlink()
    moved = node.write(OURS.encode(), node.certs / "_backup/forgejo.example/hosts.toml")
    assert node.read()["strays"] == [str(stray), str(node.file), str(moved)]
    moved.unlink()
    assert node.read("--registry", REGISTRY)["strays"] == [str(stray), str(node.file)]


@pytest.mark.parametrize("linked", [False, True], ids=["", "config_path is a link"])
def test_a_file_of_the_record_is_no_stray_whatever_was_made_of_it_and_over_whatever_link(
    node: Node, linked: bool
) -> None:
    fill(node, SERVED)
    if linked:
        link_certs(node)
    file = Path(node.site()["file"])
    node.begin()
    node.insert(file)
    node.write(file.read_bytes() + b"# by hand\n", file)
    (node.certs / "forgejo.example").symlink_to(file.parent)
    assert node.read()["strays"] == []


def test_what_cannot_be_read_is_no_stray(node: Node) -> None:
    node.write(OURS.encode() + b"\xff")
    (node.certs / "directory/hosts.toml").mkdir(parents=True)
    (node.certs / "dangling").mkdir()
    (node.certs / "dangling/hosts.toml").symlink_to("/nowhere")
    node.write(OURS.encode() + b"#" * (1 << 20), node.certs / "large/hosts.toml")
    assert node.read()["strays"] == []


def test_a_registry_without_anything_gets_a_file_of_its_own(node: Node) -> None:
    assert node.site() == {
        "file": str(node.file),
        "linked": False,
        "text": None,
        "default": None,
        "default_file": "",
        "ca": [],
        "client": [],
        "fault": "",
    }


def test_a_registry_that_has_only_default_gets_a_file_of_its_own_and_the_text_of_that(
    node: Node,
) -> None:
    default = node.write(SERVED, node.certs / "_default/hosts.toml")
    found = node.site()
    assert (found["file"], found["text"], found["default"], found["default_file"]) == (
        str(node.file),
        None,
        SERVED.decode(),
        str(default),
    )


def test_a_link_in_default_is_followed(node: Node) -> None:
    real = node.write(SERVED, node.root / "elsewhere/hosts.toml")
    node.certs.mkdir(parents=True)
    (node.certs / "_default").symlink_to(real.parent)
    assert (node.site()["default"], node.site()["default_file"]) == (SERVED.decode(), str(real))


def test_an_empty_directory_of_its_own_hides_default_as_it_does_for_containerd(node: Node) -> None:
    node.write(SERVED, node.certs / "_default/hosts.toml")
    node.file.parent.mkdir()
    assert node.site()["default"] is None


def test_the_directory_name_with_underscores_comes_before_the_one_with_a_colon(node: Node) -> None:
    node.write(b"# the other\n")
    underscored = node.write(SERVED, node.certs / "registry.example_5050_/hosts.toml")
    found = node.site()
    assert (found["file"], found["text"], found["linked"]) == (
        str(underscored),
        SERVED.decode(),
        False,
    )


def test_certificates_in_the_layout_of_docker_are_found_where_there_is_no_hosts_toml(
    node: Node,
) -> None:
    for name in ("ca.crt", "b.crt", "client.cert", "client.key", "lonely.cert"):
        node.write(b"x", node.file.parent / name)
    at = node.file.parent
    found = node.site()
    assert found["ca"] == [f"{at}/b.crt", f"{at}/ca.crt"]
    assert found["client"] == [[f"{at}/client.cert", f"{at}/client.key"]]
    node.write(b"")
    assert node.site()["ca"] == found["ca"], "an empty hosts.toml counts as none"
    node.write(b'server = "https://a" # [host] in a comment\n')
    assert node.site()["ca"] == found["ca"], "containerd 1 passes over one that lists no hosts"
    node.write(b'[host."https://a"]\n')
    assert node.site()["ca"] == []


def test_certificates_in_default_are_found_as_well(node: Node) -> None:
    certificate = node.write(b"x", node.certs / "_default/ca.crt")
    found = node.site()
    assert (found["file"], found["ca"]) == (str(node.file), [str(certificate)])


@pytest.mark.parametrize("kind", ["directory", "file", "dangling file", "dangling directory"])
def test_a_link_is_followed_and_reported(node: Node, kind: str) -> None:
    elsewhere = node.root / "elsewhere"
    elsewhere.mkdir()
    node.certs.mkdir(parents=True)
    real = elsewhere / "hosts.toml"
    if "dangling" not in kind:
        real.write_bytes(SERVED)
    if "directory" in kind:
        target = elsewhere / "gone" if "dangling" in kind else elsewhere
        node.file.parent.symlink_to(target)
        real = target / "hosts.toml"
    else:
        node.file.parent.mkdir()
        node.file.symlink_to(real)
    found = node.site()
    assert (found["file"], found["linked"], found["text"]) == (
        str(real),
        True,
        None if "dangling" in kind else SERVED.decode(),
    )


def test_a_config_path_that_is_itself_a_link_makes_no_file_a_shared_one(node: Node) -> None:
    fill(node, SERVED)
    real = node.root / "real"
    node.certs.rename(real)
    node.certs.symlink_to(real)
    found = node.site()
    assert (found["file"], found["linked"]) == (str(real / REGISTRY / "hosts.toml"), False)


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"\xff\xfe", "is not UTF-8"), (b"#" * (1 << 20) + b"\n", "is larger than")],
)
def test_a_hosts_toml_that_cannot_be_read_is_reported_as_a_fault_of_that_registry_only(
    node: Node, content: bytes, fault: str
) -> None:
    fill(node, content)
    reported = node.read("--registry", REGISTRY, "--registry", "forgejo.example")
    assert fault in reported["sites"][REGISTRY]["fault"]
    assert reported["sites"]["forgejo.example"]["fault"] == ""


def test_a_file_where_a_directory_is_wanted_is_a_fault(node: Node) -> None:
    node.write(b"", node.certs / REGISTRY)
    assert "is no directory" in node.site()["fault"]


def test_a_directory_in_the_place_of_hosts_toml_is_a_fault(node: Node) -> None:
    node.file.mkdir(parents=True)
    assert str(node.file) in node.site()["fault"]


# A second look, with our own file in place


def site_of(reported: dict[str, Any]) -> Site:
    return _site(REGISTRY, reported)


def make_default(node: Node) -> None:
    node.write(
        SERVED.replace(b"server", b'ca = "/etc/ca.crt"\nserver'), node.certs / "_default/hosts.toml"
    )


def make_certificates(node: Node) -> None:
    node.write(b"x", node.file.parent / "ca.crt")
    node.write(b"x", node.file.parent / "client.cert")
    node.write(b"x", node.file.parent / "client.key")


def make_certificates_of_default(node: Node) -> None:
    node.write(b"x", node.certs / "_default/ca.crt")


def make_empty_file_with_certificates(node: Node) -> None:
    make_certificates(node)
    node.write(b"")


def make_nothing(node: Node) -> None:
    assert not node.certs.exists()


def link_certs(node: Node) -> None:
    node.certs.mkdir(parents=True, exist_ok=True)
    node.certs.rename(node.root / "real")
    node.certs.symlink_to(node.root / "real")


@pytest.mark.parametrize(
    "linked", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "config_path is a link"]
)
@pytest.mark.parametrize(
    "make",
    [
        make_default,
        make_certificates,
        pytest.param(make_certificates_of_default, marks=pytest.mark.slow),
        pytest.param(make_empty_file_with_certificates, marks=pytest.mark.slow),
        pytest.param(make_nothing, marks=pytest.mark.slow),
    ],
)
def test_what_counts_without_us_is_found_again_when_our_own_file_is_there(
    node: Node, make: Any, linked: bool
) -> None:
    make(node)
    if linked:
        link_certs(node)
    node.begin()
    first = site_of(node.site())
    made = compose(first, first.text, address="http://127.0.0.1:4000", first=False)
    copy = Path(first.default_file) if first.text is None and made.base is not None else None
    node.insert(Path(first.file), before=made.before, lines=made.lines, copy=copy)
    assert Path(first.file).read_text() == made.text
    again = site_of(node.site())
    assert again.text == made.text
    assert (again.file, again.linked, again.default, again.ca, again.client) == (
        first.file,
        first.linked,
        first.default,
        first.ca,
        first.client,
    )
    assert again.default_file == first.default_file
    assert compose(again, first.text, address="http://127.0.0.1:4000", first=False) == made, (
        "a second import has nothing to do"
    )


# containerd


@pytest.fixture
def programs(node: Node) -> Path:
    """The only directory on PATH."""
    directory = node.root / "bin"
    directory.mkdir()
    node.environment["PATH"] = str(directory)
    return directory


def program(directory: Path, name: str, *lines: str) -> None:
    (directory / name).write_text("\n".join(("#!/bin/sh", *lines)) + "\n")
    (directory / name).chmod(0o755)


def containerd_of(node: Node, *ctr: str) -> tuple[dict[str, Any], str | None]:
    reported = node.read("--registry", REGISTRY, *(("--", *ctr) if ctr else ()))
    # Those that run on the machine of the tests come first.
    return reported["containerd"][-1], reported["content"]


def test_without_containerd_on_path_the_file_beside_config_path_is_read(
    node: Node, programs: Path
) -> None:
    file = node.write(b'config_path = "here"\n', node.certs.parent / "config.toml")
    reported, _ = containerd_of(node)
    assert (reported["configuration"], reported["fault"], reported["file"]) == (
        'config_path = "here"\n',
        "",
        str(file),
    )
    assert list(programs.iterdir()) == []


def test_without_containerd_and_without_the_file_the_fault_is_reported(
    node: Node, programs: Path
) -> None:
    reported, content = containerd_of(node)
    assert reported["configuration"] == ""
    assert "containerd" in reported["fault"]
    assert (reported["newer"], content) == ("", None)
    assert list(programs.iterdir()) == []


def test_containerd_is_asked_about_the_file_beside_config_path_where_there_is_one(
    node: Node, programs: Path
) -> None:
    program(programs, "containerd", 'echo "asked = \\"$*\\""', "echo noise >&2")
    assert containerd_of(node)[0]["configuration"] == 'asked = "config dump"\n'
    file = node.write(b"", node.certs.parent / "config.toml")
    reported, _ = containerd_of(node)
    assert (reported["configuration"], reported["fault"]) == (
        f'asked = "--config {file} config dump"\n',
        "",
    )


def test_what_containerd_says_of_a_configuration_that_it_refuses_is_reported(
    node: Node, programs: Path
) -> None:
    program(programs, "containerd", "echo 'containerd: no such plugin' >&2", "exit 1")
    reported, _ = containerd_of(node)
    assert (reported["configuration"], reported["fault"]) == ("", "containerd: no such plugin")


def test_the_content_store_is_where_the_running_containerd_says(node: Node, programs: Path) -> None:
    program(
        programs,
        "ctr",
        'test "$*" = "-n k8s.io plugins ls -d id==content" || exit 1',
        "echo 'Type:          io.containerd.content.v1'",
        "echo 'Exports:'",
        "printf '    root      /data/my store/content\\n'",
    )
    assert containerd_of(node, "ctr", "-n", "k8s.io")[1] == "/data/my store/content"


@pytest.mark.parametrize(
    "lines",
    [("exit 1",), ("echo root",), ("echo '   root   relative/path'",), ("printf '\\377\\376'",)],
)
def test_where_containerd_does_not_tell_its_content_store_none_is_reported(
    node: Node, programs: Path, lines: tuple[str, ...]
) -> None:
    program(programs, "ctr", *lines)
    assert containerd_of(node, "ctr")[1] is None
    assert containerd_of(node, "k3s", "ctr")[1] is None


# The scripts themselves

LATER_THAN_3_8 = {
    "removeprefix",
    "removesuffix",
    "is_relative_to",
    "hardlink_to",
    "with_stem",
    "to_thread",
    "pairwise",
    "batched",
    "walk_packages",
    "TaskGroup",
    "timeout_at",
}
BUILT_IN = {"list", "dict", "tuple", "set", "frozenset", "type"}


@pytest.mark.parametrize("script", sorted(REMOTE.rglob("*.py")), ids=str)
def test_every_script_for_other_hosts_is_python_3_8_and_imports_only_the_standard_library(
    script: Path,
) -> None:
    tree = ast.parse(script.read_text(), feature_version=(3, 8))
    annotations = {
        id(inner)
        for node in ast.walk(tree)
        for part in ("annotation", "returns")
        if getattr(node, part, None)
        for inner in ast.walk(getattr(node, part))
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert node.attr not in LATER_THAN_3_8, f"{script.name}:{node.lineno}: {node.attr}"
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and id(node) not in annotations
        ):
            assert node.value.id not in BUILT_IN, (
                f"{script.name}:{node.lineno}: {node.value.id}[...] outside of an annotation"
            )
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        others = [name for name in names if not f"{name}.".startswith("breakglass.remote.")]
        assert {name.partition(".")[0] for name in others} <= sys.stdlib_module_names, (
            f"{script.name}: {names}"
        )


def test_the_mark_is_the_same_on_the_node_and_here(node: Node) -> None:
    assert taken.MARK == MARK
    assert (
        compose(site_of(node.site()), None, address="http://127.0.0.1:4000", first=False)
        .lines[0]
        .startswith(MARK)
    )
