"""Which kubeconfig is in force, and credential plugins, seen through the adapter's wire."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from breakglass.cluster_name import ClusterName
from breakglass.config import Kubernetes
from breakglass.errors import Unreachable
from breakglass.kube import Cluster
from breakglass.sandbox.api import Api
from tests.unit.kube_wire import FaultyApi, kubeconfig, plugin

GOOD = '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"right"}}'  # noqa: E501


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def api() -> Iterator[FaultyApi]:
    with FaultyApi(token="right") as server:
        yield server


def fault(settings: Kubernetes, *, plugin_seconds: float = 5.0) -> Unreachable:
    with pytest.raises(Unreachable) as raised:
        Cluster(settings, plugin_timeout_seconds=plugin_seconds).nodes()
    reported = raised.value.message + str(raised.value.next_step) + repr(raised.value.__cause__)
    assert str(raised.value.next_step)
    assert "hunter2" not in reported, "a secret is reported"
    return raised.value


def test_without_any_kubeconfig_the_places_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"looked for {tmp_path}/home/.kube/config" in fault(Kubernetes()).message
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/one:{tmp_path}/two")
    assert f"looked for {tmp_path}/one and {tmp_path}/two" in fault(Kubernetes()).message
    assert f"looked for {tmp_path}/own" in fault(Kubernetes(kubeconfig=tmp_path / "own")).message


def test_the_usual_place_is_used_when_nothing_else_is_said(api: Api, tmp_path: Path) -> None:
    (tmp_path / "home/.kube").mkdir(parents=True)
    kubeconfig(tmp_path / "home/.kube/config", api.url, user={"token": "right"})
    assert Cluster(Kubernetes()).nodes() == []


def test_several_files_are_merged_as_kubectl_does_the_first_wins(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    (first / "token").write_text("right")
    (second / "token").write_text("wrong")
    (tmp_path / "empty").write_text("")
    kubeconfig(first / "config", api.url, context="ours", user={"tokenFile": "token"})
    kubeconfig(
        second / "config", "http://127.0.0.1:1", context="theirs", user={"tokenFile": "token"}
    )
    monkeypatch.setenv(
        "KUBECONFIG", f"{tmp_path}/absent:{tmp_path}/empty:{first}/config:{second}/config"
    )
    assert Cluster(Kubernetes()).nodes() == []
    assert "http://127.0.0.1:1 refuses connections" in fault(Kubernetes(context="theirs")).message


def test_an_unknown_context_is_answered_with_the_known_ones(api: Api, tmp_path: Path) -> None:
    error = fault(Kubernetes(kubeconfig=kubeconfig(tmp_path / "config", api.url), context="prod"))
    assert "has no context named prod" in error.message
    assert error.next_step.advice == "set kubernetes.context to one of sandbox"
    assert (
        "names no current-context"
        in fault(
            Kubernetes(kubeconfig=kubeconfig(tmp_path / "config", api.url, current=False))
        ).message
    )


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("users:\n- name: a\n  user: {token: hunter2\n", "is not YAML, see line"),
        ("- token: hunter2\n", "is not a mapping"),
        ("users: {token: hunter2}\n", "`users` is not a list"),
        ("users: [{token: hunter2}]\n", "entry 1 of `users`"),
        ("users: [{name: a, user: hunter2}]\n", "entry 1 of `users`"),
        (
            (
                "current-context: a\ncontexts: [{name: a, context: {cluster: b, user: "
                "c}}]\nclusters: [{name: b, cluster: {}}]\n"
            ),
            "gives no server",
        ),
        (
            "current-context: a\ncontexts: [{name: a, context: {cluster: b}}]\n",
            "has no cluster named b",
        ),
        (
            (
                "current-context: a\ncontexts: [{name: a, context: {cluster: b, user: "
                "c}}]\nclusters: [{name: b, cluster: {server: 'http://127.0.0.1:1'}}]\n"
            ),
            "has no user named c",
        ),
        (
            (
                "current-context: a\ncontexts: [{name: a, context: {cluster: b}}]\nclusters: "
                "[{name: b, cluster: {server: x, certificate-authority: nowhere.crt}}]\n"
            ),
            "certificate-authority",
        ),
        (
            "current-context: a\ncontexts: [{name: a, context: {cluster: b, user: "
            "c}}]\nclusters: [{name: b, cluster: {server: 'https://127.0.0.1:1'}}]\n"
            "users: [{name: c, user: {client-key-data: hunter2, client-certificate-data: "
            "hunter2}}]\n",
            "malformed",
        ),
        ("\x00hunter2", "is not YAML"),
        ("users: 2026-13-01", "is not YAML of use here"),
        ("users: !!bool perhaps", "is not YAML of use here"),
        ("[" * 5000, "is not YAML"),
        ("current-context: 0x" + "f" * 5000, "`current-context` is not a text"),
        (
            "current-context: a\ncontexts: [{name: a, context: {cluster: 5}}]\n",
            "has no cluster named 5",
        ),
        (
            "current-context: a\ncontexts: [{name: a, context: {cluster: b, user: "
            "c}}]\nclusters: [{name: b, cluster: {server: 'http://127.0.0.1:1'}}]\n"
            "users: [{name: c, user: {auth-provider: {name: oidc, config: 5}}}]\n",
            "holds no token",
        ),
        (
            (
                "current-context: a\ncontexts: [{name: a, context: {cluster: b}}]\nclusters: "
                "[{name: b, cluster: {server: x, certificate-authority: [hunter2]}}]\n"
            ),
            "is no path",
        ),
    ],
)
def test_a_malformed_kubeconfig_is_reported_without_quoting_it(
    tmp_path: Path, text: str, reported: str
) -> None:
    (tmp_path / "config").write_text(text)
    error = fault(Kubernetes(kubeconfig=tmp_path / "config"))
    assert reported in error.message
    assert "\n" not in error.message


def with_plugin(api: Api, directory: Path, script: str, **extra: object) -> Kubernetes:
    user = plugin(directory / "login", script)
    user["exec"] |= extra
    return Kubernetes(kubeconfig=kubeconfig(directory / "config", api.url, user=user))


def test_the_token_of_a_credential_plugin_is_used(api: Api, tmp_path: Path) -> None:
    assert Cluster(with_plugin(api, tmp_path, f"echo '{GOOD}'")).nodes() == []


def test_after_credentials_were_refused_the_plugin_is_asked_again(api: Api, tmp_path: Path) -> None:
    (tmp_path / "answer").write_text(GOOD.replace("right", "expired"))
    adapter = Cluster(with_plugin(api, tmp_path, f"cat {tmp_path}/answer"))
    with pytest.raises(Unreachable, match="401"):
        adapter.nodes()
    (tmp_path / "answer").write_text(GOOD)
    assert adapter.nodes() == []


def test_a_plugin_is_reported_the_cluster_and_its_environment_but_not_our_ssh_key(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BREAKGLASS_SSH_KEY", "hunter2")
    script = f"env > {tmp_path}/environment; echo '{GOOD}'"
    Cluster(
        with_plugin(
            api,
            tmp_path,
            script,
            provideClusterInfo=True,
            env=[{"name": "PROFILE", "value": "admin"}],
        )
    ).nodes()
    environment = (tmp_path / "environment").read_text()
    assert f'"server": "{api.url}"' in environment
    assert "PROFILE=admin" in environment
    assert "hunter2" not in environment


@pytest.mark.parametrize(
    ("script", "reported"),
    [
        (
            "echo hunter2 >&2; exit 3",
            "the credential plugin login of the kubeconfig {config} failed with exit status 3",
        ),
        ("echo hunter2", "printed something else than an ExecCredential"),
        ("head -c 5000 /dev/zero | tr '\\0' '['", "printed something else than an ExecCredential"),
        (
            'echo \'{"apiVersion":"client.authentication.k8s.io/v1","status":{}}\'',
            "returned neither a token nor a certificate",
        ),
        (f"echo '{GOOD}' | sed s/v1/v1beta1/", "speaks another apiVersion"),
    ],
)
def test_a_plugin_that_fails_is_reported_and_nothing_is_asked_without_credentials(
    api: FaultyApi, tmp_path: Path, capfd: pytest.CaptureFixture[str], script: str, reported: str
) -> None:
    error = fault(with_plugin(api, tmp_path, script))
    assert reported.format(config=tmp_path / "config") in error.message
    assert "kubectl get nodes" in str(error.next_step)
    assert api.requests == []
    assert capfd.readouterr() == ("", "")


def test_a_plugin_that_is_not_installed_is_named(api: FaultyApi, tmp_path: Path) -> None:
    user = {
        "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "kubelogin-of-nobody"}
    }
    error = fault(Kubernetes(kubeconfig=kubeconfig(tmp_path / "config", api.url, user=user)))
    assert "plugin kubelogin-of-nobody" in error.message
    assert "is not installed" in error.message
    assert api.requests == []


def test_a_plugin_that_hangs_is_killed_with_everything_it_started(
    api: FaultyApi, tmp_path: Path
) -> None:
    script = f"sleep 300 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/parent; wait"
    error = fault(with_plugin(api, tmp_path, script), plugin_seconds=0.5)
    assert "did not end within 0.5 s and was killed" in error.message
    assert api.requests == []
    for name in ("parent", "child"):
        assert gone(int((tmp_path / name).read_text())), f"the {name} is left"


def gone(process: int) -> bool:
    """Whether a process ends within a second (a zombie has ended)."""
    for _ in range(50):
        try:
            os.kill(process, 0)
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    os.kill(process, signal.SIGKILL)
    return False


def test_a_token_that_kubectl_left_for_an_auth_provider_is_used_as_it_is(
    api: Api, tmp_path: Path
) -> None:
    user = {
        "auth-provider": {
            "name": "oidc",
            "config": {
                "id-token": "right",
                "refresh-token": "hunter2",
                "idp-issuer-url": "http://127.0.0.1:1",
            },
        }
    }
    assert (
        Cluster(Kubernetes(kubeconfig=kubeconfig(tmp_path / "config", api.url, user=user))).nodes()
        == []
    )
    del user["auth-provider"]["config"]["id-token"]  # type: ignore[attr-defined]
    error = fault(Kubernetes(kubeconfig=kubeconfig(tmp_path / "config", api.url, user=user)))
    assert "auth-provider oidc, which holds no token" in error.message


def test_inside_a_pod_whose_service_account_is_not_mounted_that_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists():
        pytest.skip("this is a pod with a service account")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    assert "service account" in fault(Kubernetes()).message


def test_the_cluster_is_named_without_contacting_it_or_running_a_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = {"exec": {"command": "/nonexistent"}}
    path = kubeconfig(
        tmp_path / "config",
        "https://me:hunter2@10.0.20.100:6443/k8s/c-1/",
        context="home",
        user=user,
    )
    named = Cluster(Kubernetes(kubeconfig=path)).name()
    assert named == ClusterName("home", "https://10.0.20.100:6443/k8s/c-1", str(path))
    monkeypatch.setenv("KUBECONFIG", str(path))
    for settings in (Kubernetes(), Kubernetes(kubeconfig=path)):
        # kubectl by itself reads the same file.
        assert Cluster(settings).name() == ClusterName("home", "https://10.0.20.100:6443/k8s/c-1")
    path.write_text("no: [kubeconfig")
    assert Cluster(Kubernetes()).name() is None


def test_without_a_kubeconfig_only_a_pod_knows_its_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Cluster(Kubernetes()).name() is None
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    assert Cluster(Kubernetes()).name() == ClusterName(None, "https://[fd00::1]:6443")
    assert Cluster(Kubernetes(kubeconfig=tmp_path / "absent")).name() is None


def test_a_run_stays_with_the_context_that_it_began_with(
    api: FaultyApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kubeconfig(tmp_path / "config", api.url, context="home", user={"token": "right"})
    cluster = Cluster(Kubernetes(kubeconfig=path))
    assert cluster.nodes() == []
    monkeypatch.setattr("breakglass.kube.cluster.FRESH_SECONDS", 0.0)
    both = json.loads(path.read_text())
    both["contexts"].append({"name": "other", "context": {"cluster": "other"}})
    both["clusters"].append({"name": "other", "cluster": {"server": "http://127.0.0.1:1"}})
    path.write_text(json.dumps(both | {"current-context": "other"}))
    assert cluster.nodes() == []
    assert str(cluster.name()) == f"home ({api.url})"
    kubeconfig(path, "http://127.0.0.1:1", context="home", user={"token": "right"})
    with pytest.raises(Unreachable, match="the kubeconfig was changed during this run"):
        cluster.nodes()
