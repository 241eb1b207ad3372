"""A kubelet has pulled the image itself, with a secret: what the verdict of `import` says of each
name is what becomes of the pods, with the secret and without.

kubelet 1.35 and newer remembers under which name and with which secret it has pulled an image
(KubeletEnsureSecretPulledImages), and pulls it again for any other. The kubelet of k8s-node10 is
older.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from .answering import FORGEJO, NAMES, TAG, outage
from .cluster import Pod, wait
from .components import KUBELET_OLD
from .environment import Environment
from .faults.injections import paused
from .faults.rows import row
from .host import Host
from .registry import PASSWORD, USER
from .roles import NODES, WORKERS
from .runs import run
from .test_always import holds

SECRET = "pull-secret"
PULLED = f"{FORGEJO}/viktor/infra-ci:{TAG}"
RECORDS = "/var/lib/kubelet/image_manager"
REMEMBERS = tuple(name for name in WORKERS if NODES[name].kubelet != KUBELET_OLD)


@dataclass(frozen=True)
class Case:
    """One pod: the name it gives, and whether it has the secret."""

    name: str
    has_secret: bool


CASES = tuple(Case(name, has_secret) for name in NAMES for has_secret in (True, False))


@contextlib.contextmanager
def private_forgejo(environment: Environment) -> Iterator[None]:
    """The registry serves only who logs in; the namespace of the pods has the login as a secret."""
    cluster = environment.cluster
    environment.forgejo.refuse(on=True)
    cluster.kubectl("delete", "secret", SECRET, "--ignore-not-found")
    cluster.kubectl(
        "create",
        "secret",
        "docker-registry",
        SECRET,
        f"--docker-server={FORGEJO}",
        f"--docker-username={USER}",
        f"--docker-password={PASSWORD}",
    )
    try:
        yield
    finally:
        cluster.kubectl("delete", "secret", SECRET, "--ignore-not-found")


def pods_of(environment: Environment, node: str, cases: tuple[Case, ...]) -> dict[Case, Pod]:
    """What becomes of these pods with IfNotPresent; all are started before the first is waited
    for.
    """
    names = [f"pull-{number}" for number in range(len(cases))]
    for name, case in zip(names, cases, strict=True):
        environment.cluster.start_pod(
            name,
            case.name,
            pull_policy="IfNotPresent",
            node=node,
            command=holds("one"),
            secret=SECRET if case.has_secret else None,
        )
    try:
        ended = environment.cluster.ended(*names, timeout=120)
    finally:
        environment.cluster.delete_pods()
    for pod in ended:
        assert pod.phase == "Succeeded" or "ImagePull" in pod.reason, pod
    return dict(zip(cases, ended, strict=True))


def started(pods: dict[Case, Pod]) -> set[Case]:
    return {case for case, pod in pods.items() if pod.phase == "Succeeded"}


def promised(verdict: list[dict[str, Any]]) -> set[Case]:
    """The pods that start by the verdict of `import`."""
    assert {each["name"] for each in verdict} == {*NAMES}
    return {
        case
        for case in CASES
        for each in verdict
        if each["name"] == case.name
        and each["if_not_present"]
        and (case.has_secret or not each["only_with"])
    }


def records(node: Host, kind: str) -> list[str]:
    return [path.read_text() for path in node.path(f"{RECORDS}/{kind}").glob("*")]


def pulled_with_the_secret(environment: Environment, node: str) -> None:
    """kubelet pulls the image once, from the registry, for a pod with the secret."""
    (pod,) = pods_of(environment, node, (Case(PULLED, has_secret=True),)).values()
    assert pod.phase == "Succeeded", pod
    without = pods_of(environment, node, (Case(f"{FORGEJO}/viktor/infra-ci:latest", False),))
    assert started(without) == set(), "the registry serves without a login"


@row(
    "import",
    "kubelet 1.35 or newer has pulled the image itself, with a secret, and the registries are gone",
    "each name with the pods that start under it: without local serving those with the secret, "
    "under the name that kubelet has pulled; with it all",
    exit_code=0,
)
@pytest.mark.parametrize(
    "node",
    [
        "k8s-node1",
        *(pytest.param(name, marks=pytest.mark.thorough) for name in REMEMBERS[1:]),
    ],
)
def test_an_image_that_kubelet_pulled_with_a_secret_starts_as_the_verdict_of_each_name_says(
    fresh: Environment, node: str
) -> None:
    outage(fresh, node)
    host = fresh.nodes[node]
    with private_forgejo(fresh):
        pulled_with_the_secret(fresh, node)
        assert any(SECRET in text for text in records(host, "pulled"))
        fresh.forgejo.host.stop("registry")
        brought = run(fresh, "import", node, "--no-answer-pulls")
        verdict = brought.result["verdicts"]
        assert {each["name"]: each["only_with"] for each in verdict if each["only_with"]} == {
            name: [f"secret default/{SECRET}"] for name in NAMES if name.startswith(FORGEJO)
        }
        assert not any(each["always"] for each in verdict)
        pods = pods_of(fresh, node, CASES)
        assert started(pods) == promised(verdict), pods
        # Under the other registry's name nobody starts, under this one the pods with the secret.
        assert started(pods) == {
            case for case in CASES if case.name.startswith(FORGEJO) and case.has_secret
        }
        for name in NAMES:
            if not name.startswith(FORGEJO):
                assert name in brought.stderr.partition("do NOT start")[2], brought.stderr
        answered = run(fresh, "import", node, "--answer-pulls")
        assert all(
            each["if_not_present"] and each["always"] for each in answered.result["verdicts"]
        )
        pods = pods_of(fresh, node, CASES)
        assert started(pods) == promised(answered.result["verdicts"]) == set(CASES), pods


def test_an_older_kubelet_asks_for_no_secret_and_the_verdict_says_so(fresh: Environment) -> None:
    node = "k8s-node10"
    outage(fresh, node)
    with private_forgejo(fresh):
        pulled_with_the_secret(fresh, node)
        assert records(fresh.nodes[node], "pulled") == []
        fresh.forgejo.host.stop("registry")
        verdict = run(fresh, "import", node, "--no-answer-pulls").result["verdicts"]
        assert [each["only_with"] for each in verdict] == [[]] * len(NAMES)
        pods = pods_of(fresh, node, CASES)
        assert started(pods) == promised(verdict) == set(CASES), pods


@row(
    "import",
    "kubelet was killed in the middle of a pull of one of the names",
    "`--no-answer-pulls`: pods of this name do not start, those of the other names do",
    exit_code=0,
)
def test_a_pull_that_was_cut_short_by_the_death_of_kubelet_counts_for_the_name_that_it_was_for(
    fresh: Environment,
) -> None:
    """The verdict is careful here: kubelet 1.37.2 started the pod of that name all the same. That
    its note of a pull alone makes it pull was read in its source.
    """
    node = "k8s-node1"
    host, cluster = fresh.nodes[node], fresh.cluster
    outage(fresh, node)
    fresh.forgejo.host.start("registry")
    with paused(fresh.forgejo.host, "registry"):
        cluster.start_pod("cut-short", PULLED, pull_policy="IfNotPresent", node=node)
        wait(
            lambda: any(PULLED in text for text in records(host, "pulling")),
            60,
            lambda: f"kubelet has noted no pull: {records(host, 'pulling')}",
        )
        host.kill("kubelet")
        cluster.delete_pods()
    fresh.forgejo.host.stop("registry")
    host.start("kubelet")
    cluster.await_ready([node])
    assert any(PULLED in text for text in records(host, "pulling")), "the note is gone"
    verdict = run(fresh, "import", node, "--no-answer-pulls").result["verdicts"]
    assert {each["name"] for each in verdict if not each["if_not_present"]} == {PULLED}
    pods = pods_of(fresh, node, tuple(case for case in CASES if not case.has_secret))
    assert started(pods) >= {case for case in promised(verdict) if not case.has_secret}, pods
