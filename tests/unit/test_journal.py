"""The journal on real files: what is written, what stands in its way, and what is read back."""

import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from breakglass.cli.journal import Journal
from breakglass.cli.journal_file import LIMIT_BYTES, TAIL_BYTES, place
from breakglass.cli.past_runs import describe, last_run
from breakglass.commands.status_last_run import LastRun
from breakglass.plan import Host, Lock, Run

NODE = Host("k8s-node1", "wizard@10.0.20.101", sudo=True)
STEP = Run(NODE, (("mkdir", "-p", "/var/breakglass"),))
NOW = "2026-04-19T12:00:00Z"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state/breakglass/journal.jsonl"


def journal(path: Path, warnings: list[str] | None = None, run: str = "0a1b2c3d") -> Journal:
    return Journal(
        path,
        run=run,
        by="root@box",
        command="import",
        warn=(warnings if warnings is not None else []).append,
    )


def one_change(journal: Journal) -> None:
    journal.begin(STEP)
    journal.close(STEP, "done")
    journal.end(0)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def test_a_change_is_two_lines_and_the_end_of_the_run_one(path: Path) -> None:
    one_change(journal(path))
    begun, done, ended = lines(path)
    at = {"at": begun["at"], "run": "0a1b2c3d", "by": "root@box", "command": "import"}
    assert datetime.strptime(begun["at"], "%Y-%m-%dT%H:%M:%SZ")
    assert begun == at | {
        "host": "k8s-node1",
        "line": str(STEP),
        "result": "begun",
        "seconds": None,
    }
    assert done == begun | {"at": done["at"], "result": "done", "seconds": done["seconds"]}
    assert done["seconds"] >= 0
    assert ended == at | {
        "at": ended["at"],
        "host": None,
        "line": None,
        "result": "ended",
        "exit_code": 0,
    }


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_the_file_and_its_directories_are_the_owners_alone(path: Path, umask: int) -> None:
    path.parent.parent.parent.chmod(0o755)
    before = os.umask(umask & 0o077)
    try:
        one_change(journal(path))
        os.umask(umask)
        path.unlink()
        one_change(journal(path))
    finally:
        os.umask(before)
    assert [mode(each) for each in (path, path.parent, path.parent.parent)] == [
        "0o600",
        "0o700",
        "0o700",
    ]
    assert mode(path.parent.parent.parent) == "0o755", "what was there is left as it is"


def test_a_file_of_ours_that_others_may_read_is_narrowed_and_keeps_its_lines(path: Path) -> None:
    one_change(journal(path))
    path.chmod(0o666)
    one_change(journal(path))
    assert (mode(path), len(lines(path))) == ("0o600", 6)


@pytest.mark.parametrize(
    "do",
    [
        lambda journal: journal.end(0),
        lambda journal: (journal.begin(Lock(NODE, "/var/breakglass/.lock", "x")), journal.end(0)),
    ],
    ids=["nothing", "a lock"],
)
def test_a_run_that_changes_nothing_makes_no_file(
    path: Path, do: Callable[[Journal], object]
) -> None:
    do(journal(path))
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, "/home/ci/.local/state"),
        ("", "/home/ci/.local/state"),
        ("var/state", "/home/ci/.local/state"),
        ("/srv/state", "/srv/state"),
    ],
    ids=["unset", "empty", "relative", "absolute"],
)
def test_the_place_is_that_of_the_xdg_specification(state: str | None, expected: str) -> None:
    assert (
        place({} if state is None else {"XDG_STATE_HOME": state}, Path("/home/ci"))
        == Path(expected) / "breakglass/journal.jsonl"
    )


def instead_of_its_directory(path: Path) -> Path:
    path.parent.rmdir()
    return path.parent


OBSTACLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a directory": (Path.mkdir, "Is a directory"),
    "a FIFO": (os.mkfifo, "it is not a regular file"),
    "a device": (
        lambda path: (
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 7))
            if os.geteuid() == 0
            else os.mkfifo(path)
        ),
        "it is not a regular file",
    ),
    "a link": (lambda path: path.symlink_to(path.with_name("another")), "it is a symbolic link"),
    "a file for its directory": (
        lambda path: instead_of_its_directory(path).write_text(""),
        "Not a directory",
    ),
    "a dangling link for its directory": (
        lambda path: instead_of_its_directory(path).symlink_to("nowhere"),
        "No such file or directory",
    ),
}


