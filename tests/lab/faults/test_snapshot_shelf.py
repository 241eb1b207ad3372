"""The faults of what lies in snapshot's directory: names that are not ours, tarballs gone bad, a
clock that lies.
"""

import os
import stat
from pathlib import Path

import pytest

from ..environment import Environment
from ..roles import VM_DIRECTORY
from ..runs import run, shelf
from .arrangements import keeping, published, stocked
from .injections import in_front_of
from .invariants import read_shelf
from .reported import reported
from .rows import row
from .trial import Trial

NEW = "2b3c4d5e"
SNAPSHOT = ("snapshot", "--tag", NEW)
FILE = f"infra-ci-{NEW}.tar.gz"
FIVE = tuple(f"0000000{number}" for number in range(1, 6))
SIX = (*FIVE, "00000006")
FILES = (
    "infra-ci-.tar.gz",
    "infra-ci-with space.tar.gz",
    "infra-ci-new\nline.tar.gz",
    "infra-ci--rf.tar.gz",
    "infra-ci-$(touch x).tar.gz",
    "infra-ci-;touch y.tar.gz",
    "infra-ci-\x1b[31m.tar.gz",
    "infra-ci-\udcff.tar.gz",
    "infra-ci-unverified.tar.gz",
    "infra-ci-latest.tar.gz.bak",
    "infra-ci.tar.gz",
    "infra-cix-00000001.tar.gz",
    "-rf",
    "--help.tar.gz",
    "-infra-ci-00000001.tar.gz",
    "*",
    ".infra-ci-00000001.tar.gz.swp",
    "README",
)
"""Names of files that are none of ours: not of our form, or without the sidecars that make a
tarball ours.
"""


def lay_foreign(directory: Path) -> None:
    for name in FILES:
        (directory / name).write_bytes(b"somebody else's " + os.fsencode(name))
    (directory / "infra-ci-adirectory.tar.gz/below").mkdir(parents=True)
    (directory / "infra-ci-alink.tar.gz").symlink_to("infra-ci-unverified.tar.gz")
    (directory / "infra-ci-outside.tar.gz").symlink_to("/etc/passwd")
    (directory / "infra-ci-dangling.tar.gz").symlink_to("nowhere")
    (directory / ".infra-ci-link.tar.gz.partial").symlink_to("/etc/passwd")
    os.mkfifo(directory / "infra-ci-apipe.tar.gz")
    (directory / "infra-ci-linked-record.json").symlink_to("/etc/passwd")
    (directory / "infra-ci-unverified.tar.gz.sha256").mkdir()


def foreign(directory: Path) -> dict[str, str]:
    """What each foreign thing is."""
    ours = {
        *(
            f"infra-ci-{tag}{suffix}"
            for tag in (*SIX, NEW)
            for suffix in (".tar.gz", ".tar.gz.sha256", ".json")
        ),
        "infra-ci-latest.tar.gz",
        ".breakglass.lock",
    }
    found = {}
    for path in directory.iterdir():
        if path.name in ours:
            continue
        mode = path.lstat().st_mode
        content = (
            str(path.readlink())
            if stat.S_ISLNK(mode)
            else str(path.read_bytes())
            if stat.S_ISREG(mode)
            else str(sorted(path.iterdir()))
            if stat.S_ISDIR(mode)
            else ""
        )
        found[path.name] = f"{stat.filemode(mode)} {path.lstat().st_mtime_ns} {content}"
    return found


@row(
    "snapshot",
    (
        "foreign files, directories and links named like tarballs, names with spaces, newlines, "
        "leading dashes"
    ),
    "left alone",
    exit_code=0,
)
def test_what_is_not_ours_is_left_alone_while_the_oldest_of_ours_goes(trial: Trial) -> None:
    environment, directory = trial.environment, trial.environment.vm.path(VM_DIRECTORY)
    stocked(environment, *FIVE)
    lay_foreign(directory)
    strange = foreign(directory)
    assert len(strange) > 20
    image = environment.small(NEW, "new")
    trial.arranged()
    ran = trial.run(*SNAPSHOT)
    assert ran.result["removed"] == ["00000001"]
    assert ran.result["image_id"] == image.image_id
    assert foreign(directory) == strange
    trial.holds()
    assert run(environment, *SNAPSHOT).lines == []
    assert foreign(directory) == strange


