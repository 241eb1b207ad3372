"""Whatever an API server or a registry says: facts of the types that are promised, an outcome, or
one of our own errors.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from breakglass.config import Kubernetes
from breakglass.errors import Unreachable
from breakglass.kube import Cluster
from breakglass.kube.patch import patch_one
from breakglass.marks import Mark
from breakglass.observe.cluster import Node, Pin, Pod, parse_pin, read_nodes, read_pods
from breakglass.plan import PatchNode
from breakglass.registry import Login, read_credentials
from breakglass.remote.distribution.answers import NotServed
from breakglass.remote.distribution.manifests import read_manifest
from breakglass.remote.distribution.platforms import platform_of
from tests.unit.kube_wire import kubeconfig
from tests.unit.strategies import documents, examples, keeps_its_word, outputs
from tests.unit.test_properties_parsers import INDEX, MANIFEST, NAME

NODE = {
    "metadata": {
        "name": "k8s-node1",
        "annotations": {"breakglass/pinned": "{}"},
        "resourceVersion": "1",
    },
    "spec": {"unschedulable": True},
    "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "addresses": [{"type": "InternalIP", "address": "10.0.20.101"}],
        "nodeInfo": {"architecture": "amd64", "kubeletVersion": "v1.30.2"},
    },
}
POD = {
    "metadata": {"namespace": "ci", "name": "p"},
    "spec": {
        "nodeName": "k8s-node1",
        "containers": [{"image": NAME}],
        "initContainers": [{"image": NAME}],
    },
    "status": {
        "phase": "Pending",
        "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}],
    },
}
LISTS = some.sampled_from(
    (
        {"kind": "NodeList", "metadata": {}, "items": [NODE]},
        {"kind": "PodList", "metadata": {"continue": ""}, "items": [POD]},
    )
)


class Api:
    """Implements ports.ReadsCluster, which promises mappings and no more."""

    def __init__(self, item: object) -> None:
        self._items = [item] if isinstance(item, dict) else []

    def nodes(self) -> list[dict[str, Any]]:
        return self._items

    pods = nodes


@examples(100)
@example('{"status": {"conditions": [{"type": []}]}}', "{}")
@example("{}", '{"status": {"containerStatuses": [{"state": {"waiting": {"reason": {}}}}]}}')
@example("{}", '{"spec": {"nodeName": ["x"]}}')
@given(documents(NODE), documents(POD))
def test_what_the_api_says_of_nodes_and_pods_is_facts_or_one_of_our_errors(
    node: str, pod: str
) -> None:
    for text, read, promised in (
        (node, read_nodes, tuple[Node, ...]),
        (pod, read_pods, tuple[Pod, ...]),
    ):
        if (document := parsed(text)) is not None:
            keeps_its_word(lambda document=document, read=read: read(Api(document)), promised)  # type: ignore[misc]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[bytes], Cluster]]:
    """A server that answers everything with one body, and the adapter that asks it."""
    body = [b""]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body[0])))
            self.end_headers()
            self.wfile.write(body[0])

        do_POST = do_PATCH = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        path = kubeconfig(
            tmp_path_factory.mktemp("kube") / "config", f"http://127.0.0.1:{server.server_port}"
        )
        yield (
            body,
            Cluster(
                Kubernetes(kubeconfig=path),
                request_timeout_seconds=2.0,
                operation_timeout_seconds=3.0,
            ),
        )
        server.shutdown()


@examples(40)
@given(data=some.data())
def test_an_api_that_answers_nonsense_is_one_of_our_errors(
    api: tuple[list[bytes], Cluster], data: some.DataObject
) -> None:
    body, cluster = api
    # A list that always goes on is asked for until the deadline.
    body[0] = data.draw(LISTS.flatmap(lambda each: outputs(json.dumps(each)))).replace(
        b"continue", b"went on"
    )
    keeps_its_word(cluster.nodes, list[dict[str, Any]])
    keeps_its_word(cluster.can_patch_nodes, bool | None)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("p" * 100, True),
        ("a.b-c", True),
        ("a\x1b[31m", False),
        ("-rf", False),
        ("$(id)", False),
        (None, False),
        (["x"], False),
    ],
)
def test_what_is_listed_has_a_name_that_can_be_typed_or_it_is_no_kubernetes(
    api: tuple[list[bytes], Cluster], name: object, is_one: bool
) -> None:
    body, cluster = api
    body[0] = json.dumps(
        {"kind": "PodList", "items": [{**POD, "metadata": {"name": name}}]}
    ).encode()
    if is_one:
        assert [pod.name for pod in read_pods(cluster)] == [name]
        return
    with pytest.raises(Unreachable, match="not as a Kubernetes API server"):
        cluster.pods()


class NodesApi:
    """Implements patch.Nodes over one answer, of which the adapter promises the kind and the
    metadata.
    """

    def __init__(self, node: dict[str, Any]) -> None:
        self._node = node

    def read(self, name: str, *, seconds: float) -> dict[str, Any]:  # noqa: ARG002
        return self._node

    def send(self, name: str, patch: object, *, seconds: float) -> dict[str, Any]:  # noqa: ARG002
        return self._node


@examples(60)
@given(documents(NODE), some.sampled_from(["", "1"]))
def test_a_patch_that_is_answered_with_nonsense_has_an_outcome(text: str, version: str) -> None:
    node, step = parsed(text), PatchNode("k8s-node1", Mark(False, None), Mark(True, "x"), version)
    if isinstance(node, dict) and isinstance(node.get("metadata"), dict):
        patched = patch_one(NodesApi(node), step, threading.Event(), quiet_seconds=0.001)
        assert patched.outcome in ("done", "changed", "gone", "refused", "unsent", "unknown")


@examples(60)
@given(
    outputs(
        json.dumps({"run": "1", "target": "k8s-node1", "by": "me", "at": "now", "reason": ""})
    ).map(lambda output: output.decode("utf-8", "replace"))
)
def test_an_annotation_is_a_pin_of_ours_or_refused(annotation: str) -> None:
    keeps_its_word(lambda: parse_pin(annotation), Pin)


@examples(60)
@given(outputs(json.dumps(MANIFEST), json.dumps(INDEX)))
def test_a_manifest_is_what_containerd_can_read_or_broken(body: bytes) -> None:
    try:
        manifest = read_manifest(body, f"sha256:{hashlib.sha256(body).hexdigest()}")
    except NotServed:
        return
    assert all(
        platform_of(child) is None or isinstance(platform_of(child), str)
        for child in manifest.get("manifests", [])
    )


@examples(60)
@given(
    outputs(
        json.dumps(
            {
                "auths": {
                    "https://r/v1/": {"auth": "YTpi"},
                    "r2": {"username": "x", "password": "y", "identitytoken": "z"},
                },
                "credsStore": "",
                "credHelpers": {"gcr.io": "gcloud"},
            }
        )
    )
)
def test_a_file_of_logins_is_read_or_an_excuse(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "logins.json"
    path.write_bytes(content)
    credentials = read_credentials({"REGISTRY_AUTH_FILE": str(path)}, path.parent)
    assert credentials.explain("r")
    keeps_its_word(lambda: credentials.find("r", "infra-ci"), Login | None)


def parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
