"""Every pod starts while no registry answers, with Always as well; the image is kept; a registry
that is back is used after the next import.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from .answering import (
    FORGEJO,
    NAMES,
    PRIVATE,
    TAG,
    answers_on,
    back,
    keep_tags,
    outage,
    peak_bytes,
    responder,
)
from .cluster import Pod
from .cri import Cri, PullFailed
from .environment import Environment
from .faults.rows import row
from .images import PAUSE, small_bundle
from .registry import INDEX, MANIFEST, Registry
from .roles import WORKERS
from .runs import image_ids, run, stop_registries

POLICIES = ("IfNotPresent", "Always")
LATEST = f"{FORGEJO}/viktor/infra-ci:latest"


def holds(content: str) -> tuple[str, ...]:
    """A pod's command: it ends well when the image is the one with this content."""
    return ("/bin/sh", "-c", f'read -r line </etc/content; [ "$line" = {content} ]')


def run_to_the_end(
    environment: Environment,
    pods: Sequence[tuple[str, str]],
    *,
    node: str | None = None,
    content: str = "one",
) -> dict[tuple[str, str], Pod]:
    """(name, pull policy) -> what became of the pod; all are started before the first is waited
    for.
    """
    for number, (name, policy) in enumerate(pods):
        environment.cluster.start_pod(
            f"pipeline-{number}", name, pull_policy=policy, node=node, command=holds(content)
        )
    try:
        return dict(
            zip(
                pods,
                environment.cluster.ended(*(f"pipeline-{number}" for number in range(len(pods)))),
                strict=True,
            )
        )
    finally:
        environment.cluster.delete_pods()


@pytest.mark.parametrize("node", WORKERS)
def test_with_every_registry_stopped_eight_pods_of_eight_run_to_completion_on_the_pinned_node(
    fresh: Environment, node: str
) -> None:
    outage(fresh, node)
    brought = run(fresh, "import", node)
    assert brought.result["answers_pulls"] is True
    run(fresh, "pin", node, "--yes")
    pods = run_to_the_end(fresh, [(name, policy) for name in NAMES for policy in POLICIES])
    assert len(pods) == 8
    assert {what: (pod.phase, pod.node) for what, pod in pods.items()} == dict.fromkeys(
        pods, ("Succeeded", node)
    ), pods
    verdict = brought.stderr[brought.stderr.index("Done") :]
    for word in (*NAMES, *POLICIES):
        assert word in verdict


@pytest.mark.parametrize(
    "node", ["k8s-node1", *(pytest.param(name, marks=pytest.mark.thorough) for name in WORKERS[1:])]
)
def test_with_every_registry_stopped_four_pods_of_four_start_by_digest(
    fresh: Environment, node: str
) -> None:
    image = outage(fresh, node)
    run(fresh, "import", node)
    digests = [f"{registry.reference}@{image.digest}" for registry in fresh.registries]
    pods = run_to_the_end(
        fresh, [(name, policy) for name in digests for policy in POLICIES], node=node
    )
    assert {pod.phase for pod in pods.values()} == {"Succeeded"}, pods


@pytest.mark.parametrize(
    "node",
    [
        "k8s-node1",
        "k8s-node3",
        pytest.param("k8s-node2", marks=pytest.mark.thorough),
        pytest.param("k8s-node10", marks=pytest.mark.thorough),
    ],
)
def test_of_an_index_whose_other_children_stay_behind_twelve_pods_of_twelve_start(
    fresh: Environment, node: str
) -> None:
    """As buildx pushes it."""
    image, other = fresh.small(TAG), fresh.small("0ther", "other")
    children = {"arm64": other.digest, "amd64": image.digest}
    by_digest = [
        f"{registry.reference}@{registry.put_index(TAG, 'latest', children=children)}"
        for registry in fresh.registries
    ]
    run(fresh, "snapshot", "--tag", TAG)
    run(fresh, "fetch", node)
    stop_registries(fresh)
    run(fresh, "import", node)
    wanted = [(name, policy) for name in (*NAMES, *by_digest) for policy in POLICIES]
    pods = run_to_the_end(fresh, wanted, node=node)
    assert len(pods) == 12
    assert {pod.phase for pod in pods.values()} == {"Succeeded"}, pods


