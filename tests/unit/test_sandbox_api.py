"""The sandbox's API server, asked over its wire."""

import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from breakglass.sandbox.api import Api
from tests.unit.kube_wire import certificate

MERGE = "application/merge-patch+json"


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        server.add_node("k8s-node1", internal_ip="127.0.0.1")
        yield server


def ask(
    api: Api, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=5)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(
            method, path, body=None if body is None else json.dumps(body), headers=named
        )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def patch(
    api: Api, body: Any, content_type: str = MERGE, query: str = ""
) -> tuple[int, dict[str, Any]]:
    return ask(api, "PATCH", f"/api/v1/nodes/k8s-node1{query}", body, Content_Type=content_type)


def test_one_merge_patch_sets_annotation_and_cordon_and_null_takes_both_away(api: Api) -> None:
    status, node = patch(
        api, {"metadata": {"annotations": {"a/b": "c"}}, "spec": {"unschedulable": True}}
    )
    assert (status, node["metadata"]["annotations"], node["spec"]) == (
        200,
        {"a/b": "c"},
        {"unschedulable": True},
    )
    status, node = patch(
        api, {"metadata": {"annotations": {"a/b": None}}, "spec": {"unschedulable": None}}
    )
    assert (status, "annotations" in node["metadata"], node["spec"]) == (200, False, {})


def test_a_stale_resource_version_is_a_conflict_and_changes_nothing(api: Api) -> None:
    stale = api.node("k8s-node1")["metadata"]["resourceVersion"]
    patch(api, {"metadata": {"labels": {"a": "b"}}})
    before = api.node("k8s-node1")
    status, answer = patch(
        api, {"metadata": {"resourceVersion": stale}, "spec": {"unschedulable": True}}
    )
    assert (status, answer["kind"], answer["reason"]) == (409, "Status", "Conflict")
    assert api.node("k8s-node1") == before


def test_every_write_moves_the_resource_version_and_one_that_changes_nothing_does_not(
    api: Api,
) -> None:
    first = int(api.node("k8s-node1")["metadata"]["resourceVersion"])
    patch(api, {"spec": {"unschedulable": True}})
    second = int(api.node("k8s-node1")["metadata"]["resourceVersion"])
    patch(api, {"spec": {"unschedulable": True}})
    assert first < second == int(api.node("k8s-node1")["metadata"]["resourceVersion"])


def test_a_server_side_dry_run_answers_and_changes_nothing(api: Api) -> None:
    before = api.node("k8s-node1")
    status, node = patch(api, {"spec": {"unschedulable": True}}, query="?dryRun=All")
    assert (status, node["spec"]) == (200, {"unschedulable": True})
    assert api.node("k8s-node1") == before


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        ({"metadata": {"annotations": {"a": 1}}}, MERGE, 422),
        ({"spec": {"unschedulable": "yes"}}, MERGE, 422),
        ({"metadata": {"annotations": {"a": "b" * 262_144}}}, MERGE, 422),
        ({"metadata": {"name": "other"}}, MERGE, 400),
        (["not", "an", "object"], MERGE, 400),
        ([{"op": "remove", "path": "/spec"}], "application/json-patch+json", 415),
        ({"spec": {"$patch": "replace"}}, "application/strategic-merge-patch+json", 422),
        ({"status": {"conditions": []}}, "application/strategic-merge-patch+json", 422),
    ],
)
def test_a_patch_that_a_real_server_refuses_or_the_sandbox_does_not_know_is_refused(
    api: Api, body: Any, content_type: str, code: int
) -> None:
    before = api.node("k8s-node1")
    assert patch(api, body, content_type)[0] == code
    assert api.node("k8s-node1") == before


def test_a_long_list_comes_in_pages_that_together_hold_everything_once(api: Api) -> None:
    for number in range(2, 8):
        api.add_node(f"k8s-node{number}", internal_ip="127.0.0.1")
    seen, token = [], ""
    while True:
        _, page = ask(api, "GET", f"/api/v1/nodes?limit=3&continue={token}")
        assert len(page["items"]) <= 3
        seen += [node["metadata"]["name"] for node in page["items"]]
        token = page["metadata"].get("continue", "")
        if not token:
            break
    assert seen == [f"k8s-node{number}" for number in range(1, 8)]


