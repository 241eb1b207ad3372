"""The faults of drill: each is reported with its cause; nothing of the drill stays on the node."""

import json
import signal

import pytest

from ...front.world import flip_a_bit
from ..roles import NAS_DIRECTORY
from ..runs import Ran
from ..untouched import everything
from .arrangements import TAG, held
from .injections import CANONICAL, before, halfway, running, stopped, until
from .rows import row
from .trial import Trial

NODE = "k8s-node1"
FILE = f"{NAS_DIRECTORY}/infra-ci-{TAG}.tar.gz"
SIDECAR = f"{NAS_DIRECTORY}/infra-ci-{TAG}.json"
IMPORTING = "ctr -n breakglass-drill images import"


def drilled(trial: Trial) -> Ran:
    """Run it; whatever is wrong, the environment is as it was before."""
    was = everything(trial.environment, NODE)
    ran = trial.run("drill", NODE)
    assert everything(trial.environment, NODE) == was
    assert "Nothing of the drill is left" in ran.error["state"]
    return ran


def sources(ran: Ran) -> dict[str, bool]:
    return {source["name"]: source["ok"] for source in ran.result["sources"]}


def works_again(trial: Trial) -> None:
    assert sources(trial.recovers(NODE)) == {"registry-vm": True, "synology": True}


@pytest.fixture
def practised(trial: Trial) -> Trial:
    """The tarball on the VM and the NAS; the node holds it and the image, as one that people work
    with.
    """
    held(trial.environment, NODE)
    trial.environment.mirror()
    trial.arranged()
    return trial


@row(
    "drill",
    "the copy on the NAS is corrupt",
    "reported with both hashes; the VM's is tried too; nothing is left on the node",
    exit_code=6,
)
def test_a_corrupt_copy_on_the_nas_is_found(practised: Trial) -> None:
    path = practised.environment.nas.path(FILE)
    flip_a_bit(path)
    ran = drilled(practised)
    assert sources(ran) == {"registry-vm": True, "synology": False}
    assert "sha256" in ran.error["message"]
    assert "synology" in ran.error["next"]
    flip_a_bit(path)
    works_again(practised)


@row(
    "drill",
    "a sidecar is missing on the NAS",
    "refused by that name, and that fetch would still take it; the VM's is tried too",
    exit_code=3,
)
@pytest.mark.thorough
def test_a_missing_sidecar_is_named(practised: Trial) -> None:
    path = practised.environment.nas.path(SIDECAR)
    text = path.read_text()
    path.unlink()
    ran = drilled(practised)
    assert sources(ran) == {"registry-vm": True, "synology": False}
    assert "no complete sidecar" in ran.error["message"]
    path.write_text(text)
    works_again(practised)


@row(
    "drill",
    "the newest tarball of the NAS is old: the mirroring job has stopped",
    "reported with its age; it is tried too",
    exit_code=3,
)
@pytest.mark.thorough
def test_an_old_tarball_is_reported_and_tried_all_the_same(practised: Trial) -> None:
    path = practised.environment.nas.path(SIDECAR)
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"created_at": "2026-01-01T00:00:00Z"}))
    ran = drilled(practised)
    assert "max_age_hours" in ran.error["message"]
    assert (
        sum(
            IMPORTING in step["line"] and step["status"] == "done" for step in ran.reported["steps"]
        )
        == 2
    )
    path.write_text(text)
    works_again(practised)


@row("drill", "the VM is down", "reported; the NAS's tarball is tried too", exit_code=5)
@pytest.mark.thorough
def test_with_the_vm_down_the_nas_is_tried(practised: Trial) -> None:
    with stopped((practised.environment.vm, "sshd")):
        ran = drilled(practised)
    assert sources(ran) == {"registry-vm": False, "synology": True}
    works_again(practised)


@row(
    "drill",
    "the node's disk is full at the start",
    "refused before anything is copied, so that kubelet deletes no image for it",
    exit_code=3,
)
def test_a_full_disk_is_refused_before_anything_is_copied(practised: Trial) -> None:
    with practised.environment.nodes[NODE].room("data", free_megabytes=2):
        ran = drilled(practised)
        assert ran.lines == []
        assert "no room on k8s-node" in ran.error["message"]
        assert "df -h" in ran.error["next"]
    works_again(practised)


@row(
    "drill",
    "the node's disk is full half-way through the import",
    "reported; what is left of it, if anything, is reported as well and removed by the next drill",
    exit_code=4,
)
@pytest.mark.thorough
def test_a_disk_that_becomes_full_half_way_is_reported_and_nothing_stays(practised: Trial) -> None:
    environment = practised.environment
    node = environment.nodes[NODE]
    was = everything(environment, NODE)
    with before(node, "ctr", "*breakglass-drill*import*") as waiting:
        child = practised.start("drill", NODE)
        until(waiting.reached, child=child, what="ctr images import")
        with node.room("data", free_megabytes=1):
            waiting.open()
            ran = practised.ended(child)
    assert "no space left" in ran.error["message"]
    assert ("Nothing of the drill is left" in ran.error["state"]) == (
        everything(environment, NODE) == was
    )
    works_again(practised)
    assert everything(environment, NODE) == was


@row(
    "drill",
    "breakglass itself killed mid-import",
    "the next drill first removes what is left: files, namespace, the lease of 24 hours",
    exit_code=-signal.SIGKILL,
)
@pytest.mark.parametrize(
    "name",
    [
        NODE,
        *(pytest.param(name, marks=pytest.mark.thorough) for name in ("k8s-node2", "k8s-node3")),
    ],
)
def test_what_a_killed_drill_has_left_is_removed_by_the_next(practised: Trial, name: str) -> None:
    environment = practised.environment
    node = environment.nodes[name]
    was = everything(environment, name)
    with halfway(node, "python3", '*" archive canonical "*') as unpacking:
        child = practised.start("drill", name)
        until(unpacking.reached, child=child, what=CANONICAL)
        until(lambda: bool(running(node, IMPORTING)), child=child, what="no ctr")
        child.kill()
        practised.killed(child)
    until(lambda: not running(node, IMPORTING), timeout=90, what="the import goes on")
    assert everything(environment, name) != was
    again = practised.recovers(name)
    assert sources(again) == {"registry-vm": True, "synology": True}
    assert again.reported["changed"] is False
    assert everything(environment, name) == was
