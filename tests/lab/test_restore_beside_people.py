"""`restore` beside people with kubectl, on a real API server: it notes who set what."""

from .environment import Environment
from .faults.arrangements import held
from .faults.rows import row
from .runs import run

PIN, RESTORE = ("pin", "k8s-node1", "--yes"), ("restore", "--yes")
NODE = "k8s-node2"


def cordoned(environment: Environment) -> set[str]:
    return {
        name
        for name, node in environment.cluster.nodes().items()
        if node["spec"].get("unschedulable")
    }


@row(
    "restore",
    "a person has uncordoned a node since the pin, and cordoned it again",
    "the node stays cordoned and is named",
    exit_code=0,
)
def test_a_node_that_a_person_has_cordoned_again_since_the_pin_stays_cordoned(
    fresh: Environment,
) -> None:
    held(fresh, "k8s-node1")
    run(fresh, *PIN)
    fresh.cluster.uncordon(NODE)
    fresh.cluster.cordon(NODE)
    assert run(fresh, *RESTORE).result["left_cordoned"] == [NODE]
    assert cordoned(fresh) == {NODE}
    assert run(fresh, *RESTORE).result["uncordoned"] == []
    fresh.cluster.uncordon(NODE)


@row(
    "restore",
    "a person has removed the annotation of the pin",
    "the node is uncordoned; or named with the command, if only pods of DaemonSets are left on it",
    exit_code=0,
)
def test_a_cordon_whose_annotation_a_person_has_removed_is_undone_or_named(
    fresh: Environment,
) -> None:
    """Where only pods of DaemonSets are on the node, it may have been drained."""
    held(fresh, "k8s-node1")
    run(fresh, *PIN)
    fresh.cluster.kubectl("annotate", "node", NODE, "breakglass/pinned-")
    restored = run(fresh, *RESTORE)
    assert NODE in restored.result["uncordoned"] or f"kubectl uncordon {NODE}" in restored.stderr
    fresh.cluster.uncordon(NODE)
    assert cordoned(fresh) == set()