IN_THE_WAY = (
    (FILE, "directory"),
    (FILE, "link"),
    (f"{FILE}.sha256", "directory"),
    (f"infra-ci-{NEW}.json", "link"),
    (f".{FILE}.partial", "link"),
    ("infra-ci-latest.tar.gz", "directory"),
)


@row(
    "snapshot",
    "a directory or a link under a name that is to be written",
    "named; left alone",
    exit_code=(3, 4),
)
@pytest.mark.parametrize(
    "things",
    [
        IN_THE_WAY,
        pytest.param(
            ((".infra-ci-latest.tar.gz.partial", "directory"),), marks=pytest.mark.thorough
        ),
    ],
    ids=["any name", "the name that latest has before its rename"],
)
def test_what_stands_in_the_way_is_named_and_left_alone(
    trial: Trial, things: tuple[tuple[str, str], ...]
) -> None:
    environment, vm = trial.environment, trial.environment.vm
    stocked(environment, *FIVE)
    image = environment.small(NEW, "new")
    hostname = vm.read("/etc/hostname")
    for name, kind in things:
        path = vm.path(VM_DIRECTORY) / name
        path.unlink(missing_ok=True)
        if kind == "directory":
            path.mkdir()
            (path / "mine").write_text("somebody else's")
        else:
            path.symlink_to("/etc/hostname")
        trial.arranged()
        reported(trial.run(*SNAPSHOT), name)
        trial.holds()
        assert (
            [one.name for one in path.iterdir()] == ["mine"]
            if kind == "directory"
            else path.is_symlink()
        )
        assert vm.read("/etc/hostname") == hostname
        vm.run("rm", "-r", f"{VM_DIRECTORY}/{name}")
    assert run(environment, *SNAPSHOT).result["image_id"] == image.image_id
    trial.holds("registry-vm")


@row("snapshot", "the newest five all corrupt, the sixth good", "the sixth stays", exit_code=0)
@pytest.mark.parametrize("kept", [5, pytest.param(1, marks=pytest.mark.thorough)])
def test_with_the_newest_five_corrupt_the_sixth_stays(trial: Trial, kept: int) -> None:
    """With five to be kept the new one and the sixth are two. With one to be kept that is the new
    one, and of all others only the good one is known well enough to go.
    """
    environment = trial.environment
    stocked(environment, *SIX)
    keeping(environment, kept)
    for tag in SIX[1:]:
        flip(environment, f"infra-ci-{tag}.tar.gz")
    corrupt = {
        file: sha256
        for file, sha256 in shelf(environment).items()
        if any(tag in file for tag in SIX[1:])
    }
    image = environment.small(NEW, "new")
    trial.arranged()
    ran = trial.run(*SNAPSHOT)
    assert ran.result["image_id"] == image.image_id
    assert all(f"infra-ci-{tag}.tar.gz" in ran.stderr for tag in SIX[1:]), (
        "the corrupt ones are not named"
    )
    now = shelf(environment)
    assert corrupt.items() <= now.items()
    assert ran.result["removed"] == ([] if kept == 5 else [SIX[0]])
    assert (f"infra-ci-{SIX[0]}.tar.gz" in now) == (kept == 5)
    assert run(environment, *SNAPSHOT).lines == []
    trial.holds("registry-vm")


