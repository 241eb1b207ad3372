"""The faults of snapshot's disks: full, read-only, failing at one call."""

import os

import pytest

from .. import images
from ..reset import empty
from ..roles import VM_DIRECTORY
from ..runs import run, shelf
from .arrangements import TAG, keep, keeping, lay, published, stocked
from .injections import before, disk_of_its_own, read_only, until
from .reported import reported
from .rows import row
from .system_calls import Call, traced
from .trial import Trial

NEW = "2b3c4d5e"
SNAPSHOT = ("snapshot", "--tag", NEW, "--via", "docker")
FILE = f"infra-ci-{NEW}.tar.gz"
FIVE = tuple(f"0000000{number}" for number in range(1, 6))


def kilobytes(files: dict[str, tuple[int, bytes | str]]) -> int:
    """What these files take on a disk."""
    return sum(len(content) // 1024 + 8 for _, content in files.values())


@row(
    "snapshot",
    "directory full at half",
    "the partial is removed, the five stay; says what is missing",
    exit_code=4,
)
def test_a_directory_that_is_full_at_half_keeps_the_five(trial: Trial) -> None:
    environment, vm = trial.environment, trial.environment.vm
    stocked(environment, *FIVE)
    files = keep(vm, VM_DIRECTORY)
    image = environment.publish(images.small_bundle(NEW, padding_megabytes=16), NEW, "latest")
    with disk_of_its_own(vm, VM_DIRECTORY, kilobytes=kilobytes(files) + 8 * 1024) as resize:
        lay(vm, VM_DIRECTORY, files)
        trial.arranged()
        ran = trial.run(*SNAPSHOT)
        reported(ran, "no room left", VM_DIRECTORY, FILE, "bytes")
        assert "5 verified" in ran.error["state"]
        assert "df" in ran.error["next"]
        assert set(keep(vm, VM_DIRECTORY)) == set(files), "something was left, or is gone"
        resize(64 * 1024)
        assert trial.recovers("registry-vm").result["image_id"] == image.image_id


@row(
    "snapshot",
    "directory too full to begin with",
    "refused; the five stay; says what is missing",
    exit_code=3,
)
def test_a_directory_without_room_is_refused_before_anything_is_done(trial: Trial) -> None:
    environment, vm = trial.environment, trial.environment.vm
    stocked(environment, *FIVE)
    files = keep(vm, VM_DIRECTORY)
    environment.small(NEW, "new")
    with disk_of_its_own(vm, VM_DIRECTORY, kilobytes=kilobytes(files) + 1024) as resize:
        lay(vm, VM_DIRECTORY, files)
        trial.arranged()
        ran = trial.run(*SNAPSHOT)
        reported(ran, "no room", VM_DIRECTORY, "MB free")
        assert "df" in ran.error["next"]
        resize(64 * 1024)
        trial.recovers("registry-vm")


@row(
    "snapshot",
    "data-root full",
    "refused, or nothing published; the five stay; says what is missing",
    exit_code=(3, 4),
)
@pytest.mark.parametrize(
    "when",
    [
        "at the save",
        *(
            pytest.param(when, marks=pytest.mark.thorough)
            for when in ("at the pull", "at the planning")
        ),
    ],
)
def test_a_full_data_root_is_named_and_nothing_is_published(trial: Trial, when: str) -> None:
    environment, vm = trial.environment, trial.environment.vm
    stocked(environment, *FIVE)
    image = environment.publish(images.small_bundle(NEW, padding_megabytes=6), NEW, "latest")
    if when != "at the pull":
        vm.run("docker", "pull", "--quiet", f"{environment.private.reference}:{NEW}")
    trial.arranged()
    if when == "at the save":
        with before(vm, "docker", "save*") as waiting:
            child = trial.start(*SNAPSHOT)
            until(waiting.reached, child=child, what="docker save")
            with vm.room("data", free_megabytes=2):
                waiting.open()
                ran = trial.ended(child)
        assert ran.exit_code == 4
    else:
        with vm.room("data", free_megabytes=2):
            ran = trial.run(*SNAPSHOT)
        assert ran.exit_code == 3
    reported(
        ran,
        "no space left" if when != "at the planning" else "no room for docker in /var/lib/docker",
    )
    assert "make room" in ran.error["next"]
    assert FILE not in shelf(environment)
    assert trial.recovers("registry-vm").result["image_id"] == image.image_id


@row("snapshot", "directory read-only", "refused; nothing changed", exit_code=3)
def test_a_read_only_directory_is_refused(trial: Trial) -> None:
    published(trial.environment)
    trial.environment.small(NEW, "new")
    trial.arranged()
    with read_only(trial.environment.vm, VM_DIRECTORY):
        reported(trial.run(*SNAPSHOT), VM_DIRECTORY, "read-only")
    trial.recovers("registry-vm")


@row(
    "snapshot",
    "directory becomes read-only mid-save",
    "nothing published; the message says so",
    exit_code=4,
)
def test_a_directory_that_becomes_read_only_while_it_is_written_to_keeps_what_it_has(
    trial: Trial,
) -> None:
    environment, vm = trial.environment, trial.environment.vm
    published(environment)
    environment.small(NEW, "new")
    trial.arranged()
    with before(vm, "python3", "*publish*") as waiting:
        child = trial.start(*SNAPSHOT)
        until(waiting.reached, child=child, what="publish")
        with read_only(vm, VM_DIRECTORY):
            waiting.open()
            ran = trial.ended(child)
    reported(ran, VM_DIRECTORY, "read-only")
    trial.recovers("registry-vm")


ERRORS = {
    "fsync": "EIO",
    "rename": "ENOSPC",
    "symlinkat": "ENOSPC",
    "renameat2": "EIO",
    "unlink": "EIO",
    "unlinkat": "EROFS",
}


@row(
    "snapshot",
    "the disk fails at one fsync, rename, symlink or unlink",
    "nothing lost; says what failed; the next run finishes",
    exit_code=(4, 0),
    within_seconds=30,
)
def test_a_disk_that_fails_at_one_call_costs_nothing(trial: Trial) -> None:
    """Each kind of call once, or with BREAKGLASS_ALL_KILLS=1 every call. What fails when all is
    done already may end with 0, if that is so.
    """
    environment, vm = trial.environment, trial.environment.vm
    published(environment, "1a2b3c4d")
    keeping(environment, 1)
    files = keep(vm, VM_DIRECTORY)
    image = environment.small(NEW, "a later one")
    with traced(vm, VM_DIRECTORY, "python3", "ln", "mv", "sync", "rm") as calls:
        run(environment, *SNAPSHOT)
        every = [
            call
            for call in calls.calls()
            if call.name in ERRORS and "partial.sha256" not in call.shown
        ]
        assert {call.name for call in every} == set(ERRORS), every
        points = every if os.environ.get("BREAKGLASS_ALL_KILLS") else some(every)
        print(f"\n{len(points)} of {len(every)} calls fail")
        for call in points:
            empty(vm.path(VM_DIRECTORY))
            lay(vm, VM_DIRECTORY, files)
            trial.arranged()
            calls.inject(call, f"error={ERRORS[call.name]}")
            ran = trial.run(*SNAPSHOT)
            assert calls.happened(call), f"no error at {call}"
            calls.forget()
            if ran.exit_code:
                reported(ran, "registry-vm")
            trial.holds()
            assert run(environment, *SNAPSHOT).result["image_id"] == image.image_id, (
                f"after an error at {call}"
            )
            trial.holds("registry-vm")
            assert shelf(environment)["infra-ci-latest.tar.gz"] == f"-> {FILE}"


def some(calls: list[Call]) -> list[Call]:
    """The last of each kind: what was done before it has to be made good. And the first fsync: that
    of the tarball itself.
    """
    last = {call.name: call for call in calls}
    return [next(call for call in calls if call.name == "fsync"), *last.values()]


@row(
    "snapshot",
    "directory full at the last small files",
    "nothing lost; says what is missing; the next run finishes",
    exit_code=4,
)
def test_a_disk_that_is_full_when_the_sidecars_are_due_keeps_what_it_has(trial: Trial) -> None:
    environment, vm = trial.environment, trial.environment.vm
    published(environment, TAG)
    files = keep(vm, VM_DIRECTORY)
    image = environment.small(NEW, "new")
    with disk_of_its_own(vm, VM_DIRECTORY, kilobytes=64 * 1024) as resize:
        lay(vm, VM_DIRECTORY, files)
        trial.arranged()
        with before(vm, "python3", "*publish*") as waiting:
            child = trial.start(*SNAPSHOT)
            until(waiting.reached, child=child, what="publish")
            resize(
                int(
                    vm.run(
                        "sh", "-c", f"df -Pk {VM_DIRECTORY} | awk 'NR == 2 {{ print $3 }}'"
                    ).stdout
                )
            )
            waiting.open()
            ran = trial.ended(child)
        reported(ran, "no space left")
        assert "df" in ran.error["next"]
        trial.holds()
        resize(64 * 1024)
        assert trial.recovers("registry-vm").result["image_id"] == image.image_id
