"""The Kubernetes adapter, over the wire of the sandbox's API server: reading, rights, faults."""

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kubernetes.client import Configuration

from breakglass.config import Kubernetes
from breakglass.errors import Unreachable
from breakglass.kube import Cluster
from breakglass.kube.proxy import set_proxy
from breakglass.sandbox.api import Api
from breakglass.sandbox.api_server import Request
from breakglass.sandbox.rules import Declined
from tests.registry_server import make_authority
from tests.unit.kube_wire import FaultyApi, certificate, cluster, kubeconfig, warm
from tests.unit.registries_question import pages


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def api() -> Iterator[FaultyApi]:
    with FaultyApi() as server:
        server.add_node("k8s-node1", internal_ip="127.0.0.1")
        yield server


def fault(ask: Callable[[], object]) -> Unreachable:
    with pytest.raises(Unreachable) as raised:
        ask()
    assert str(raised.value.next_step)
    return raised.value


def at(server: str, directory: Path, **options: float) -> Cluster:
    seconds = {"request_timeout_seconds": 0.3, "operation_timeout_seconds": 1.0} | options
    return Cluster(Kubernetes(kubeconfig=kubeconfig(directory / "config", server)), **seconds)


def raising(error: Exception) -> Callable[[object], None]:
    def act(_: object) -> None:
        raise error

    return act


def test_nodes_and_unfinished_pods_are_the_json_of_the_api(api: FaultyApi, tmp_path: Path) -> None:
    api.add_pod(
        "waiting",
        image="infra-ci:latest",
        namespace="ci",
        phase="Pending",
        waiting="ImagePullBackOff",
    )
    api.add_pod("over", image="infra-ci:latest", phase="Succeeded")
    api.add_pod("broken", image="infra-ci:latest", phase="Failed")
    adapter = cluster(api, tmp_path)
    assert adapter.nodes() == [api.node("k8s-node1")]
    assert [pod["metadata"]["name"] for pod in adapter.pods()] == ["waiting"]


def test_persistent_volumes_are_the_json_of_the_api_and_a_missing_right_is_named(
    api: FaultyApi, tmp_path: Path
) -> None:
    api.add_volume("pv-1", claim="data", namespace="forgejo", nodes=["k8s-node1"])
    adapter = cluster(api, tmp_path)
    assert [volume["spec"]["claimRef"] for volume in adapter.volumes()] == [
        {"namespace": "forgejo", "name": "data"}
    ]
    api.forbidden.add(("list", "persistentvolumes"))
    assert "does not let us list persistentvolumes (403)" in fault(adapter.volumes).message


def test_nothing_is_loaded_or_asked_before_the_first_question(
    api: FaultyApi, tmp_path: Path
) -> None:
    adapter = Cluster(Kubernetes(kubeconfig=tmp_path / "later"))
    kubeconfig(tmp_path / "later", api.url)
    assert api.requests == []
    assert len(adapter.nodes()) == 1


def test_a_big_cluster_is_read_in_pages(api: FaultyApi, tmp_path: Path) -> None:
    for number in range(2, 1202):
        api.add_node(f"k8s-node{number}", internal_ip="127.0.0.1")
    names = [node["metadata"]["name"] for node in cluster(api, tmp_path).nodes()]
    assert len(names) == len(set(names)) == 1201
    assert [request.query["limit"] for request in api.requests] == ["500"] * 3


def test_a_list_that_grew_too_old_between_its_pages_is_read_again_in_one_piece(
    api: FaultyApi, tmp_path: Path
) -> None:
    for number in range(2, 602):
        api.add_node(f"k8s-node{number}", internal_ip="127.0.0.1")

    def expire(request: Request) -> None:
        if "continue" in request.query:
            raise Declined(410, "Expired", "The provided continue parameter is too old")

    api.before = expire
    assert len(cluster(api, tmp_path).nodes()) == 601
    assert "limit" not in api.requests[-1].query


