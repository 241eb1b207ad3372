"""The power of the registry VM goes when snapshot has said that it is done: at once, and eight
seconds later. What it is like in the middle is in test_snapshot_kills.py.
"""

import contextlib
import time

from ..environment import Environment
from ..images import Image
from ..reset import empty
from ..roles import VM_DIRECTORY
from ..runs import run
from .arrangements import TAG, Files, keep, keeping, lay, published
from .invariants import Shelf, read_shelf
from .power import PowerDisk, power_disk, violated
from .rows import row
from .trial import Trial

NEW = "2b3c4d5e"
SNAPSHOT = ("snapshot", "--tag", NEW)
FILE = f"infra-ci-{NEW}.tar.gz"
SITUATIONS: dict[str, tuple[str, ...]] = {
    "the first": (),
    "the same tag once more": (NEW,),
    "the old one goes": (TAG,),
}
SECONDS = 8.0


@row(
    "snapshot",
    "the power goes at once when it has ended, or eight seconds after",
    "what was promised is on the disk",
    exit_code=0,
)
def test_what_snapshot_has_promised_survives_a_power_cut(trial: Trial) -> None:
    """Each situation has a disk of its own, one over the other, so that the eight seconds are
    waited for once.
    """
    environment, vm = trial.environment, trial.environment.vm
    lying = {situation: files_of(environment, tags) for situation, tags in SITUATIONS.items()}
    keeping(environment, 1)
    ended: dict[str, tuple[PowerDisk, Shelf, Image, float]] = {}
    with contextlib.ExitStack() as disks:
        for situation, files in lying.items():
            disk = disks.enter_context(power_disk(vm, VM_DIRECTORY))
            lay(vm, VM_DIRECTORY, files)
            vm.run("sync", "--file-system", VM_DIRECTORY)
            image = environment.small(NEW, situation)
            trial.arranged()
            before = read_shelf(vm.path(VM_DIRECTORY))
            assert trial.run(*SNAPSHOT).result["image_id"] == image.image_id
            survived(situation, before, disk.cut(), image)
            ended[situation] = (disk, before, image, time.monotonic())
        assert len(ended) == 3
        for situation, (disk, before, image, at) in ended.items():
            time.sleep(max(0.0, at + SECONDS - time.monotonic()))
            cut = disk.cut()
            survived(f"{situation}, {SECONDS:.0f} seconds after", before, cut, image)
        trial.holds("registry-vm")
        with cut.mounted(VM_DIRECTORY):
            again = run(environment, *SNAPSHOT)
            assert not any("docker" in line for line in again.lines), (
                "after the power cut it has to be saved again"
            )
            assert read_shelf(vm.path(VM_DIRECTORY)).hidden == frozenset()
    empty(vm.path(VM_DIRECTORY))


def files_of(environment: Environment, tags: tuple[str, ...]) -> Files:
    """What lies in the directory when these have been published."""
    empty(environment.vm.path(VM_DIRECTORY))
    if tags:
        published(environment, *tags)
    return keep(environment.vm, VM_DIRECTORY)


def survived(situation: str, before: Shelf, cut: PowerDisk, image: Image) -> None:
    """I1 and I2 on what is left on the disk; and more: what exit 0 promised is there. What was
    removed, an old tarball with its proof or a hidden file, may have come back: the next run
    removes it.
    """
    now = cut.shelf()
    assert violated("registry-vm", before, now) == [], situation
    assert now.latest == FILE, situation
    assert {FILE} <= now.proven == set(now.files), situation
    assert image.image_id in now.image_ids, situation