@pytest.mark.parametrize(("obstacle", "reason"), OBSTACLES.values(), ids=OBSTACLES)
def test_what_cannot_be_written_is_said_once_with_path_and_reason(
    path: Path, obstacle: Callable[[Path], object], reason: str
) -> None:
    path.parent.mkdir(parents=True)
    obstacle(path)
    before = sorted(path.parent.parent.rglob("*"))
    warnings: list[str] = []
    one_change(journal(path, warnings))
    assert len(warnings) == 1
    assert str(path) in warnings[0]
    assert reason in warnings[0]
    assert sorted(path.parent.parent.rglob("*")) == before
    assert last_run(path) is None


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process grows beyond this."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 30], ids=["no room", "room for a part of a line"])
def test_where_the_room_ends_it_is_said_once_and_what_is_written_later_is_whole(
    path: Path, room: int
) -> None:
    one_change(journal(path))
    warnings: list[str] = []
    cut = journal(path, warnings, run="cut")
    with room_for(path.stat().st_size + room):
        cut.begin(STEP)
        cut.close(STEP, "done")
    assert len(warnings) == 1
    cut.end(4)
    found = last_run(path)
    assert found is not None
    assert (found.run, found.exit_code) == ("cut", 4)
    whole = [
        line
        for line in path.read_bytes().splitlines()
        if line.startswith(b"{") and line.endswith(b"}")
    ]
    assert [json.loads(line)["result"] for line in whole] == ["begun", "done", "ended", "ended"]


WRITER = """
import sys
from pathlib import Path
from breakglass.cli.journal import Journal
from breakglass.plan import Host, Run
journal = Journal(Path(sys.argv[1]), run=sys.argv[2], by="x", command="pin", warn=lambda line: sys.exit(line))
sys.stdin.read(1)
for number in range(200):
    step = Run(Host("h", "h"), (("echo", str(number), sys.argv[2] * 500),))
    journal.begin(step)
    journal.close(step, "done")
journal.end(0)
"""  # noqa: E501


def test_two_runs_at_once_never_mix_their_lines(path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), run], stdin=subprocess.PIPE)
        for run in ("aaaa", "bbbb")
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
    assert [writer.wait(30) for writer in writers] == [0, 0]
    found = lines(path)
    assert len(found) == 2 * (2 * 200 + 1)
    for run in ("aaaa", "bbbb"):
        assert [entry["result"] for entry in found if entry["run"] == run] == [
            "begun",
            "done",
        ] * 200 + ["ended"]


def test_the_first_word_on_a_step_counts_and_one_that_never_began_has_none(path: Path) -> None:
    written = journal(path)
    written.close(STEP, "done")
    written.begin(STEP)
    written.close(STEP, "failed")
    written.close(STEP, "unknown")
    assert [entry["result"] for entry in lines(path)] == ["begun", "failed"]


def test_the_last_run_is_reported_with_its_changes_and_its_exit_code(path: Path) -> None:
    one_change(journal(path, run="before"))
    last = journal(path, run="last")
    for number in range(3):
        step = Run(NODE, (("rm", str(number)),))
        last.begin(step)
        last.close(step, "failed" if number == 2 else "done")
    last.end(4)
    found = last_run(path)
    assert found is not None
    assert replace(found, at="") == LastRun(
        run="last",
        by="root@box",
        command="import",
        at="",
        changes=2,
        exit_code=4,
    )
    assert describe(found, now=found.at) == "import by root@box, 0 s ago: 2 changes, exit 4"


def test_a_run_that_was_cut_short_has_no_exit_code(path: Path) -> None:
    one_change(journal(path, run="before"))
    journal(path, run="last").begin(STEP)
    found = last_run(path)
    assert found is not None
    assert (found.run, found.changes, found.exit_code) == ("last", 0, None)
    assert describe(found, now=NOW).endswith("0 changes, cut short, or still at work")


BROKEN = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"run": "x"}',
    b'{"at": "now", "run": "x", "by": "y", "command": "z", "result": "ended"}',
    b'{"at": ' + b"9" * 5000 + b"}",
    b"[" * 10000,
]


def test_broken_lines_are_passed_over(path: Path) -> None:
    one_change(journal(path))
    with path.open("ab") as stream:
        stream.write(b"\n".join(BROKEN))
    found = last_run(path)
    assert found is not None
    assert (found.run, found.exit_code) == ("0a1b2c3d", 0)
    one_change(journal(path, run="later"))
    assert [json.loads(line)["run"] for line in path.read_bytes().splitlines()[-3:]] == [
        "later"
    ] * 3, "and the last of them, which has no end, spoils none of ours"


def test_of_a_long_journal_only_the_end_is_read(path: Path) -> None:
    one_change(journal(path))
    with path.open("ab") as stream:
        stream.write(b"x" * TAIL_BYTES + b"\n")
    assert last_run(path) is None
    one_change(journal(path, run="later"))
    found = last_run(path)
    assert found is not None
    assert (found.run, found.changes) == ("later", 1)


