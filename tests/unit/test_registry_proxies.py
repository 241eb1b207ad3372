"""Registries behind a proxy: which one is used, by Go's rules, and what is said when it fails."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from breakglass.config import Registry
from breakglass.registry import Found, look
from breakglass.remote.distribution.answers import NotServed
from breakglass.remote.distribution.proxies import proxy_for
from breakglass.remote.registries.containerd import proxies_of_containerd
from tests.proxy_server import Proxy, running_proxy
from tests.registry_server import RegistryServer, make_authority
from tests.unit.registry_example import NOBODY, Example, fill

HTTPS = "https://registry.example:5050/v2/"
BOTH = {"HTTPS_PROXY": "http://secure.proxy:3128", "HTTP_PROXY": "http://plain.proxy"}


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        (HTTPS, {}, None),
        (HTTPS, BOTH, "the proxy secure.proxy:3128"),
        ("http://registry.example/", BOTH, "the proxy plain.proxy:80"),
        (HTTPS, {"https_proxy": "lower.proxy:8080"}, "the proxy lower.proxy:8080"),
        (HTTPS, {"HTTPS_PROXY": "a:1", "https_proxy": "b:2"}, "the proxy a:1"),
        (HTTPS, {"HTTPS_PROXY": ""}, None),
        (HTTPS, {"HTTP_PROXY": "a:1", "ALL_PROXY": "b:2"}, None),
        # This machine's own services are never asked through a proxy.
        ("https://localhost:5050/", BOTH, None),
        ("https://127.9.9.9/", BOTH, None),
        ("https://[::1]:5050/", BOTH, None),
    ],
)
def test_the_proxy_is_that_of_the_environment(
    url: str, environ: dict[str, str], proxy: str | None
) -> None:
    used = proxy_for(url, environ)
    assert (str(used) if used else None) == proxy


@pytest.mark.parametrize(
    ("host", "no_proxy", "direct"),
    [
        ("registry.example", "registry.example", True),
        ("registry.example", "REGISTRY.example , other", True),
        ("registry.example", "example", True),
        ("registry.example", ".example", True),
        ("registry.example", "*.example", True),
        ("registry.example", "*", True),
        ("registry.example", "ry.example", False),
        ("example", ".example", False),
        ("registry.example", "registry.example:5050", True),
        ("registry.example", "registry.example:443", False),
        ("registry.example", ".example:5050", True),
        ("registry.example", "", False),
        ("registry.example", ",,", False),
        ("registry.example", "10.0.0.0/8", False),
        ("10.0.20.10", "10.0.0.0/8", True),
        ("10.0.20.10", "10.0.20.11/24", True),
        ("10.0.20.10", "10.0.20.10", True),
        ("10.0.20.10", "10.0.20.10:5050", True),
        ("10.0.20.10", "10.0.20.10:443", False),
        ("10.0.20.10", "192.168.0.0/16,20.10,nonsense/8", False),
        ("[2001:db8::1]", "2001:db8::/32", True),
        ("[2001:db8::1]", "[2001:db8::1]:5050", True),
        ("[2001:db8::1]", "2001:db8:0::1", True),
    ],
)
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_no_proxy_excepts_names_with_their_subdomains_addresses_and_networks(
    host: str, no_proxy: str, direct: bool, variable: str
) -> None:
    used = proxy_for(f"https://{host}:5050/v2/", {**BOTH, variable: no_proxy})
    assert (used is None) == direct


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("socks5://u:hunter2@a:1", "the proxy in HTTPS_PROXY is socks5://, and only http:// can"),
        ("https://u:hunter2@a", "the proxy in HTTPS_PROXY is https://, and only http:// can"),
        ("http://u:hunter2@:1", "HTTPS_PROXY holds no address of a proxy"),
        ("http://hunter2:99999", "HTTPS_PROXY holds no address of a proxy"),
        ("http://[hunter2", "HTTPS_PROXY holds no address of a proxy"),
    ],
)
def test_a_proxy_that_can_not_be_used_is_named_by_its_variable(address: str, words: str) -> None:
    with pytest.raises(NotServed) as raised:
        proxy_for(HTTPS, {"HTTPS_PROXY": address})
    assert raised.value.state == "unreachable"
    assert raised.value.detail.startswith(words)
    assert "hunter2" not in raised.value.detail


# With a registry behind one


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def example() -> Iterator[Example]:
    with RegistryServer() as server:
        yield fill(server)


@pytest.fixture
def proxy(example: Example, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with running_proxy(example.server.port) as running:
        monkeypatch.setenv("HTTP_PROXY", running.url.replace("//", "//ci:s3cret%40@"))
        monkeypatch.setenv("HTTPS_PROXY", running.url)
        yield running


def looked(url: str, *, ca: Path | None = None, seconds: float = 4.0) -> Found:
    registry = Registry("forgejo", url, "infra-ci", ca)
    return look(registry, "abc", credentials=NOBODY, deadline_seconds=seconds)


def test_a_registry_without_tls_is_asked_through_the_proxy_with_its_login(proxy: Proxy) -> None:
    assert looked("http://registry.example:5050").state == "serves"
    assert proxy.asked[0] == "GET http://registry.example:5050/v2/ HTTP/1.1 Basic Y2k6czNjcmV0QA=="


def test_a_registry_with_tls_is_asked_through_a_tunnel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, context = make_authority(tmp_path)
    with RegistryServer(tls=context) as server, running_proxy(server.port) as proxy:
        fill(server)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert looked("https://registry.example", ca=ca).state == "serves"
        assert set(proxy.asked) == {"CONNECT registry.example:443 HTTP/1.1"}
        untrusted = looked("https://registry.example")
        assert untrusted.state == "not trusted"
        assert looked("https://other.example", ca=ca).state == "not trusted"


def test_where_a_registry_redirects_to_has_a_proxy_of_its_own(
    example: Example, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    example.server.faults.redirect = ("/v2/infra-ci/blobs/", "http://storage.example/x")
    example.server.faults.status["/x/"] = 404
    assert example.look().state == "broken"
    assert {each.partition("/v2/")[0] for each in proxy.asked} == {"GET http://storage.example/x"}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (407, "wants a login: HTTP 407"),
        (403, "does not connect: HTTP 403"),
        (502, "does not connect: HTTP 502"),
    ],
)
def test_a_proxy_that_refuses_is_named(proxy: Proxy, status: int, words: str) -> None:
    proxy.refuses_with = status
    found = looked("https://registry.example")
    assert found.state == "unreachable"
    assert found.detail == f"the proxy {proxy.url.removeprefix('http://')} {words}"
    if status == 407:
        assert looked("http://registry.example").detail == found.detail


def test_a_proxy_that_is_down_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("HTTPS_PROXY", f"http://u:hunter2@{address}")
    found = looked("https://registry.example")
    assert (found.state, found.detail) == (
        "unreachable",
        f"the proxy {address}: connection refused",
    )


def test_a_proxy_that_never_answers_ends_with_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("HTTPS_PROXY", address)
        found = looked("https://registry.example", seconds=0.5)
    assert found.state == "unreachable"
    assert found.detail == f"the proxy {address}: no complete answer within 0.5 s"


# On a node: as its containerd


def test_a_nodes_proxy_is_that_of_its_containerd(tmp_path: Path) -> None:
    def add(number: int, program: str, namespace: str, environ: bytes) -> None:
        directory = tmp_path / str(number)
        (directory / "ns").mkdir(parents=True)
        (directory / "ns/pid").symlink_to(namespace)
        (directory / "comm").write_text(f"{program}\n")
        (directory / "environ").write_bytes(environ)

    assert proxies_of_containerd(tmp_path) == {}, "no /proc"
    add(7, "python3", "pid:[1]", b"HTTPS_PROXY=mine\0")
    (tmp_path / "self").symlink_to("7")
    assert proxies_of_containerd(tmp_path) == {}, "no containerd"
    add(80, "containerd", "pid:[2]", b"HTTPS_PROXY=of-a-container\0")
    assert proxies_of_containerd(tmp_path) == {}, "that of a container does not count"
    add(90, "containerd", "pid:[1]", b"PATH=/bin\0HTTPS_PROXY=http://a=b:1\0no_proxy=b\0odd\0")
    add(100, "containerd", "pid:[1]", b"HTTPS_PROXY=later\0")
    assert proxies_of_containerd(tmp_path) == {
        "HTTPS_PROXY": "http://a=b:1",
        "no_proxy": "b",
    }
    (tmp_path / "90/environ").unlink()
    assert proxies_of_containerd(tmp_path) == {"HTTPS_PROXY": "later"}, "it has ended"
