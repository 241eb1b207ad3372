"""drill on real containerd: what is shown is done, twice, and the environment is as it was."""

import pytest

from .environment import Environment
from .faults.arrangements import TAG, held
from .runs import run
from .untouched import everything


@pytest.mark.parametrize(
    ("node", "times"),
    [("k8s-node1", 1), ("k8s-node2", 1), pytest.param("k8s-node3", 2, marks=pytest.mark.thorough)],
)
def test_a_drill_tries_every_source_and_leaves_the_environment_as_it_was(
    fresh: Environment, node: str, times: int
) -> None:
    held(fresh, node)
    fresh.mirror()
    before = everything(fresh, node)
    shown = run(fresh, "drill", node, "--dry-run")
    assert everything(fresh, node) == before
    for _ in range(times):
        done = run(fresh, "drill", node)
        assert done.lines == shown.lines
        assert {step["status"] for step in done.reported["steps"]} == {"done"}
        assert done.reported["changed"] is False
        assert [
            (source["name"], source["tag"], source["ok"]) for source in done.result["sources"]
        ] == [("registry-vm", TAG, True), ("synology", TAG, True)]
        assert all(check["ok"] and not check["warns"] for check in done.result["checks"]), (
            done.result["checks"]
        )
        assert everything(fresh, node) == before
