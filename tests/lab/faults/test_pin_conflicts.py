"""The faults of pin when others write to the cluster at the same time: people with kubectl,
controllers, nodes that come and go.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..cluster import wait
from ..environment import Environment
from ..roles import ADDRESSES
from ..runs import run
from .arrangements import held
from .gates import gate
from .rows import row
from .test_pin import OTHERS, PIN, RESTORE, is_pinned, is_unchanged, nodes, open_nodes
from .trial import Trial

WRITER = Path(__file__).with_name("writers.py")


def marked(environment: Environment) -> set[str]:
    return {
        name
        for name, node in nodes(environment).items()
        if "breakglass/pinned" in node["annotations"]
    }


@row(
    "pin",
    "a node cordoned by somebody else before the pin",
    "left alone and reported; never uncordoned by us",
    exit_code=0,
)
def test_a_node_that_somebody_had_cordoned_before_is_neither_marked_nor_restored(
    trial: Trial,
) -> None:
    environment = trial.environment
    held(environment, "k8s-node1")
    environment.cluster.cordon("k8s-node3")
    trial.arranged()
    ended = trial.run(*PIN)
    assert ended.result["left_alone"] == ["k8s-node3"]
    assert "k8s-node3" in ended.stderr
    assert marked(environment) == OTHERS - {"k8s-node3"}
    trial.recovers("k8s-node1", goal=lambda: is_pinned(environment))
    trial.run(*RESTORE)
    is_unchanged(trial)


@row(
    "pin",
    "a node that we cordoned is uncordoned by somebody while the pin is still at work",
    "exit 4, the node is named; `restore` takes the annotation only",
    exit_code=4,
)
def test_a_node_that_somebody_uncordons_during_the_pin_only_loses_the_annotation(
    trial: Trial,
) -> None:
    environment = trial.environment
    held(environment, "k8s-node1")
    trial.arranged()
    with gate(environment) as patches:
        patches.let(2)
        child = trial.start(*PIN)
        patches.await_standstill(child, passed=2, held=3)
        node = min(patches.names("passed"))
        environment.cluster.uncordon(node)
        patches.say("all")
        assert node in trial.ended(child).error["message"]
    assert open_nodes(environment) == {"k8s-node1", node}
    assert marked(environment) == OTHERS
    trial.holds()
    assert run(environment, *RESTORE).result["uncordoned"] == sorted(OTHERS - {node})
    is_unchanged(trial)
    trial.recovers("k8s-node1", argv=PIN, goal=lambda: is_pinned(environment))


@row(
    "pin",
    "a node is cordoned by somebody else while our patch of it is on its way",
    "exit 4: it is left to them and named; `restore` leaves it cordoned",
    exit_code=4,
)
def test_a_node_that_somebody_cordons_during_the_pin_stays_theirs(trial: Trial) -> None:
    environment = trial.environment
    held(environment, "k8s-node1")
    trial.arranged()
    with gate(environment) as patches:
        patches.let(2)
        child = trial.start(*PIN)
        patches.await_standstill(child, passed=2, held=3)
        node = min(patches.names("held") - {"k8s-node1"})
        environment.cluster.cordon(node)
        theirs = nodes(environment)
        trial.before = None
        patches.say("all")
        error = trial.ended(child).error
    assert f"{node}: somebody else changed it meanwhile" in error["message"], error["message"]
    assert marked(environment) == OTHERS - {node}
    run(environment, *RESTORE)
    assert open_nodes(environment) == {"k8s-node1", *OTHERS} - {node}
    assert theirs[node] == nodes(environment)[node]
    trial.arranged()
    assert trial.recovers("k8s-node1", argv=PIN, goal=lambda: is_pinned(environment)).result[
        "left_alone"
    ] == [node]


@row(
    "pin, restore",
    "writers that write as fast as they can, at up to 100 Hz, on two nodes",
    "bounded retries: done, or exit 4 naming what was left; afterwards the next run finishes",
    exit_code=(0, 4),
    within_seconds=50,
)
def test_writers_at_a_hundred_hertz_do_not_keep_pin_and_restore_from_ending(trial: Trial) -> None:
    environment = trial.environment
    held(environment, "k8s-node1")
    trial.arranged()
    with writers(environment) as hertz:
        for argv in (PIN, RESTORE):
            ended = trial.run(*argv)
            if ended.exit_code == 4:
                assert "somebody else keeps changing the node" in ended.error["message"], (
                    ended.error
                )
            trial.holds()
    print(f"writes per second and node: {hertz}")
    # A hundred on a quiet machine; what counts is that each of our patches meets some.
    assert min(hertz.values()) > 3, hertz
    run(environment, *RESTORE)
    is_unchanged(trial)
    trial.recovers("k8s-node1", argv=PIN, goal=lambda: is_pinned(environment))


@contextlib.contextmanager
def writers(environment: Environment) -> Iterator[dict[str, float]]:
    """Somebody writes to every node all the time; how often, is known in the end."""
    api, hertz = environment.api, dict[str, float]()
    api.write("/etc/lab/writers.py", WRITER.read_bytes())
    api.write("/run/lab/writers", "")
    child = api.popen(
        "python3", "/etc/lab/writers.py", "/run/lab/writers", "k8s-node2", "k8s-node3"
    )
    wait(
        lambda: (
            "breakglass-lab/writer"
            in environment.cluster.nodes()["k8s-node3"]["metadata"]["labels"]
        ),
        30,
        lambda: "the writers do not write",
    )
    try:
        yield hertz
    finally:
        api.path("/run/lab/writers").unlink()
        stdout, stderr = child.communicate(timeout=30)
        environment.cluster.kubectl("label", "nodes", "--all", "breakglass-lab/writer-")
        hertz |= json.loads(stdout) if not child.returncode else {}
        assert hertz, stderr


@row(
    "pin",
    "a writer that is faster than we are: every patch of ours meets a newer version",
    "bounded retries, exit 4, no node touched and each named; the next run finishes",
    exit_code=4,
    within_seconds=50,
)
@pytest.mark.thorough
def test_a_pin_that_is_always_outrun_gives_up_and_says_so(trial: Trial) -> None:
    environment = trial.environment
    held(environment, "k8s-node1")
    trial.arranged()
    with gate(environment) as patches:
        patches.say("outrun")
        error = trial.run(*PIN).error
        patches.say("all")
        assert "somebody else keeps changing the node" in error["message"]
        assert all(node in error["message"] for node in OTHERS)
    environment.cluster.kubectl("label", "nodes", "--all", "breakglass-lab/writer-")
    is_unchanged(trial)
    trial.recovers("k8s-node1", goal=lambda: is_pinned(environment))


def join(environment: Environment, name: str) -> None:
    """A node joins; its address is that of a machine that answers."""
    environment.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/arch": "amd64"}},
        }
    )
    node = environment.cluster.get("node", name)
    del node["metadata"]["resourceVersion"]  # whoever writes at the same time is overruled
    node["status"]["addresses"] = [{"type": "InternalIP", "address": ADDRESSES["k8s-node3"]}]
    environment.cluster.kubectl(
        "replace", "--raw", f"/api/v1/nodes/{name}/status", "-f", "-", input=json.dumps(node)
    )


@row(
    "pin",
    "a node joins while the pin is at work",
    "a warning names it; the next run cordons it",
    exit_code=0,
)
def test_a_node_that_joins_during_the_pin_is_reported_and_cordoned_by_the_next_run(
    trial: Trial,
) -> None:
    environment = trial.environment
    held(environment, "k8s-node1")
    trial.arranged()
    with gate(environment) as patches:
        patches.let(2)
        child = trial.start(*PIN)
        patches.await_standstill(child, passed=2, held=3)
        join(environment, "k8s-node99")
        patches.say("all")
        ended = trial.ended(child)
    assert "k8s-node99" in ended.stderr
    assert marked(environment) == OTHERS
    trial.recovers("k8s-node1", goal=lambda: is_pinned(environment))
    environment.cluster.kubectl("delete", "node", "k8s-node99")


@row(
    "pin, restore",
    "a node leaves while its patch is on its way",
    "a node that is gone is no failure: exit 0",
    exit_code=0,
)
def test_a_node_that_leaves_during_the_pin_is_no_failure(trial: Trial) -> None:
    environment = trial.environment
    held(environment, "k8s-node1")
    join(environment, "k8s-node99")
    trial.arranged()
    with gate(environment) as patches:
        patches.let(0)
        child = trial.start(*PIN)
        patches.await_standstill(child, passed=0, held=1)
        environment.cluster.kubectl("delete", "node", "k8s-node99")
        patches.say("all")
        assert "k8s-node99" not in trial.ended(child).result["cordoned"]
        assert is_pinned(environment)
        trial.holds()
        join(environment, "k8s-node99")
        run(environment, *PIN)
        patches.let(0)
        child = trial.start(*RESTORE)
        patches.await_standstill(child, passed=0, held=6)
        environment.cluster.kubectl("delete", "node", "k8s-node99")
        patches.say("all")
        trial.ended(child)
    assert open_nodes(environment) == {"k8s-node1", *OTHERS}
    trial.recovers("k8s-node1", argv=PIN, goal=lambda: is_pinned(environment))
