"""The faults of pin, and of restore where it patches nodes as well: the API, the target, the moment
of death, the rights.
"""

import functools
import json
from typing import Any

from .. import listing
from ..cluster import RIGHTS
from ..environment import Environment
from ..runs import run
from .arrangements import held
from .gates import gate
from .injections import black_hole, paused, stopped, until
from .rows import row
from .trial import Trial

PIN, RESTORE = ("pin", "k8s-node1", "--yes"), ("restore", "--yes")
OTHERS = {"k8s-master", "k8s-node10", "k8s-node2", "k8s-node3"}


def nodes(environment: Environment) -> dict[str, Any]:
    return listing.node_objects(environment.cluster)


def open_nodes(environment: Environment) -> set[str]:
    """Nodes that the scheduler may use."""
    return {
        name
        for name, node in environment.cluster.nodes().items()
        if not node["spec"].get("unschedulable")
    }


def is_pinned(environment: Environment) -> bool:
    return open_nodes(environment) == {"k8s-node1"}


def is_unchanged(trial: Trial) -> None:
    assert trial.before is not None
    assert nodes(trial.environment) == trial.before.nodes


@row(
    "pin, restore",
    "API refused: its port is closed",
    "exit 5, nothing changed; fetch and import are named as the way that is left",
    exit_code=5,
    within_seconds=15,
)
def test_with_the_api_server_down_neither_pin_nor_restore_changes_anything(trial: Trial) -> None:
    held(trial.environment, "k8s-node1")
    trial.arranged()
    trial.environment.api.kill("kube-apiserver")
    try:
        children = [trial.start(*argv) for argv in (RESTORE, PIN)]
        for child in children:
            message = trial.ended(child).error["message"]
            assert "refuses connections" in message or "was lost" in message
    finally:
        trial.environment.api.start("kube-apiserver")
    is_unchanged(trial)
    trial.recovers("k8s-node1", goal=lambda: is_pinned(trial.environment))


@row(
    "pin, restore",
    "the API server accepts connections and never answers",
    "exit 5 within the deadline, nothing changed",
    exit_code=5,
    within_seconds=25,
)
def test_an_api_server_that_never_answers_ends_pin_and_restore_in_time(trial: Trial) -> None:
    held(trial.environment, "k8s-node1")
    trial.arranged()
    with paused(trial.environment.api, "kube-apiserver"):
        children = [trial.start(*argv) for argv in (RESTORE, PIN)]
        for child in children:
            assert "did not answer within" in trial.ended(child).error["message"]
    is_unchanged(trial)
    trial.recovers("k8s-node1", goal=lambda: is_pinned(trial.environment))


@row(
    "pin, restore",
    "packets to the API server vanish",
    "exit 5 within the connect time-out, nothing changed",
    exit_code=5,
    within_seconds=20,
)
def test_a_black_hole_before_the_api_server_ends_pin_and_restore_in_time(trial: Trial) -> None:
    held(trial.environment, "k8s-node1")
    trial.arranged()
    with black_hole(trial.environment.api):
        children = [trial.start(*argv) for argv in (RESTORE, PIN)]
        for child in children:
            assert "did not accept a connection within 5 s" in trial.ended(child).error["message"]
    trial.environment.cluster.await_ready()
    is_unchanged(trial)
    trial.recovers("k8s-node1", goal=lambda: is_pinned(trial.environment))


@row(
    "pin",
    "etcd paused after 2 of 4 patches",
    (
        "exit 4 in time: the nodes whose state is unknown are named, and restore gives the exact "
        "state before"
    ),
    exit_code=4,
    within_seconds=60,
)
def test_with_etcd_paused_half_way_unknown_is_said_to_be_unknown(trial: Trial) -> None:
    environment = trial.environment
    held(environment, "k8s-node1")
    trial.arranged()
    with gate(environment) as patches:
        patches.let(2)
        child = trial.start(*PIN)
        patches.await_standstill(child, passed=2, held=3)
        with paused(environment.api, "etcd"):
            patches.say("all")
            error = trial.ended(child).error
        assert "3 of 4 nodes were not patched" in error["message"]
        assert "it is not known whether it was patched" in error["message"]
        environment.cluster.await_ready()
        trial.holds()
        run(environment, *RESTORE)
        is_unchanged(trial)
    trial.recovers("k8s-node1", argv=PIN, goal=lambda: is_pinned(environment))