@pytest.mark.parametrize(
    "node", ["k8s-node3", pytest.param("k8s-node1", marks=pytest.mark.thorough)]
)
def test_containerd_2_takes_the_same_eight_pulls_through_the_cri(
    fresh: Environment, node: str
) -> None:
    image = outage(fresh, node)
    assert run(fresh, "import", node).result["answers_pulls"] is True
    cri = Cri(fresh.nodes[node])
    for name in NAMES:
        there = cri.image(name)
        assert there, name
        assert there.image_id == image.image_id
        assert cri.pull(name) == image.image_id


def test_without_answering_an_always_pod_does_not_start_and_import_says_so(
    fresh: Environment,
) -> None:
    outage(fresh, "k8s-node1")
    brought = run(fresh, "import", "k8s-node1", "--no-answer-pulls")
    assert brought.result["answers_pulls"] is False
    assert responder(fresh.nodes["k8s-node1"]) is None
    assert re.search(r"Always.*not", brought.stderr)
    pods = run_to_the_end(fresh, [(LATEST, policy) for policy in POLICIES], node="k8s-node1")
    assert pods[LATEST, "IfNotPresent"].phase == "Succeeded"
    assert "ImagePull" in pods[LATEST, "Always"].reason


def test_forgejo_back_with_a_newer_latest_is_used_after_another_import_and_ours_is_kept(
    fresh: Environment,
) -> None:
    ours = outage(fresh, "k8s-node1")
    run(fresh, "import", "k8s-node1")
    cri = Cri(fresh.nodes["k8s-node1"])
    newer = back(fresh, "two")
    pods = run_to_the_end(fresh, [(LATEST, "Always")], node="k8s-node1", content="one")
    assert pods[LATEST, "Always"].phase == "Succeeded", pods
    run(fresh, "import", "k8s-node1")
    pods = run_to_the_end(fresh, [(LATEST, "Always")], node="k8s-node1", content="two")
    assert pods[LATEST, "Always"].phase == "Succeeded", pods
    assert image_ids(fresh, "k8s-node1")[LATEST] == newer.image_id != ours.image_id
    assert cri.pinned(ours.image_id)


def break_index(registry: Registry) -> str:
    """What happened on 2026-04-19: the tags mean an index that is served, and its child is gone;
    the child's digest.
    """
    child = registry.digest("latest")
    registry.put_index(TAG, "latest", children={"amd64": child})
    registry.delete_manifest(child)
    return child


@row(
    "import",
    "forgejo serves an index whose child is gone",
    "the digest is named; pods with `Always` start with the tarball's image",
    exit_code=0,
)
@pytest.mark.parametrize(
    "node", ["k8s-node1", pytest.param("k8s-node2", marks=pytest.mark.thorough)]
)
def test_where_forgejo_serves_an_index_whose_child_is_gone_ours_comes_first_and_import_says_why(
    fresh: Environment, node: str
) -> None:
    ours = outage(fresh, node)
    child = break_index(fresh.forgejo)
    fresh.forgejo.host.start("registry")
    with pytest.raises(PullFailed):
        Cri(fresh.nodes[node]).pull(LATEST)
    brought = run(fresh, "import", node)
    assert any(FORGEJO in line and child in line for line in brought.stderr.splitlines()), (
        brought.stderr
    )
    names = [name for name in NAMES if FORGEJO in name]
    pods = run_to_the_end(fresh, [(name, "Always") for name in names], node=node)
    assert {pod.phase for pod in pods.values()} == {"Succeeded"}, pods
    assert {image_ids(fresh, node)[name] for name in names} == {ours.image_id}