@row(
    "snapshot",
    "the newest five all corrupt, the sixth good, and the save fails",
    "the sixth stays",
    exit_code=(4, 6),
)
def test_with_the_newest_five_corrupt_and_a_save_that_fails_the_sixth_stays(trial: Trial) -> None:
    environment = trial.environment
    stocked(environment, *SIX)
    keeping(environment, 1)
    for tag in SIX[1:]:
        flip(environment, f"infra-ci-{tag}.tar.gz")
    environment.small(NEW, "new")
    trial.arranged()
    with in_front_of(environment.vm, "pigz", "exec head -c 1000000"):
        reported(trial.run(*SNAPSHOT, "--via", "docker"), "registry-vm")
    assert f"infra-ci-{SIX[0]}.tar.gz" in read_shelf(environment.vm.path(VM_DIRECTORY)).proven
    trial.recovers("registry-vm")


def flip(environment: Environment, file: str) -> None:
    """One bit of the content, not of the size."""
    with environment.vm.path(f"{VM_DIRECTORY}/{file}").open("r+b") as stream:
        stream.seek(100_000)
        (byte,) = stream.read(1)
        stream.seek(100_000)
        stream.write(bytes([byte ^ 1]))


# The wall clock belongs to the machine: a namespace cannot have another. breakglass reads it on the
# VM in one place, the Python of the script archive, so that Python gets another time; the times of
# files and sidecars are set to what they would be.
CLOCK = """case "$*" in *" breakglass-remote.pyz archive "*) ;; *) exec "$real" "$@" ;; esac
flags=$1; loader=$3; shift 3
exec "$real" $flags -c "import time
gmtime, time.time = time.gmtime, lambda: NOW
time.gmtime = lambda seconds=None: gmtime(NOW if seconds is None else seconds)
$loader" "$@" """


@row(
    "snapshot",
    "clock a year back",
    "no good tarball lost: the sequence decides, not the clock",
    exit_code=0,
)
def test_with_the_clock_a_year_back_the_newest_is_still_the_newest(trial: Trial) -> None:
    environment = trial.environment
    stocked(environment, *FIVE, created_at="2036-01-01T00:00:00Z")
    for path in environment.vm.path(VM_DIRECTORY).glob("infra-ci-0*"):
        os.utime(path, (2082758400, 2082758400))
    image = environment.small(NEW, "new")
    trial.arranged()
    with in_front_of(environment.vm, "python3", CLOCK.replace("NOW", "1745107200")):
        ran = trial.run(*SNAPSHOT)
        assert '"created_at":"2025-04-20T00:00:00Z"' in environment.vm.read(
            f"{VM_DIRECTORY}/infra-ci-{NEW}.json"
        )
        assert (ran.result["image_id"], ran.result["removed"]) == (image.image_id, ["00000001"])
        now = shelf(environment)
        assert now["infra-ci-latest.tar.gz"] == f"-> {FILE}"
        assert {f"infra-ci-{tag}.tar.gz" for tag in FIVE[1:]} <= set(now)
    assert run(environment, *SNAPSHOT).lines == [], (
        "the clock is right again, and something else is wanted"
    )
    trial.holds("registry-vm")


@row(
    "snapshot",
    "two runs in a second",
    "no good tarball lost: the sequence decides, not the clock",
    exit_code=0,
)
def test_two_runs_in_one_second_leave_both_and_the_later_is_latest(trial: Trial) -> None:
    environment = trial.environment
    published(environment)
    keeping(environment, 2)
    trial.arranged()
    with in_front_of(environment.vm, "python3", CLOCK.replace("NOW", "1745107200")):
        for tag in ("zzzzzzzz", "aaaaaaaa"):
            environment.small(tag, tag)
            trial.run("snapshot", "--tag", tag)
    records = [
        environment.vm.read(f"{VM_DIRECTORY}/infra-ci-{tag}.json")
        for tag in ("zzzzzzzz", "aaaaaaaa")
    ]
    assert all('"created_at":"2025-04-20T00:00:00Z"' in record for record in records)
    found = read_shelf(environment.vm.path(VM_DIRECTORY))
    # The one that was there has a later time, so it is not clear that it is the oldest: it stays.
    assert {"infra-ci-zzzzzzzz.tar.gz", "infra-ci-aaaaaaaa.tar.gz"} < found.proven
    assert found.latest == "infra-ci-aaaaaaaa.tar.gz"
    trial.recovers("registry-vm")
