"""The remote side of snapshot, killed at every rename, fsync, symlink and unlink, and at its end;
the power cut at the same moment.

A full sweep takes some minutes: without BREAKGLASS_ALL_KILLS=1 only some of the points are taken,
of each kind of call at least one.
"""

import os
from dataclasses import dataclass

import pytest

from ..environment import Environment
from ..host import Host
from ..images import Image
from ..reset import empty
from ..roles import VM_DIRECTORY
from ..runs import run
from .arrangements import Files, keep, keeping, lay, published
from .injections import until
from .invariants import ours, read_shelf
from .power import power_disk, violated
from .reported import reported
from .rows import row
from .system_calls import Call, traced
from .trial import Trial

PROGRAMS = ("python3", "ln", "mv", "sync", "rm")
NEW = "2b3c4d5e"


@dataclass(frozen=True)
class Situation:
    """What is there before (tags, the first the oldest), how many kill points there are at least,
    and which of them are always taken.
    """

    tags: tuple[str, ...]
    at_least: int
    every: int
    kinds: frozenset[str] = frozenset()


SITUATIONS = {
    "first": Situation((), 25, 9),
    "replacement": Situation((NEW,), 25, 8),
    "rotation": Situation(
        ("1a2b3c4d",), 30, 13, frozenset({"symlinkat", "renameat2", "rename", "unlinkat"})
    ),
}


@row(
    "snapshot",
    "the remote side killed at any rename, fsync, symlink or unlink; the power cut then",
    "nothing lost; the next run finishes",
    exit_code=4,
    within_seconds=30,
)
@pytest.mark.parametrize(
    "situation",
    [
        pytest.param(
            situation, id=name, marks=pytest.mark.thorough if name == "replacement" else ()
        )
        for name, situation in SITUATIONS.items()
    ],
)
def test_killed_at_any_step_nothing_is_lost_and_the_next_run_finishes(
    trial: Trial, situation: Situation
) -> None:
    environment, vm = trial.environment, trial.environment.vm
    if situation.tags:
        published(environment, *situation.tags)
    keeping(environment, 1)
    files = keep(vm, VM_DIRECTORY)
    image = environment.small(NEW, "a later one")
    with power_disk(vm, VM_DIRECTORY) as disk, traced(vm, VM_DIRECTORY, *PROGRAMS) as calls:
        start_over(vm, files)
        trial.arranged()
        before = read_shelf(vm.path(VM_DIRECTORY))
        calls.forget()
        run(environment, "snapshot", "--tag", NEW)
        every = calls.calls()
        assert len(every) >= situation.at_least, f"only {len(every)} kill points: {every}"
        points = every if os.environ.get("BREAKGLASS_ALL_KILLS") else some(every, situation)
        print(f"\n{len(points)} of {len(every)} kill points")
        for call in points:
            start_over(vm, files)
            calls.inject(call, "signal=KILL")
            reported(trial.run("snapshot", "--tag", NEW), "registry-vm")
            cut = disk.cut()
            assert calls.happened(call), f"not killed at {call}"
            calls.forget()
            assert violated("registry-vm", before, read_shelf(vm.path(VM_DIRECTORY))) == [], (
                f"the kill at {call}"
            )
            assert violated("registry-vm", before, cut.shelf()) == [], (
                f"the power cut after the kill at {call}"
            )
            cut.discard()
            finishes(environment, image, call)
        trial.holds("registry-vm")
        assert run(environment, "snapshot", "--tag", NEW).lines == []


def start_over(vm: Host, files: Files) -> None:
    """The directory as it was, all of it on the disk."""
    empty(vm.path(VM_DIRECTORY))
    lay(vm, VM_DIRECTORY, files)
    vm.run("sync", "--file-system", VM_DIRECTORY)


def some(points: list[Call], situation: Situation) -> list[Call]:
    """Every so many, and the last of each kind that this situation is there for."""
    last = {point.name: point for point in points if point.name in situation.kinds}
    assert set(last) == situation.kinds
    return [
        point
        for index, point in enumerate(points)
        if point in last.values() or index % situation.every == situation.every // 2
    ]


def finishes(environment: Environment, image: Image, call: Call) -> None:
    """The next run reaches the goal and leaves nothing behind on the VM."""
    again = run(environment, "snapshot", "--tag", NEW)
    shelf = read_shelf(environment.vm.path(VM_DIRECTORY))
    file = f"infra-ci-{NEW}.tar.gz"
    assert again.result["image_id"] == image.image_id, f"after the kill at {call}"
    assert (shelf.latest, set(shelf.files), shelf.proven) == (file, {file}, frozenset({file})), (
        f"after the kill at {call}"
    )
    left = [
        path.name
        for path in environment.vm.path(VM_DIRECTORY).iterdir()
        if path.name
        not in (file, f"{file}.sha256", f"infra-ci-{NEW}.json", "infra-ci-latest.tar.gz")
    ]
    assert left == [], f"after the kill at {call}"
    until(
        lambda: ours(environment.vm) == (),
        timeout=10,
        what=f"nothing of ours runs on, after the kill at {call}",
    )