@row(
    "pin",
    "API server killed after 2 of 4 patches, back some seconds later",
    "the rest is tried again; done, or what is unknown is reported",
    exit_code=(0, 4),
    within_seconds=60,
)
def test_an_api_server_that_dies_half_way_and_comes_back_is_asked_again(trial: Trial) -> None:
    environment = trial.environment
    held(environment, "k8s-node1")
    trial.arranged()
    with gate(environment) as patches:
        patches.let(2)
        child = trial.start(*PIN)
        patches.await_standstill(child, passed=2, held=3)
        environment.api.kill("kube-apiserver")
        patches.say("all")
        environment.api.start("kube-apiserver")
        ended = trial.ended(child)
        assert is_pinned(environment) or ended.exit_code == 4
        environment.cluster.await_ready()
        trial.holds()
        run(environment, *RESTORE)
        is_unchanged(trial)
    trial.recovers("k8s-node1", argv=PIN, goal=lambda: is_pinned(environment))


@row(
    "pin",
    "target unknown, cordoned, without the image, or not Ready",
    "exit 3, nothing changed; the message says what to type",
    exit_code=3,
    within_seconds=30,
)
def test_a_target_that_does_not_fit_is_refused_and_nothing_is_changed(trial: Trial) -> None:
    environment = trial.environment
    held(environment, "k8s-node1", "k8s-node3", "k8s-node10")
    environment.cluster.cordon("k8s-node3")
    trial.arranged()
    for target, said in {
        "k8s-node77": "there is no node k8s-node77",
        "k8s-node3": "k8s-node3 does not fit: cordoned",
        "k8s-node2": "k8s-node2 does not have the image",
    }.items():
        error = trial.run("pin", target, "--yes").error
        assert said in error["message"]
        assert error["next"]
    is_unchanged(trial)
    with stopped((environment.nodes["k8s-node10"], "kubelet")):
        not_ready(environment, "k8s-node10")
        assert (
            "k8s-node10 does not fit: not Ready"
            in trial.run("pin", "k8s-node10", "--yes").error["message"]
        )
        is_unchanged(trial)
    environment.cluster.await_ready()
    # The taint of a node that was not Ready goes a moment later.
    until(
        lambda: "taints" not in environment.cluster.get("node", "k8s-node10")["spec"],
        what="the taint is gone",
    )
    environment.cluster.uncordon("k8s-node3")
    trial.arranged()
    trial.recovers("k8s-node10", goal=lambda: open_nodes(environment) == {"k8s-node10"})


def not_ready(environment: Environment, node: str) -> None:
    """What a kubelet reports whose containerd does not answer."""
    found = environment.cluster.get("node", node)
    del found["metadata"]["resourceVersion"]  # whoever writes at the same time is overruled
    for condition in found["status"]["conditions"]:
        condition["status"] = "False"
    environment.cluster.kubectl(
        "replace", "--raw", f"/api/v1/nodes/{node}/status", "-f", "-", input=json.dumps(found)
    )


@row(
    "pin, restore",
    "killed after k of n patches, every k",
    (
        "`restore` gives the exact state before; `pin` again completes; so does `restore` after "
        "a `restore` that was killed"
    ),
    exit_code=(-9, 0),
)
def test_pin_and_restore_killed_after_every_number_of_patches_are_finished_by_the_next_run(
    trial: Trial,
) -> None:
    environment = trial.environment
    held(environment, "k8s-node1")
    trial.arranged()

    def kill(argv: tuple[str, ...], k: int) -> None:
        patches.let(k)
        child = trial.start(*argv)
        # A pin sends one patch first, then all others, the target's among them.
        patches.await_standstill(child, passed=k, held=1 if argv == PIN and k == 0 else 5 - k)
        passed = patches.names("passed") - {"k8s-node1"}
        patches.kill(child)
        left = OTHERS - open_nodes(environment)
        assert left == (passed if argv == PIN else OTHERS - passed), (
            f"{argv[0]} killed after {k}: {sorted(left)} are cordoned"
        )

    with gate(environment) as patches:
        for k in range(6):
            kill(PIN, k)
            run(environment, *RESTORE)
            is_unchanged(trial)
        for k in range(1, 4):
            kill(PIN, k)
            run(environment, *PIN)
            assert is_pinned(environment)
            kill(RESTORE, k)
            run(environment, *RESTORE)
            is_unchanged(trial)
    trial.recovers("k8s-node1", argv=PIN, goal=lambda: is_pinned(environment))