def filled(path: Path) -> bytes:
    """A journal that has grown too long."""
    path.parent.mkdir(parents=True, mode=0o700)
    content = (b'{"run": "old"}\n' * (LIMIT_BYTES // 15 + 1))[:LIMIT_BYTES] + b"\n"
    path.write_bytes(content)
    return content


def test_a_run_larger_than_any_tail_is_reported_with_all_its_changes(path: Path) -> None:
    large = journal(path, run="large")
    for number in range(3000):
        step = Run(NODE, (("rm", str(number), "x" * 200),))
        large.begin(step)
        large.close(step, "done")
        if number == 1500:
            journal(path, run="beside").begin(STEP)
    large.end(0)
    found = last_run(path)
    assert found is not None
    assert (found.run, found.changes, found.exit_code) == ("large", 3000, 0)


def test_a_journal_that_has_grown_long_is_put_aside_by_the_next_run(path: Path) -> None:
    content = filled(path)
    one_change(journal(path, run="next"))
    assert [entry["run"] for entry in lines(path)] == ["next"] * 3
    aside = path.with_name("journal.jsonl.1")
    assert (aside.read_bytes(), mode(path)) == (content, "0o600")
    one_change(journal(path, run="after"))
    assert len(lines(path)) == 6
    assert aside.read_bytes() == content
    path.rename(aside)  # as if the disk were full when it was to be made anew
    found = last_run(path)
    assert found is not None
    assert found.run == "after"


def test_it_is_not_put_aside_while_a_run_is_at_work_that_writes_into_it(path: Path) -> None:
    at_work = journal(path, run="at work")
    at_work.begin(STEP)
    with path.open("ab") as stream:
        stream.write((b"x" * 79 + b"\n") * (LIMIT_BYTES // 80 + 1))
    one_change(journal(path, run="beside"))
    at_work.close(STEP, "done")
    at_work.end(0)
    assert not path.with_name("journal.jsonl.1").exists()
    found = last_run(path)
    assert found is not None
    assert (found.run, found.changes) == ("at work", 1)


def test_of_runs_that_begin_at_once_on_a_long_journal_one_puts_it_aside_and_no_line_is_lost(
    path: Path,
) -> None:
    content = filled(path)
    runs = ("aaaa", "bbbb", "cccc", "dddd")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), run], stdin=subprocess.PIPE)
        for run in runs
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
    assert [writer.wait(30) for writer in writers] == [0] * 4
    assert path.with_name("journal.jsonl.1").read_bytes() == content
    found = lines(path)
    assert {run: sum(entry["run"] == run for entry in found) for run in runs} == dict.fromkeys(
        runs, 2 * 200 + 1
    )


def test_without_a_journal_there_is_no_last_run(path: Path) -> None:
    assert last_run(path) is None
    path.parent.mkdir(parents=True)
    path.touch()
    assert last_run(path) is None


@pytest.mark.parametrize(
    ("at", "changes", "exit_code", "sentence"),
    [
        ("2026-04-19T11:59:58Z", 1, 0, "pin by root@box, 2 s ago: 1 change, exit 0"),
        ("2026-04-19T11:58:00Z", 12, 143, "pin by root@box, 2 min ago: 12 changes, exit 143"),
        (
            "2026-04-19T09:01:00Z",
            12,
            None,
            "pin by root@box, 2 h ago: 12 changes, cut short, or still at work",
        ),
        ("2026-04-13T12:00:00Z", 0, 4, "pin by root@box, 6 d ago: 0 changes, exit 4"),
        ("2026-04-19T13:00:00Z", 0, 4, "pin by root@box, 0 s ago: 0 changes, exit 4"),
    ],
    ids=["seconds", "minutes", "hours, cut short", "days", "a clock that went back"],
)
def test_the_last_run_is_described_in_one_line(
    at: str, changes: int, exit_code: int | None, sentence: str
) -> None:
    assert (
        describe(
            LastRun(
                run="a",
                by="root@box",
                command="pin",
                at=at,
                changes=changes,
                exit_code=exit_code,
            ),
            now=NOW,
        )
        == sentence
    )


def test_nothing_that_somebody_wrote_into_the_journal_reaches_the_terminal_as_it_is() -> None:
    reported = describe(
        LastRun(
            run="a",
            by="\x1b[31mroot",
            command="pin\nx",
            at="2026-04-19T12:00:00Z",
            changes=0,
            exit_code=0,
        ),
        now=NOW,
    )
    assert reported.isprintable()


# The first run imports all that the second needs: whom nobody knows may not be let into where it
# lies.
HOMELESS = """
import os
from breakglass.cli.main import run
arguments = ["--config", "/nonexistent", "check"]
assert run(arguments) == 2
os.setuid(54321)
os.chdir("/")
raise SystemExit(run(arguments))
"""


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can be somebody whom the system does not know"
)
def test_a_user_without_a_home_directory_is_no_bug() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HOMELESS],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, "/nonexistent" in ended.stderr) == (2, True), ended.stderr