def test_whether_we_may_patch_is_known_before_the_first_patch(
    api: FaultyApi, tmp_path: Path
) -> None:
    adapter = cluster(api, tmp_path)
    assert adapter.can_patch_nodes() is True
    api.forbidden.add(("patch", "nodes"))
    assert adapter.can_patch_nodes() is False
    api.before = raising(Declined(403, "Forbidden", "no reviews"))
    assert adapter.can_patch_nodes() is None
    assert "PATCH" not in api.methods()


def test_a_missing_right_is_named(api: FaultyApi, tmp_path: Path) -> None:
    api.forbidden.add(("list", "pods"))
    error = fault(cluster(api, tmp_path).pods)
    assert "does not let us list pods (403)" in error.message
    assert error.next_step.commands[0] == "kubectl auth can-i list pods"


def test_refused_credentials_are_reported_without_the_token(tmp_path: Path) -> None:
    with Api(token="right") as api:
        path = kubeconfig(tmp_path / "config", api.url, user={"token": "hunter2"})
        error = fault(Cluster(Kubernetes(kubeconfig=path)).nodes)
    assert "does not accept our credentials (401)" in error.message
    assert "hunter2" not in repr(error) + str(error.next_step)


def test_a_redirect_of_the_api_server_is_not_followed_and_takes_no_token_along(
    tmp_path: Path,
) -> None:
    with pages() as server, pages() as elsewhere:
        path = kubeconfig(tmp_path / "config", server.url, user={"token": "hunter2"})
        for target in (f"{elsewhere.url}/", f"{server.url}/elsewhere"):
            server.answers["/api/v1/nodes"] = (307, {"Location": target}, b"")
            assert "307" in fault(Cluster(Kubernetes(kubeconfig=path)).nodes).message
    assert [asked[1].partition("?")[0] for asked in server.asked] == ["/api/v1/nodes"] * 2
    assert elsewhere.asked == []


def test_words_of_the_server_are_printed_inert(api: FaultyApi, tmp_path: Path) -> None:
    api.before = raising(Declined(500, "InternalError", "etcd\x1b[2J\r\nis " + "gone " * 1000))
    message = fault(cluster(api, tmp_path).nodes).message
    assert "500: etcd [2J is gone" in message
    assert message.isprintable()
    assert len(message) < 500


