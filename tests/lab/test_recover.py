"""`recover -- COMMAND` in a total outage, and the repaired runbook typed by a script beside it."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from .answering import NAMES, TAG, differences, is_taken_back, keep_tags, responder, traces
from .environment import Environment
from .faults.arrangements import fetched, published
from .faults.injections import unplugged, until
from .faults.rows import row
from .process import HostProcess
from .runs import judge, run, stop_registries

ADMIN = {"KUBECONFIG": "/root/.kube/config", "ADMIN": "/root/.kube/admin.config"}
LATEST = NAMES[-1]
SCRIPT = Path(__file__).with_name("repaired-runbook.sh")


def job(policy: str, image: str = LATEST) -> str:
    """A job of one pod, as the lab's nodes can run it; on the operator's machine."""
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": policy,
        "command": ["/bin/sh", "-c", "read -r line </etc/content"],
    }
    spec = {
        "containers": [container],
        "restartPolicy": "Never",
        "hostNetwork": True,
        "dnsPolicy": "Default",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
    }
    return json.dumps(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "repair", "namespace": "default"},
            "spec": {"template": {"spec": spec}},
        }
    )


REPAIR = """
set -e
kubectl --kubeconfig "$ADMIN" apply -f /root/repair.json >&2
kubectl --kubeconfig "$ADMIN" wait --for=condition=complete job/repair --timeout=60s >&2
kubectl --kubeconfig "$ADMIN" get pods -l job-name=repair -o jsonpath='ran on {.items[0].spec.nodeName}{"\\n"}' >&2
"""  # noqa: E501


@contextmanager
def total_outage(environment: Environment, policy: str = "Always") -> Iterator[None]:
    """Both registries off, the VM's plug pulled, one node off, one cordoned by somebody else."""
    published(environment)
    environment.mirror()
    environment.operator.write("/root/repair.json", job(policy))
    environment.cluster.cordon("k8s-node3")
    stop_registries(environment)
    try:
        with unplugged(environment.vm, environment.nodes["k8s-node10"]):
            yield
    finally:
        environment.cluster.kubectl("delete", "job", "repair", "--ignore-not-found", "--wait=true")
        environment.cluster.delete_pods()


@row(
    "recover",
    (
        "both registries off, the VM's plug pulled, one node off, one cordoned by somebody else; "
        "COMMAND waits for an `Always` pod"
    ),
    (
        "the tarball comes from the NAS, the pod ends on the chosen node, everything is undone, "
        "the node of somebody else stays cordoned"
    ),
    exit_code=0,
    within_seconds=60,
)
def test_one_command_from_a_total_outage_to_a_finished_always_pod_and_back(
    fresh: Environment,
) -> None:
    before = {name: traces(fresh.nodes[name]) for name in ("k8s-node1", "k8s-node2")}
    nodes = fresh.cluster.nodes()
    with total_outage(fresh):
        began = time.monotonic()
        done = judge(
            fresh.operator.breakglass(
                "--json", "recover", "--yes", "--", "sh", "-c", REPAIR, env=ADMIN
            ),
            expect=0,
        )
        seconds = time.monotonic() - began
        assert "ran on k8s-node1" in done.stderr
        assert {step["status"] for step in done.reported["steps"]} == {"done"}
        assert [stage["status"] for stage in done.result["stages"]] == ["done"] * 7
        for name, its in before.items():
            node = fresh.nodes[name]
            assert [
                line
                for line in differences(its, traces(node))
                if "var/breakglass" not in line and "shelf" not in line
            ] == []
            assert (responder(node), keep_tags(node)) == (None, {})
        print(
            f"recover: {seconds:.1f} s: "
            + ", ".join(
                f"{stage['name'].partition(':')[0]} {stage['seconds']:.1f}"
                for stage in done.result["stages"]
            )
        )
    now = fresh.cluster.nodes()
    assert {
        name: node["metadata"].get("annotations", {}).get("breakglass/pinned")
        for name, node in now.items()
    } == dict.fromkeys(nodes)
    assert cordoned(fresh) == ["k8s-node3"]


