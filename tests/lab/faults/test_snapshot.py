"""The faults of snapshot: registries, docker, the run itself. Those of the disk are in
test_snapshot_disk.py, those of what lies there in test_snapshot_shelf.py.
"""

import contextlib
import signal
from pathlib import Path

import pytest

from .. import images
from ..environment import Environment
from ..images import Image
from ..process import HostProcess
from ..roles import VM_DIRECTORY
from ..runs import judge, shelf
from .arrangements import TAG, published
from .injections import Threshold, before, paused, stopped, until
from .invariants import ours
from .reported import reported
from .rows import row
from .trial import Trial

NEW = "2b3c4d5e"
SNAPSHOT = ("snapshot", "--tag", NEW, "--via", "docker")
FILE = f"infra-ci-{NEW}.tar.gz"


def large(environment: Environment) -> Image:
    """An image of which more than a pipe holds is still to come when its compressor waits."""
    return environment.publish(images.small_bundle(NEW, padding_megabytes=6), NEW, "latest")


def exported(environment: Environment) -> list[Path]:
    """The layers of the directory that docker streams, in the order in which it does; none until
    all of it has been written.
    """
    for directory in environment.vm.path("/var/lib/docker/tmp").glob("docker-export-*"):
        if (directory / "manifest.json").exists():
            return sorted(directory.glob("*/layer.tar"))
    return []


def await_stream(environment: Environment, compressor: Threshold, child: HostProcess) -> None:
    """docker has written the export and waits for the compressor to take it, and the script on its
    other side has asked what it needs to know.
    """
    partial = environment.vm.path(f"{VM_DIRECTORY}/.{FILE}.partial")
    until(
        lambda: compressor.reached() and bool(exported(environment)) and partial.exists(),
        child=child,
        what="docker save streams",
    )


def is_latest(environment: Environment) -> bool:
    return shelf(environment)["infra-ci-latest.tar.gz"] == f"-> {FILE}"


@row("snapshot", "registry down with a local copy present", "not published as fresh", exit_code=5)
@pytest.mark.parametrize(
    "already",
    [False, pytest.param(True, marks=pytest.mark.thorough)],
    ids=["not published yet", "published before"],
)
def test_with_the_registry_down_the_local_copy_is_not_published_as_fresh(
    trial: Trial, already: bool
) -> None:
    environment = trial.environment
    published(environment, *((TAG, NEW) if already else (TAG,)))
    image = environment.small(NEW, "rebuilt")
    reference = f"{environment.private.reference}:{NEW}"
    environment.vm.run("docker", "pull", "--quiet", reference)
    trial.arranged()
    with stopped((environment.vm, "registry")):
        ran = trial.run(*SNAPSHOT)
        reported(ran, "registry.viktorbarzin.me:5050", "refused")
        assert "local" in ran.error["state"]
    assert trial.recovers("registry-vm").result["image_id"] == image.image_id


@row(
    "snapshot",
    "registry accepts and never answers",
    "not published as fresh; deadlines kept",
    exit_code=5,
    within_seconds=45,
)
def test_a_registry_that_never_answers_ends_the_run_within_its_deadline(trial: Trial) -> None:
    published(trial.environment)
    trial.environment.small(NEW)
    trial.arranged()
    with paused(trial.environment.vm, "registry"):
        reported(trial.run(*SNAPSHOT), "registry.viktorbarzin.me:5050")
    trial.recovers("registry-vm")


@row(
    "snapshot",
    "tag points at an index whose child is gone",
    "the message says so and names the child; a missing tag has another message",
    exit_code=(6, 3),
)
def test_an_index_whose_child_is_gone_is_reported_from_a_missing_tag(trial: Trial) -> None:
    environment = trial.environment
    published(environment)
    image = environment.small(NEW, "new")
    environment.private.put_index(NEW, children={"amd64": image.digest})
    environment.private.delete_manifest(image.digest)
    trial.arranged()
    broken = trial.run(*SNAPSHOT)
    assert broken.exit_code == 6
    reported(broken, "image is broken", image.digest)
    environment.private.untag(NEW)
    missing = trial.run(*SNAPSHOT)
    assert missing.exit_code == 3
    reported(missing, "does not have", f"infra-ci:{NEW}")
    assert "broken" not in missing.error["message"]
    environment.small(NEW, "new")
    trial.recovers("registry-vm", goal=lambda: is_latest(environment))