def test_a_server_that_refuses_connections_is_reported_from_one_that_never_answers(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = f"http://127.0.0.1:{listener.getsockname()[1]}"
        silent = fault(at(server, tmp_path).nodes)
    refused = fault(at(server, tmp_path).nodes)
    assert f"{server} accepts connections but did not answer within 0.3 s" in silent.message
    assert f"{server} refuses connections" in refused.message


@pytest.mark.slow
def test_an_unknown_name_is_reported_as_such_and_a_resolver_that_hangs_is_not_waited_for(
    tmp_path: Path,
) -> None:
    warm(tmp_path)
    message = fault(
        at("https://api.invalid:6443", tmp_path, operation_timeout_seconds=3.0).nodes
    ).message
    # The second: where this machine's own resolver does not answer.
    assert (
        "the name in https://api.invalid:6443 cannot be resolved" in message
        or "did not finish answering within 3 s" in message
    )


def test_a_server_that_trickles_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    given_up = threading.Event()

    def trickle(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                for _ in range(400):
                    connection.sendall(b" ")
                    if given_up.wait(0.05):
                        return
            except OSError:
                return

    warm(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        started = time.monotonic()
        error = fault(
            at(
                f"http://127.0.0.1:{listener.getsockname()[1]}",
                tmp_path,
                operation_timeout_seconds=0.5,
            ).nodes
        )
        # The server would trickle for 20 s.
        assert time.monotonic() - started < 10
        given_up.set()
        assert "did not finish answering within 0.5 s" in error.message
        thread.join()


def test_another_server_than_an_api_server_is_recognised(tmp_path: Path) -> None:
    class Other(Api):
        def answer(self, request: object) -> dict[str, object]:  # noqa: ARG002
            return {"hello": "world"}

    with Other() as api:
        assert "not as a Kubernetes API server" in fault(at(api.url, tmp_path).nodes).message


def test_https_works_with_the_right_authority_and_says_what_is_wrong_with_another(
    tmp_path: Path,
) -> None:
    right, wrong = certificate(tmp_path), certificate(tmp_path, "127.0.0.2")
    with Api(token="secret", certificate=right[0], key=right[1]) as api:
        assert cluster(api, tmp_path).nodes() == []
        path = kubeconfig(
            tmp_path / "wrong", api.url, cluster={"certificate-authority": str(wrong[0])}
        )
        error = fault(Cluster(Kubernetes(kubeconfig=path)).nodes)
        assert (
            f"no TLS connection to the API server {api.url}: self-signed certificate"
            in error.message
        )
        plain = fault(at(api.url.replace("https", "http"), tmp_path).nodes)
        assert "connection" in plain.message
    with Api() as api:
        assert (
            "no TLS connection"
            in fault(at(api.url.replace("http", "https"), tmp_path).nodes).message
        )


def test_an_authority_without_the_extensions_that_python_3_13_asks_for_is_trusted(
    tmp_path: Path,
) -> None:
    """As kubectl does; the server's certificate is one that it vouches for."""
    authority, _ = make_authority(tmp_path)
    with Api(certificate=tmp_path / "server.pem", key=tmp_path / "server.pem") as api:
        entry = {"certificate-authority": str(authority)}
        path = kubeconfig(tmp_path / "config", api.url, cluster=entry)
        assert Cluster(Kubernetes(kubeconfig=path)).nodes() == []


def test_an_unverified_connection_prints_no_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pair = certificate(tmp_path)
    with Api(certificate=pair[0], key=pair[1]) as api:
        path = kubeconfig(tmp_path / "config", api.url, cluster={"insecure-skip-tls-verify": True})
        assert Cluster(Kubernetes(kubeconfig=path)).nodes() == []
    assert capfd.readouterr().err == ""


def closed_proxy() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://user:hunter2@127.0.0.1:{listener.getsockname()[1]}"


def test_the_proxy_of_the_environment_is_used_and_named_when_it_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", closed_proxy())
    behind = at("http://kubernetes.invalid", tmp_path)
    error = fault(behind.nodes)
    assert "proxy" in error.message
    assert "hunter2" not in error.message
    monkeypatch.setenv("no_proxy", "kubernetes.invalid")
    assert "cannot be resolved" in fault(at("http://kubernetes.invalid", tmp_path).nodes).message


def test_a_server_on_this_machine_is_asked_without_the_proxy_of_the_environment(
    api: FaultyApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", closed_proxy())
    monkeypatch.setenv("no_proxy", "other.example")
    assert len(cluster(api, tmp_path).nodes()) == 1


def test_a_proxy_of_the_kubeconfig_is_used_whatever_the_environment_says(
    api: FaultyApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    path = kubeconfig(tmp_path / "config", api.url, cluster={"proxy-url": closed_proxy()})
    error = fault(Cluster(Kubernetes(kubeconfig=path)).nodes)
    assert "refuses connections through the proxy" in error.message


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4"])
def test_a_socks_proxy_without_the_package_for_it_says_what_to_install(
    api: FaultyApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.delitem(sys.modules, "urllib3.contrib.socks", raising=False)
    proxy = f"{scheme}://user:hunter2@127.0.0.1:1080"
    path = kubeconfig(tmp_path / "config", api.url, cluster={"proxy-url": proxy})
    error = fault(Cluster(Kubernetes(kubeconfig=path)).nodes)
    assert "SOCKS proxy" in error.message
    assert error.next_step.commands[0] == f"{sys.executable} -m pip install PySocks"
    assert "hunter2" not in error.message


def test_names_are_resolved_behind_a_socks_proxy_as_kubectl_does() -> None:
    configuration = Configuration()
    configuration.proxy = "socks5://127.0.0.1:1080"
    set_proxy(configuration, from_kubeconfig=True)
    assert configuration.proxy == "socks5h://127.0.0.1:1080"