def runs(environment: Environment, node: str, *, seconds: int) -> HostProcess:
    """A started `recover` whose command runs."""
    environment.operator.run("rm", "-f", "/tmp/runs")
    child = environment.operator.start_breakglass(
        "--json",
        "recover",
        node,
        "--yes",
        "--",
        "sh",
        "-c",
        f"touch /tmp/runs; exec sleep {seconds}",
    )
    until(environment.operator.path("/tmp/runs").exists, child=child)
    assert len(cordoned(environment)) == 4
    return child


def cordoned(environment: Environment) -> list[str]:
    return [
        name
        for name, node in environment.cluster.nodes().items()
        if node["spec"].get("unschedulable")
    ]


@row(
    "recover",
    "SIGTERM while COMMAND runs",
    "COMMAND is ended, everything is undone, then 143 with the state",
    exit_code=143,
    within_seconds=60,
)
def test_what_the_dry_run_shows_is_done_and_sigterm_while_the_command_runs_gives_everything_back(
    fresh: Environment,
) -> None:
    fetched(fresh, "k8s-node1")
    before = traces(fresh.nodes["k8s-node1"])
    stop_registries(fresh)
    shown = run(fresh, "recover", "k8s-node1", "--dry-run", "--", "true")
    with runs(fresh, "k8s-node1", seconds=60) as child:
        status, stdout, stderr = fresh.operator.interrupt(child, signal.SIGTERM)
    ended = judge(CompletedProcess((), status, stdout, stderr), expect=143)
    assert ended.lines == shown.lines
    assert "Everything was restored" in ended.error["state"]
    is_taken_back(fresh.nodes["k8s-node1"], before)
    assert cordoned(fresh) == []


@row(
    "recover",
    "breakglass itself killed while COMMAND runs",
    "the next `recover` continues on the same node, `restore` undoes everything",
    exit_code=-9,
    within_seconds=60,
)
def test_killed_while_pinned_the_next_recover_goes_on_on_the_same_node_and_restore_restores(
    fresh: Environment,
) -> None:
    fetched(fresh, "k8s-node2")
    before = traces(fresh.nodes["k8s-node2"])
    stop_registries(fresh)
    with runs(fresh, "k8s-node2", seconds=2) as child:
        child.kill()
        child.communicate()
    again = run(fresh, "recover", "--yes")
    assert "chose k8s-node2: it is the target of the pin in force" in again.stderr
    assert (again.lines, again.reported["changed"]) == ([], False)
    run(fresh, "restore", "--yes")
    is_taken_back(fresh.nodes["k8s-node2"], before)


@pytest.mark.thorough
def test_the_repaired_runbook_typed_by_a_script_takes_as_long(fresh: Environment) -> None:
    """The same outage by bare hands, without a check, a proof or a way back for `Always`: with
    IfNotPresent. Both times are printed.
    """
    times = {}
    for what, policy in (("script", "IfNotPresent"), ("recover", "Always")):
        fresh.reset()
        with total_outage(fresh, policy):
            began = time.monotonic()
            if what == "script":
                fresh.operator.write("/root/runbook.sh", SCRIPT.read_text())
                fresh.operator.run("sh", "/root/runbook.sh", TAG, env=ADMIN)
            else:
                judge(
                    fresh.operator.breakglass(
                        "--json",
                        "recover",
                        "k8s-node1",
                        "--yes",
                        "--",
                        "sh",
                        "-c",
                        REPAIR,
                        env=ADMIN,
                    ),
                    expect=0,
                )
            times[what] = time.monotonic() - began
    print(
        f"runbook by script {times['script']:.1f} s, recover {times['recover']:.1f} s: "
        f"{times['recover'] / times['script']:.2f}"
    )
    assert times["recover"] < 4 * times["script"] + 20