def test_an_index_that_breaks_after_the_import_is_passed_over_after_another_import(
    fresh: Environment,
) -> None:
    ours = outage(fresh, "k8s-node1")
    fresh.forgejo.host.start("registry")
    run(fresh, "import", "k8s-node1")
    child = break_index(fresh.forgejo)
    again = run(fresh, "import", "k8s-node1")
    assert any(FORGEJO in line and child in line for line in again.stderr.splitlines()), (
        again.stderr
    )
    assert not any("images import" in line for line in again.lines)
    pods = run_to_the_end(fresh, [(LATEST, "Always")], node="k8s-node1")
    assert pods[LATEST, "Always"].phase == "Succeeded", pods
    assert image_ids(fresh, "k8s-node1")[LATEST] == ours.image_id
    assert run(fresh, "import", "k8s-node1").reported["steps"] == []


@pytest.mark.parametrize(
    "node", [pytest.param("k8s-node1", marks=pytest.mark.thorough), "k8s-node3"]
)
def test_the_image_is_pinned_through_pulls_and_a_restart_until_restore(
    fresh: Environment, node: str
) -> None:
    image = outage(fresh, node)
    assert run(fresh, "import", node).result["kept"] is True
    host = fresh.nodes[node]
    cri = Cri(host)
    assert cri.pinned(image.image_id)
    for name in NAMES:
        cri.pull(name)
    assert cri.pinned(image.image_id), "after pulls that the node answered"
    back(fresh)
    for name in NAMES:
        cri.pull(name)
    assert cri.pinned(image.image_id), "after pulls that registries answered"
    host.stop("containerd")
    host.start("containerd")
    assert cri.pinned(image.image_id), "after a restart of containerd"
    run(fresh, "restore", node, "--yes")
    assert not cri.pinned(image.image_id)
    assert keep_tags(host) == {}


def test_on_containerd_1_6_20_import_says_that_this_version_cannot_keep_the_image(
    fresh: Environment,
) -> None:
    outage(fresh, "k8s-node10")
    brought = run(fresh, "import", "k8s-node10")
    assert brought.result["kept"] is False
    assert any(
        "1.6.20" in line and re.search("keep|kept|pinned|collect", line)
        for line in brought.stderr.splitlines()
    ), brought.stderr


@pytest.mark.parametrize(
    "node",
    [
        "k8s-node1",
        *(pytest.param(name, marks=pytest.mark.thorough) for name in ("k8s-node2", "k8s-node3")),
    ],
)
def test_skopeo_copies_from_the_responder_what_containerd_holds(
    fresh: Environment, node: str
) -> None:
    image = outage(fresh, node)
    run(fresh, "import", node)
    host = fresh.nodes[node]
    port = answers_on(host)
    (kept,) = set(keep_tags(host).values())
    for number, name in enumerate(
        (f"infra-ci:{TAG}", "viktor/infra-ci:latest", f"infra-ci@{kept}")
    ):
        target = f"/tmp/copy-{number}"
        host.run(
            "skopeo",
            "--insecure-policy",
            "copy",
            "--src-tls-verify=false",
            f"docker://127.0.0.1:{port}/{name}",
            f"dir:{target}",
        )
        manifest = host.path(f"{target}/manifest.json")
        assert (
            f"sha256:{host.run('sha256sum', f'{target}/manifest.json').stdout.split()[0]}" == kept
        )
        assert json.loads(manifest.read_bytes())["config"]["digest"] == image.image_id


def ask(environment: Environment, node: str, method: str, path: str) -> tuple[int, dict[str, str]]:
    """(status, headers) of one request to the responder, by curl on the node."""
    port = answers_on(environment.nodes[node])
    argv = (
        ("--head",)
        if method == "HEAD"
        else ("--request", method, "--dump-header", "-", "--output", "/dev/null")
    )
    shown = (
        environment.nodes[node]
        .run("curl", "--silent", "--max-time", "10", *argv, f"http://127.0.0.1:{port}{path}")
        .stdout.splitlines()
    )
    headers = dict(line.lower().split(": ", 1) for line in shown[1:] if ": " in line)
    return int(shown[0].split()[1]), headers


