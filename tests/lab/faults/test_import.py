"""The faults of import while it runs: containerd, ctr, canonical, sudo and disks that fail in the
middle of it. A good image is there before, and resolves whatever happens.
"""

import contextlib
import signal

import pytest

from ..environment import Environment
from ..host import Host
from ..process import HostProcess
from .arrangements import held
from .handmade import lay_tarball, means, whole
from .injections import CANONICAL, Threshold, halfway, read_only, running, signal_all, until
from .invariants import NODE_DIRECTORY
from .rows import row
from .trial import Trial

NODE = "k8s-node1"
LARGE = 16_000
VERSIONS = pytest.mark.parametrize(
    "name",
    [
        "k8s-node1",
        *(
            pytest.param(name, marks=pytest.mark.thorough)
            for name in ("k8s-node2", "k8s-node3", "k8s-node10")
        ),
    ],
)
IMPORTING = "ctr -n k8s.io images import"


def over_a_good_image(trial: Trial, name: str = NODE) -> str:
    """The image ID of what every name means on the node; the tarball there is another one, large
    enough to be caught on its way.
    """
    good = held(trial.environment, name)
    lay_tarball(trial.environment.nodes[name], *whole(LARGE))
    trial.arranged()
    return good.image_id


def is_new(environment: Environment, name: str = NODE) -> bool:
    return means(environment, name, whole(LARGE)[1])


def unpacking(node: Host) -> contextlib.AbstractContextManager[Threshold]:
    """canonical stands still when ctr has got a megabyte of the archive."""
    return halfway(node, "python3", '*" archive canonical "*', first_bytes=1 << 20)


def importing(node: Host, half: Threshold, child: HostProcess) -> None:
    """ctr has begun: it waits for canonical, which stands still."""
    until(half.reached, child=child, what=CANONICAL)
    until(lambda: bool(running(node, IMPORTING)), child=child, what="no ctr")


@row(
    "import",
    "containerd killed mid-import, and back at once",
    "names as before; the rerun finishes",
    exit_code=4,
)
@VERSIONS
def test_when_containerd_is_killed_mid_import_the_names_are_as_before(
    trial: Trial, name: str
) -> None:
    node = trial.environment.nodes[name]
    good = over_a_good_image(trial, name)
    with unpacking(node) as half:
        child = trial.start("import", name)
        importing(node, half, child)
        node.kill("containerd")
        node.start("containerd")
    error = trial.ended(child).error
    assert "images import" in error["message"]
    assert "another image" in error["state"]
    assert means(trial.environment, name, good)
    trial.recovers(name, goal=lambda: is_new(trial.environment, name))


@row(
    "import",
    "containerd killed mid-import, and gone for good",
    (
        "said that the state is not known; once it is back the good image resolves and the rerun "
        "finishes"
    ),
    exit_code=4,
    within_seconds=400,
)
@pytest.mark.thorough
def test_when_containerd_is_gone_for_good_nothing_is_claimed(trial: Trial) -> None:
    node = trial.environment.nodes[NODE]
    good = over_a_good_image(trial)
    with unpacking(node) as half:
        child = trial.start("import", NODE)
        importing(node, half, child)
        node.kill("containerd")
    error = trial.ended(child).error
    assert "could not be read" in error["state"]
    assert "containerd" in error["message"] + error["state"]
    node.start("containerd")
    assert means(trial.environment, NODE, good)
    trial.recovers(NODE, goal=lambda: is_new(trial.environment))


@row(
    "import",
    "`ctr` or `archive canonical` killed mid-import",
    "names as before; the rerun finishes",
    exit_code=4,
)
@pytest.mark.parametrize("victim", [IMPORTING, CANONICAL])
def test_when_one_of_the_two_programs_is_killed_the_names_are_as_before(
    trial: Trial, victim: str
) -> None:
    node = trial.environment.nodes[NODE]
    good = over_a_good_image(trial)
    with unpacking(node) as half:
        child = trial.start("import", NODE)
        importing(node, half, child)
        assert signal_all(node, victim, signal.SIGKILL) == 1
    error = trial.ended(child).error
    assert "images import" in error["message"]
    assert error["next_commands"][-1] == f"breakglass --json import {NODE}"
    assert means(trial.environment, NODE, good)
    trial.recovers(NODE, goal=lambda: is_new(trial.environment))


@row(
    "import",
    "sudo taken away mid-import",
    "named; nothing is claimed that was not read; the rerun finishes",
    exit_code=4,
)
def test_when_sudo_is_taken_away_mid_import_that_is_said(trial: Trial) -> None:
    node = trial.environment.nodes[NODE]
    over_a_good_image(trial)
    with contextlib.ExitStack() as taken:
        with unpacking(node) as half:
            child = trial.start("import", NODE)
            importing(node, half, child)
            taken.enter_context(node.hidden("/etc/sudoers.d/wizard"))
        error = trial.ended(child).error
    assert "sudo -n was refused" in error["message"]
    assert "Nothing was changed" not in error["state"]
    assert "sudo" in error["next"]
    trial.recovers(NODE, goal=lambda: is_new(trial.environment))


@row("import", "two at once on one node", "one wins, the other names the holder", exit_code=(0, 7))
def test_of_two_imports_at_once_one_wins_and_the_other_names_the_holder(trial: Trial) -> None:
    node = trial.environment.nodes[NODE]
    over_a_good_image(trial)
    with unpacking(node) as half:
        first = trial.start("import", NODE)
        importing(node, half, first)
        second = trial.run("import", NODE)
    assert second.exit_code == 7
    assert "root@operator, run " in second.error["message"]
    assert trial.ended(first).exit_code == 0
    trial.recovers(NODE, goal=lambda: is_new(trial.environment))


@row(
    "import",
    "no room for the import on containerd's disk",
    "refused before anything is changed, with both numbers and what to do",
    exit_code=3,
)
@VERSIONS
def test_an_import_that_containerds_disk_has_no_room_for_is_refused(
    trial: Trial, name: str
) -> None:
    node = trial.environment.nodes[name]
    good = over_a_good_image(trial, name)
    with node.room("data", free_megabytes=4):
        error = trial.run("import", name).error
        assert "no room" in error["message"]
        assert "containerd's disk" in error["message"]
        assert "df" in error["next"]
    assert means(trial.environment, name, good)
    trial.recovers(name, goal=lambda: is_new(trial.environment, name))


@row(
    "import",
    "the node's directory is on a disk that is read-only",
    "refused, nothing changed",
    exit_code=3,
)
def test_a_read_only_disk_is_named_and_nothing_changed(trial: Trial) -> None:
    good = over_a_good_image(trial)
    with read_only(trial.environment.nodes[NODE], NODE_DIRECTORY):
        error = trial.run("import", NODE).error
    assert "Read-only file system" in error["message"]
    assert means(trial.environment, NODE, good)
    trial.recovers(NODE, goal=lambda: is_new(trial.environment))