@row("snapshot", "dockerd killed mid-save; SIGTERM mid-save", "nothing published", exit_code=(4, 6))
@pytest.mark.parametrize(
    ("sig", "compressor"), [(signal.SIGKILL, "gzip"), (signal.SIGTERM, "pigz")]
)
def test_dockerd_ended_while_it_saves_leaves_nothing_published(
    trial: Trial, sig: signal.Signals, compressor: str
) -> None:
    environment = trial.environment
    published(environment)
    image = large(environment)
    trial.arranged()
    with (
        environment.vm.hidden("/usr/bin/pigz")
        if compressor == "gzip"
        else contextlib.nullcontext(),
        before(environment.vm, compressor) as waiting,
    ):
        child = trial.start(*SNAPSHOT)
        await_stream(environment, waiting, child)
        environment.vm.signal("dockerd", sig)
        waiting.open()
        ran = trial.ended(child)
    environment.vm.path("/run/docker.pid").unlink(
        missing_ok=True
    )  # what systemd would have to do as well, if another process has its PID by then
    environment.vm.start("dockerd")
    reported(ran, "registry-vm")
    assert FILE not in shelf(environment)
    assert trial.recovers("registry-vm").result["image_id"] == image.image_id


@row(
    "snapshot",
    "a layer of the export vanishes or shrinks mid-save (docker exits 0)",
    "not published, exit 6",
    exit_code=6,
)
@pytest.mark.parametrize("how", ["vanishes", "shrinks"])
def test_a_layer_lost_from_the_export_is_noticed_though_docker_exits_0(
    trial: Trial, how: str
) -> None:
    environment = trial.environment
    published(environment)
    image = large(environment)
    trial.arranged()
    with before(environment.vm, "pigz") as waiting:
        child = trial.start(*SNAPSHOT)
        await_stream(environment, waiting, child)
        *others, last = exported(environment)
        assert sum(layer.stat().st_size for layer in others) > 2 << 20, (
            "docker may have come to the last layer already"
        )
        if how == "vanishes":
            last.unlink()
        else:
            with last.open("r+b") as stream:
                stream.truncate(last.stat().st_size // 2)
        waiting.open()
        ran = trial.ended(child)
    reported(ran, "layer", "of 3", last.parent.name)
    assert FILE not in shelf(environment)
    assert trial.recovers("registry-vm").result["image_id"] == image.image_id


@row(
    "snapshot",
    "breakglass killed mid-save",
    "the remote job ends; the next run succeeds",
    exit_code=(-9, 0),
)
def test_breakglass_killed_while_it_saves_ends_the_job_on_the_vm(trial: Trial) -> None:
    environment, vm = trial.environment, trial.environment.vm
    published(environment)
    image = large(environment)
    trial.arranged()
    with before(vm, "pigz") as waiting:
        child = trial.start(*SNAPSHOT)
        await_stream(environment, waiting, child)
        assert ours(vm) != ()
        child.send_signal(signal.SIGKILL)
        trial.killed(child)
        until(
            lambda: ours(vm) == (),
            timeout=15,
            what="the job on the VM ends, its compressor still standing still",
        )
    trial.holds()
    assert trial.recovers("registry-vm").result["image_id"] == image.image_id


@row(
    "snapshot", "two at once", "one wins, the other exits 7 and names the holder", exit_code=(0, 7)
)
def test_of_two_at_once_one_wins_and_the_other_names_the_holder(trial: Trial) -> None:
    environment = trial.environment
    published(environment)
    image = large(environment)
    trial.arranged()
    with before(environment.vm, "pigz") as waiting:
        both = [trial.start(*SNAPSHOT), trial.start(*SNAPSHOT)]
        until(waiting.reached, what="one of them saves")
        until(lambda: any(child.poll() is not None for child in both), what="the other one ends")
        late = trial.run(*SNAPSHOT)
        waiting.open()
        ended = sorted((trial.ended(child) for child in both), key=lambda ran: ran.exit_code)
    assert [ran.exit_code for ran in [*ended, late]] == [0, 7, 7]
    for busy in (ended[1], late):
        reported(busy, "busy", f"{VM_DIRECTORY}/.breakglass.lock", "root@operator", "run ")
    assert ended[0].result["image_id"] == image.image_id
    trial.holds("registry-vm")
    assert judge(environment.operator.breakglass("--json", *SNAPSHOT), expect=0).lines == []
