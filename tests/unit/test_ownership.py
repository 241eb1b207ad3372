"""Who may change what we write: facts of directories -> verdict, and how the facts are read."""

import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from breakglass.commands import ownership
from breakglass.commands.fitness import NONE, unfit
from breakglass.errors import AGAIN, Refused, then
from breakglass.observe.machine import Machine, read_machine
from breakglass.observe.path_parts import PathPart
from breakglass.plan import Argv, Host
from breakglass.ports import Result
from tests.facts import NODE, VM, machine

LOGIN, STRANGER = 1000, 1001
DIRECTORY, LINK = stat.S_IFDIR, stat.S_IFLNK | 0o777


def walked(*parts: PathPart, host: Host = NODE, login: int = LOGIN) -> Machine:
    root = PathPart("/", 0, 0, DIRECTORY | 0o755)
    return replace(machine(host), users=frozenset({0, login}), walks=((root, *parts),))


def part(path: str, mode: int, user: int = 0, group: int = 0) -> PathPart:
    return PathPart(path, user, group, mode if stat.S_IFMT(mode) else DIRECTORY | mode)


@pytest.mark.parametrize(
    ("parts", "exposed"),
    [
        ([part("/shelf", 0o755)], []),
        ([part("/shelf", 0o700, LOGIN, LOGIN)], []),
        ([part("/shelf", 0o777)], ["/shelf"]),
        ([part("/shelf", 0o757)], ["/shelf"]),
        ([part("/shelf", 0o775, 0, 50)], ["/shelf"]),
        ([part("/shelf", 0o775, 0, 0)], []),
        ([part("/home", 0o755), part("/home/shelf", 0o775, LOGIN, LOGIN)], []),
        ([part("/shelf", 0o755, STRANGER)], ["/shelf"]),
        ([part("/data", 0o777), part("/data/shelf", 0o700)], ["/data"]),
        ([part("/data", 0o755, STRANGER), part("/data/shelf", 0o700)], ["/data"]),
        ([part("/tmp", 0o1777), part("/tmp/shelf", 0o700)], []),
        ([part("/tmp", 0o1777), part("/tmp/shelf", 0o700, STRANGER)], ["/tmp/shelf"]),
        ([part("/tmp", 0o1777)], ["/tmp"]),
        ([part("/tmp", 0o1777, STRANGER), part("/tmp/shelf", 0o700)], ["/tmp"]),
        ([part("/shelf", LINK), part("/disk", 0o755)], []),
        ([part("/tmp", 0o1777), part("/tmp/shelf", LINK, STRANGER)], ["/tmp/shelf"]),
    ],
    ids=[
        "of root",
        "of the login",
        "writable for all",
        "writable for all but the group",
        "writable for a group",
        "writable for the group of root",
        "writable for the private group of the login",
        "of another user",
        "a parent that all may write",
        "a parent of another user",
        "a sticky parent",
        "a sticky parent, where another user made the directory",
        "itself sticky, or yet to be made in it",
        "a sticky parent of another user",
        "through a link of root",
        "through a link of another user",
    ],
)
def test_directories_that_others_may_change_are_found(
    parts: list[PathPart], exposed: list[str]
) -> None:
    assert [each.path for each in ownership.exposed(walked(*parts))] == exposed


def test_the_refusal_names_directory_owner_mode_and_the_command() -> None:
    with pytest.raises(Refused) as caught:
        ownership.check(walked(part("/data", 0o777), part("/data/x", 0o700, STRANGER)))
    assert "/data (mode 0777, of root) is writable for others" in caught.value.message
    assert "/data/x (mode 0700) belongs to user 1001, not to root" in caught.value.message
    assert caught.value.next_step.commands == (
        "ssh wizard@10.0.20.101 sudo chmod go-w /data",
        "ssh wizard@10.0.20.101 sudo chown -h root /data/x",
        AGAIN,
    )


def test_without_sudo_the_directory_is_to_belong_to_the_login() -> None:
    (found,) = ownership.exposed(walked(part("/x", 0o700, STRANGER), host=VM))
    assert found.remedy == then("ssh root@10.0.20.10 chown -h 1000 /x")


def test_a_node_with_a_directory_that_others_may_change_does_not_fit() -> None:
    (reason,) = unfit(replace(NONE, programs=()), machine=walked(part("/shelf", 0o777)))
    assert reason.words == "/shelf (mode 0777, of root) is writable for others"
    assert reason.remedy == then("ssh wizard@10.0.20.101 sudo chmod go-w /shelf")


class ThisMachine:
    """ports.Reads: runs what it is asked here."""

    def ask(self, _host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:
        ended = subprocess.run(pipeline[0], capture_output=True, timeout=quiet_seconds, check=False)
        return Result(ended.returncode, ended.stdout, ended.stderr)


def read(*directories: Path) -> Machine:
    return read_machine(ThisMachine(), NODE, tuple(map(str, directories)), ("sh",))


def parts_of(there: Machine, below: Path) -> list[str]:
    """The parts of the first directory, from `below` on."""
    return [each.path for each in there.walks[0] if each.path.startswith(str(below))]


def test_every_part_of_a_path_is_read_with_its_owner_and_mode(tmp_path: Path) -> None:
    shelf = tmp_path / "with a space" / "shelf"
    shelf.mkdir(parents=True)
    shelf.chmod(0o2770)
    there = read(shelf)
    assert os.getuid() in there.users
    assert [each.path for each in there.walks[0]] == [
        *(str(parent) for parent in reversed(shelf.parents)),
        str(shelf),
    ]
    facts, status = there.walks[0][-1], shelf.stat()
    assert (facts.user, facts.group, facts.mode) == (status.st_uid, status.st_gid, status.st_mode)
    assert there.commands == {"sh"}


def test_links_are_followed_and_every_directory_on_the_way_is_read(tmp_path: Path) -> None:
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "first").symlink_to(tmp_path / "other" / "second")
    (tmp_path / "other" / "second").symlink_to("../disk")
    there = read(tmp_path / "first" / "deep")
    wanted = ["first", "other", "other/second", "disk", "disk/deep"]
    found = dict.fromkeys(parts_of(there, tmp_path / ""))
    assert [each for each in found if each != str(tmp_path)] == [
        str(tmp_path / each) for each in wanted
    ]


def test_a_path_ends_where_its_first_missing_part_is(tmp_path: Path) -> None:
    there = read(tmp_path / "gone" / "shelf")
    assert parts_of(there, tmp_path) == [str(tmp_path)]
    assert len(read(tmp_path, tmp_path / "x").walks) == 2


def test_a_circle_of_links_comes_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert len(parts_of(read(tmp_path / "a" / "x"), tmp_path)) < 50