@row(
    "pin",
    "allowed to patch k of n nodes only, every k below n",
    (
        "exit 4 (5 where none was patched), the nodes and the right are named; `restore` gives "
        "the exact state before"
    ),
    exit_code=(4, 5),
)
def test_a_pin_that_is_refused_on_some_nodes_says_which_and_is_restored_exactly(
    trial: Trial,
) -> None:
    environment = trial.environment
    held(environment, "k8s-node1")
    trial.arranged()
    self_review = environment.cluster.get("clusterrolebinding", "system:basic-user")
    # Without the right on the first node by name, with which every pin begins, nothing is patched.
    allowed = ["k8s-master", "k8s-node2", "k8s-node10"]
    try:
        # Without this right nobody says beforehand that the patches will be refused.
        environment.cluster.kubectl("delete", "clusterrolebinding", "system:basic-user")
        for k in range(4):
            grant_on(environment, allowed[:k])
            until(
                functools.partial(are_in_force, environment, allowed, k),
                what="the rights are in force",
            )
            error = trial.run(*PIN).error
            assert OTHERS - open_nodes(environment) == set(allowed[:k])
            # The others are not tried without the first.
            refused = OTHERS - set(allowed[:k]) if k else {allowed[0]}
            assert all(node in error["message"] for node in refused), error["message"]
            assert "patch" in error["message"], error["message"]
            assert "ClusterRole" in error["next"] or k, error["next"]
            trial.holds()
            assert run(environment, *RESTORE).result["uncordoned"] == sorted(allowed[:k])
            is_unchanged(trial)
    finally:
        environment.cluster.apply(
            {key: self_review[key] for key in ("apiVersion", "kind", "roleRef", "subjects")}
            | {"metadata": {"name": "system:basic-user"}}
        )
        environment.cluster.grant()
    trial.recovers("k8s-node1", goal=lambda: is_pinned(environment))


def grant_on(environment: Environment, names: list[str]) -> None:
    """List everything, patch these nodes only."""
    rules: list[dict[str, Any]] = [
        {"apiGroups": [""], "resources": [resource], "verbs": ["get", "list"]}
        for resource in ("nodes", "pods")
    ]
    if names:
        rules.append(
            {"apiGroups": [""], "resources": ["nodes"], "resourceNames": names, "verbs": ["patch"]}
        )
    environment.cluster.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "breakglass"},
            "rules": rules,
        }
    )


def are_in_force(environment: Environment, allowed: list[str], k: int) -> bool:
    return may_patch(environment, allowed[max(k - 1, 0)]) == (k > 0)


def may_patch(environment: Environment, node: str) -> bool:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "breakglass",
            "resourceAttributes": {"verb": "patch", "resource": "nodes", "name": node},
        },
    }
    answer = environment.cluster.kubectl(
        "create",
        "--raw",
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        "-f",
        "-",
        input=json.dumps(review),
    ).stdout
    return bool(json.loads(answer)["status"]["allowed"])


@row(
    "pin, restore",
    "may list but not patch",
    "zero nodes touched; the missing right is named",
    exit_code=5,
    within_seconds=30,
)
def test_without_the_right_to_patch_no_node_is_touched_and_the_right_is_named(trial: Trial) -> None:
    environment = trial.environment
    held(environment, "k8s-node1")
    trial.arranged()
    environment.cluster.grant(RIGHTS | {"nodes": ("get", "list")})
    error = trial.run(*PIN).error
    assert "patch on nodes" in error["message"]
    assert "ClusterRole" in error["next"]
    is_unchanged(trial)
    environment.cluster.grant()
    run(environment, *PIN)
    pinned = nodes(environment)
    environment.cluster.grant(RIGHTS | {"nodes": ("get", "list")})
    assert "patch on nodes" in trial.run(*RESTORE).error["message"]
    assert nodes(environment) == pinned
    environment.cluster.grant()
    trial.recovers("k8s-node1", goal=lambda: open_nodes(environment) == {"k8s-node1", *OTHERS})
