"""snapshot, fetch, import and restore killed with SIGKILL after every single step of their plans;
pin is in test_pin.py, the inside of one step of snapshot in test_snapshot_kills.py.
"""

import os
from itertools import cycle

import pytest

from .. import reset
from ..answering import differences, is_taken_back, traces
from ..environment import Environment
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


def steps(environment: Environment, *argv: str) -> int:
    """How many steps the plan of a command has now."""
    number = len(run(environment, *argv, "--dry-run").lines)
    assert number > 3, argv
    return number


@row(
    "snapshot",
    "killed after any step of its plan",
    "nothing lost, nothing unproven; the next run finishes",
    exit_code=KILLED,
)
def test_a_snapshot_killed_after_any_step_is_finished_by_the_next(trial: Trial) -> None:
    environment = trial.environment
    settings = environment.operator.read("/root/breakglass.yaml")
    environment.operator.write("/root/breakglass.yaml", settings.replace("keep: 5", "keep: 2"))
    published(environment, "older", "newer")
    environment.small("newest", "newest")
    trial.arranged()
    before = keep(environment.vm, VM_DIRECTORY)
    command = ("snapshot", "--tag", "newest")
    for step in range(1, steps(environment, *command) + 1, EVERY):
        reset.empty(environment.vm.path(VM_DIRECTORY))
        lay(environment.vm, VM_DIRECTORY, before)
        # docker's copy of the oldest tag is gone since the first run: one step less.
        cut_short(environment, *command, after=min(step, steps(environment, *command) - 1))
        trial.holds()
        run(environment, *command)
        trial.holds("registry-vm")
        assert verified(environment) == ["newer", "newest"], f"killed after step {step}"


@row(
    "fetch",
    "killed after any step of its plan",
    "nothing lost, nothing unproven; the next run finishes",
    exit_code=KILLED,
)
def test_a_fetch_killed_after_any_step_is_finished_by_the_next(trial: Trial) -> None:
    environment = trial.environment
    published(environment, "older")
    run(environment, "fetch", NODE)
    published(environment, "older", "newer")
    trial.arranged()
    node, command = environment.nodes[NODE], ("fetch", NODE)
    before = keep(node, NODE_DIRECTORY)
    for step in range(1, steps(environment, *command) + 1, EVERY):
        reset.empty(node.path(NODE_DIRECTORY))
        lay(node, NODE_DIRECTORY, before)
        cut_short(environment, *command, after=step)
        trial.holds()
        run(environment, *command)
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
    environment, node = trial.environment, trial.environment.nodes[NODE]
    image = fetched(environment, NODE)
    tarball = keep(node, NODE_DIRECTORY)
    trial.arranged()
    before = traces(node)
    bring, restore = ("import", NODE), ("restore", NODE, "--yes")
    run(environment, *bring)
    to_restore = steps(environment, *restore)
    run(environment, *restore)
    reset.reset_node(node)
    lay(node, NODE_DIRECTORY, tarball)
    to_bring = steps(environment, *bring)
    back = cycle(range(1, to_restore + 1))
    for step in range(1, max(to_bring, to_restore) + 1, EVERY):
        cut_short(environment, *bring, after=min(step, to_bring))
        trial.holds()
        run(environment, *bring)
        trial.holds(NODE)
        assert {name: image_ids(environment, NODE).get(name) for name in NAMES} == dict.fromkeys(
            NAMES, image.image_id
        ), f"killed after step {step}"
        cut_short(environment, *restore, after=next(back))
        trial.holds()
        run(environment, *restore)
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
    environment, node = trial.environment, trial.environment.nodes[NODE]
    fetched(environment, NODE)
    trial.arranged()
    tarball, before = keep(node, NODE_DIRECTORY), traces(node)
    # What an import after it makes of the same is the sweep above; without one, some steps show it.
    for step in range(2, steps(environment, "import", NODE) + 1, 4):
        cut_short(environment, "import", NODE, after=step)
        run(environment, "restore", NODE, "--yes")
        trial.holds(NODE)
        assert differences(before, traces(node)) == [], f"killed after step {step}"
        reset.reset_node(node)
        lay(node, NODE_DIRECTORY, tarball)