def test_field_selectors_choose_pods(api: Api) -> None:
    api.add_pod("running", image="a", node="k8s-node1")
    api.add_pod("done", image="a", phase="Succeeded")
    api.add_pod("elsewhere", image="a", namespace="ci", waiting="ImagePullBackOff", phase="Pending")

    def names(path: str) -> set[str]:
        return {pod["metadata"]["name"] for pod in ask(api, "GET", path)[1]["items"]}

    assert names("/api/v1/pods?fieldSelector=status.phase!%3DSucceeded") == {"running", "elsewhere"}
    assert names("/api/v1/pods?fieldSelector=spec.nodeName%3Dk8s-node1") == {"running"}
    assert names("/api/v1/namespaces/ci/pods") == {"elsewhere"}


def test_what_is_not_known_is_not_found_and_what_is_not_offered_is_refused(api: Api) -> None:
    assert ask(api, "GET", "/api/v1/nodes/k8s-node10")[0] == 404
    assert ask(api, "GET", "/apis/apps/v1/deployments")[0] == 404
    assert ask(api, "DELETE", "/api/v1/nodes/k8s-node1")[0] == 405
    assert ask(api, "GET", "/api/v1/nodes?watch=true")[0] == 405
    assert (
        ask(api, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": 1})[0]
        == 400
    )


def test_with_a_token_nobody_without_it_has_any_right() -> None:
    with Api(token="right") as api:
        assert ask(api, "GET", "/api/v1/nodes")[0] == 403
        assert ask(api, "GET", "/api/v1/nodes", Authorization="Bearer wrong")[0] == 401
        assert ask(api, "GET", "/api/v1/nodes", Authorization="Bearer right")[0] == 200


def test_after_stop_an_open_connection_is_not_answered_either(api: Api) -> None:
    connection = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=5)

    def version() -> bytes:
        connection.request("GET", "/version")
        return connection.getresponse().read()

    try:
        assert version() == version()
        api.stop()
        with pytest.raises((http.client.HTTPException, OSError)):
            version()
    finally:
        connection.close()


def test_the_kubeconfig_is_readable_by_its_owner_only(api: Api, tmp_path: Path) -> None:
    assert api.kubeconfig(tmp_path / "kubeconfig").stat().st_mode & 0o777 == 0o600


def real_kubectl() -> str | None:
    """The first on PATH that is one: a wrapper of that name, or a broken one, may stand before
    it.
    """
    for directory in os.get_exec_path():
        found = shutil.which("kubectl", path=directory)
        if found is not None:
            line = [found, "version", "--client"]
            answer = subprocess.run(line, capture_output=True, text=True, check=False)
            if "Client Version" in answer.stdout:
                return found
    return None


def test_kubectl_cordons_shows_and_uncordons_a_node_over_http_and_https(tmp_path: Path) -> None:
    program = real_kubectl()
    if program is None:
        pytest.skip("there is no kubectl on PATH")
    pair = certificate(tmp_path)
    for api in (Api(), Api(token="right", certificate=pair[0], key=pair[1])):
        with api:
            api.add_node("k8s-node1", internal_ip="127.0.0.1")
            api.add_pod(
                "build", image="infra-ci:latest", waiting="ImagePullBackOff", phase="Pending"
            )
            environment = {
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "KUBECONFIG": str(api.kubeconfig(tmp_path / "kubeconfig")),
            }

            def kubectl(*arguments: str, environment: dict[str, str] = environment) -> str:
                done = subprocess.run(
                    [program, *arguments],
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=20,
                    check=False,
                )
                assert done.returncode == 0, done.stderr
                return done.stdout

            assert kubectl("cordon", "k8s-node1") == "node/k8s-node1 cordoned\n"
            assert "Ready,SchedulingDisabled" in kubectl("get", "nodes")
            assert api.node("k8s-node1")["spec"] == {"unschedulable": True}
            assert kubectl("uncordon", "k8s-node1") == "node/k8s-node1 uncordoned\n"
            assert json.loads(kubectl("get", "node", "k8s-node1", "-o", "json"))["spec"] == {}
            assert "ImagePullBackOff" in kubectl("get", "pods")