def test_the_responder_answers_with_the_media_type_digest_and_length_of_the_manifest(
    fresh: Environment,
) -> None:
    outage(fresh, "k8s-node1")
    run(fresh, "import", "k8s-node1")
    (kept,) = set(keep_tags(fresh.nodes["k8s-node1"]).values())
    for method in ("HEAD", "GET"):
        assert ask(fresh, "k8s-node1", method, "/v2/")[0] == 200
        status, headers = ask(
            fresh, "k8s-node1", method, f"/v2/viktor/infra-ci/manifests/latest?ns={FORGEJO}"
        )
        assert status == 200
        assert headers["docker-content-digest"] == kept
        assert headers["content-type"] in (
            MANIFEST,
            INDEX,
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.index.v1+json",
        )
        assert int(headers["content-length"]) > 100
        for path in (
            "/v2/infra-ci/manifests/other",
            "/v2/other/manifests/latest",
            f"/v2/infra-ci/manifests/sha256:{'0' * 64}",
            f"/v2/infra-ci/blobs/sha256:{'0' * 64}",
        ):
            assert ask(fresh, "k8s-node1", method, path)[0] == 404


def test_a_thousand_hostile_requests_at_once_get_nothing_and_the_next_client_is_answered(
    fresh: Environment,
) -> None:
    image = outage(fresh, "k8s-node1")
    run(fresh, "import", "k8s-node1")
    node = fresh.nodes["k8s-node1"]
    port = answers_on(node)
    foreign = next(
        line.split()[2]
        for line in node.run("ctr", "-n", "k8s.io", "images", "ls").stdout.splitlines()
        if line.startswith(PAUSE)
    )
    script = (Path(__file__).parent / "hostile.py").read_text()
    answers = json.loads(node.run("python3", "-", str(port), foreign, input=script).stdout)
    assert len({name for name, answer in answers if answer != "closed"}) > 10, answers
    assert [
        answer
        for answer in answers
        if not (answer[1] == "closed" or re.match(r"HTTP/1\.[01] (4\d\d|501|505) ", answer[1]))
    ] == []
    found = responder(node)
    assert found, "the responder is gone"
    assert found[1] == port
    assert peak_bytes(found[0]) < 40e6
    assert Cri(node).pull(LATEST) == image.image_id


def test_companions_are_kept_and_answered_for_in_the_same_way(fresh: Environment) -> None:
    companion = f"{PRIVATE}/plugin-git:2.5"
    plugin = fresh.publish(
        small_bundle("plugin"), "2.5", registries=[Registry(fresh.vm, f"{PRIVATE}/plugin-git")]
    )
    fresh.operator.write(
        "/root/breakglass.yaml",
        fresh.operator.read("/root/breakglass.yaml").replace(
            "companions: []", f"companions: ['{companion}']"
        ),
    )
    fresh.small(TAG)
    run(fresh, "snapshot", "--tag", TAG)
    run(fresh, "fetch", "k8s-node1")
    for registry in fresh.registries:
        registry.host.stop("registry")
    assert companion in run(fresh, "import", "k8s-node1").result["names"]
    cri = Cri(fresh.nodes["k8s-node1"])
    assert cri.pull(companion) == plugin.image_id
    assert cri.pinned(plugin.image_id)
    pods = run_to_the_end(fresh, [(companion, "Always")], node="k8s-node1", content="plugin")
    assert pods[companion, "Always"].phase == "Succeeded", pods
    run(fresh, "restore", "k8s-node1", "--yes")
    assert not cri.pinned(plugin.image_id)


def test_the_verdict_names_images_that_waiting_pods_want_and_the_node_lacks(
    fresh: Environment,
) -> None:
    outage(fresh, "k8s-node1")
    missing = f"{PRIVATE}/deploy:3"
    fresh.cluster.start_pod("waits", missing, node="k8s-node1")
    fresh.cluster.settle("waits")
    brought = run(fresh, "import", "k8s-node1")
    assert any(missing in line and "waits" in line for line in brought.stderr.splitlines()), (
        brought.stderr
    )
