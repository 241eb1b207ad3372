"""snapshot, fetch, import and restore killed with SIGKILL after every single step of their plans;
pin is in test_pin.py, the inside of one step of snapshot in test_snapshot_kills.py.
"""

import os
from itertools import cycle

import pytest

from .. import reset
from ..answering import differences, is_taken_back, traces
from ..estate import Estate
from ..roles import VM_DIRECTORY
from ..runs import cut_short, image_ids, run, verified
from .arrangements import NAMES, fetched, keep, lay, published
from .invariants import NODE_DIRECTORY
from .rows import row
from .trial import Trial

NODE = "k8s-node1"
KILLED = -9
EVERY = 1 if os.environ.get("BREAKGLASS_ALL_KILLS") else 4
"""Each run takes its time: here every fourth step, the sandbox's sweep takes every one, `make
thorough` does it here too.
"""


def steps(estate: Estate, *argv: str) -> int:
    """How many steps the plan of a command has now."""
    number = len(run(estate, *argv, "--dry-run").lines)
    assert number > 3, argv
    return number


@row(
    "snapshot",
    "killed after any step of its plan",
    "nothing lost, nothing unproven; the next run finishes",
    exit_code=KILLED,
)
def test_a_snapshot_killed_after_any_step_is_finished_by_the_next(trial: Trial) -> None:
    estate = trial.estate
    settings = estate.operator.read("/root/breakglass.yaml")
    estate.operator.write("/root/breakglass.yaml", settings.replace("keep: 5", "keep: 2"))
    published(estate, "older", "newer")
    estate.small("newest", "newest")
    trial.arranged()
    before = keep(estate.vm, VM_DIRECTORY)
    command = ("snapshot", "--tag", "newest")
    for step in range(1, steps(estate, *command) + 1, EVERY):
        reset.empty(estate.vm.path(VM_DIRECTORY))
        lay(estate.vm, VM_DIRECTORY, before)
        cut_short(estate, *command, after=step)
        trial.holds()
        run(estate, *command)
        trial.holds("registry-vm")
        assert verified(estate) == ["newer", "newest"], f"killed after step {step}"


@row(
    "fetch",
    "killed after any step of its plan",
    "nothing lost, nothing unproven; the next run finishes",
    exit_code=KILLED,
)
def test_a_fetch_killed_after_any_step_is_finished_by_the_next(trial: Trial) -> None:
    estate = trial.estate
    published(estate, "older")
    run(estate, "fetch", NODE)
    published(estate, "older", "newer")
    trial.arranged()
    node, command = estate.nodes[NODE], ("fetch", NODE)
    before = keep(node, NODE_DIRECTORY)
    for step in range(1, steps(estate, *command) + 1, EVERY):
        reset.empty(node.path(NODE_DIRECTORY))
        lay(node, NODE_DIRECTORY, before)
        cut_short(estate, *command, after=step)
        trial.holds()
        run(estate, *command)
        trial.holds(NODE)
        assert (
            node.path(f"{NODE_DIRECTORY}/infra-ci-latest.tar.gz").readlink().name
            == "infra-ci-newer.tar.gz"
        ), f"killed after step {step}"


@row(
    "import, restore",
    "killed after any step of its plan",
    (
        "each name is the recorded image or what it was; the next run finishes; `restore` undoes "
        "everything"
    ),
    exit_code=KILLED,
)
def test_an_import_and_a_restore_killed_after_any_step_are_finished_by_the_next(
    trial: Trial,
) -> None:
    estate, node = trial.estate, trial.estate.nodes[NODE]
    image = fetched(estate, NODE)
    tarball = keep(node, NODE_DIRECTORY)
    trial.arranged()
    before = traces(node)
    bring, give_back = ("import", NODE), ("restore", NODE, "--yes")
    run(estate, *bring)
    to_give_back = steps(estate, *give_back)
    run(estate, *give_back)
    reset.reset_node(node)
    lay(node, NODE_DIRECTORY, tarball)
    to_bring = steps(estate, *bring)
    back = cycle(range(1, to_give_back + 1))
    for step in range(1, max(to_bring, to_give_back) + 1, EVERY):
        cut_short(estate, *bring, after=min(step, to_bring))
        trial.holds()
        run(estate, *bring)
        trial.holds(NODE)
        assert {name: image_ids(estate, NODE).get(name) for name in NAMES} == dict.fromkeys(
            NAMES, image.image_id
        ), f"killed after step {step}"
        cut_short(estate, *give_back, after=next(back))
        trial.holds()
        run(estate, *give_back)
        trial.holds(NODE)
        is_taken_back(node, before)
        reset.reset_node(node)
        lay(node, NODE_DIRECTORY, tarball)


@row(
    "import",
    "killed after some steps of its plan, and then `restore` in place of the next run",
    "everything is undone",
    exit_code=KILLED,
)
@pytest.mark.thorough
def test_an_import_that_was_killed_is_undone_by_restore(trial: Trial) -> None:
    estate, node = trial.estate, trial.estate.nodes[NODE]
    fetched(estate, NODE)
    trial.arranged()
    tarball, before = keep(node, NODE_DIRECTORY), traces(node)
    # What an import after it makes of the same is the sweep above; without one, some steps show it.
    for step in range(2, steps(estate, "import", NODE) + 1, 4):
        cut_short(estate, "import", NODE, after=step)
        run(estate, "restore", NODE, "--yes")
        trial.holds(NODE)
        assert differences(before, traces(node)) == [], f"killed after step {step}"
        reset.reset_node(node)
        lay(node, NODE_DIRECTORY, tarball)
