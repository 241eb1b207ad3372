"""A login goes to the host that it is for, and over TLS: whatever a registry, or who answers for
it, redirects to or names as its token service.
"""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from breakglass.registry import Credentials, Login
from breakglass.remote.distribution.urls import gets_login
from tests.registry_server import RegistryServer, make_authority
from tests.unit.registry_example import Example, fill

LOGIN = "ci:s3cret:with colon"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def secure(authority: tuple[Path, ssl.SSLContext]) -> Iterator[Example]:
    with RegistryServer(tls=authority[1]) as server:
        yield fill(server)


@pytest.fixture
def elsewhere(authority: tuple[Path, ssl.SSLContext]) -> Iterator[RegistryServer]:
    with RegistryServer(tls=authority[1]) as server:
        yield server


@pytest.fixture
def clear() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


def logins_seen(server: RegistryServer) -> list[str]:
    return [
        request.path
        for request in server.requests
        if "Authorization" in request.headers or b"refresh_token" in request.body
    ]


@pytest.mark.parametrize("what", ["/v2/", "/manifests/", "/blobs/"])
def test_a_redirect_that_leaves_tls_is_not_followed(
    secure: Example, authority: tuple[Path, ssl.SSLContext], clear: RegistryServer, what: str
) -> None:
    clear.store = secure.server.store
    secure.server.faults.redirect = (what, clear.url)
    found = secure.look(ca=authority[0])
    assert (found.state, clear.requests) == ("unreachable", [])
    assert found.detail == f"redirected to {clear.host} without TLS; this is not followed"


def test_a_redirect_that_leaves_tls_at_its_second_step_is_not_followed(
    secure: Example,
    authority: tuple[Path, ssl.SSLContext],
    elsewhere: RegistryServer,
    clear: RegistryServer,
) -> None:
    clear.store = secure.server.store
    secure.server.faults.redirect = ("/blobs/", elsewhere.url)
    elsewhere.faults.redirect = ("/blobs/", clear.url)
    assert secure.look(ca=authority[0]).state == "unreachable"
    assert elsewhere.asked("GET", "/blobs/")
    assert clear.requests == []


def test_a_token_service_that_redirects_out_of_tls_is_not_followed(
    secure: Example, authority: tuple[Path, ssl.SSLContext], clear: RegistryServer
) -> None:
    secure.server.faults.bearer = f'Bearer realm="{secure.server.url}/token"'
    secure.server.faults.redirect = ("/token", clear.url)
    found = secure.look(credentials=secure.login(), ca=authority[0])
    assert (found.state, clear.requests) == ("unreachable", [])
    assert "its token service" in found.detail


def test_blobs_of_another_server_are_read_over_tls_without_the_login(
    secure: Example, authority: tuple[Path, ssl.SSLContext], elsewhere: RegistryServer
) -> None:
    elsewhere.store = secure.server.store
    secure.server.faults.login = LOGIN
    secure.server.faults.redirect = ("/blobs/", elsewhere.url)
    assert secure.look(credentials=secure.login(), ca=authority[0]).state == "serves"
    assert elsewhere.asked("GET", "/blobs/")
    assert logins_seen(elsewhere) == []


def test_whoever_redirects_back_to_the_registry_does_not_say_where_the_login_goes(
    secure: Example, authority: tuple[Path, ssl.SSLContext], elsewhere: RegistryServer
) -> None:
    secure.server.faults.login = LOGIN
    secure.server.faults.redirect = ("/blobs/", elsewhere.url)
    elsewhere.faults.redirect = ("/blobs/", f"{secure.server.url}/chosen-elsewhere")
    secure.look(credentials=secure.login(), ca=authority[0])
    assert secure.server.asked("GET", "/chosen-elsewhere")
    assert [path for path in logins_seen(secure.server) if "/chosen-elsewhere" in path] == []


def test_another_host_may_be_the_token_service_over_tls(
    secure: Example, authority: tuple[Path, ssl.SSLContext], elsewhere: RegistryServer
) -> None:
    secure.server.faults.bearer = f'Bearer realm="{elsewhere.url}/token"'
    elsewhere.faults.token_login = LOGIN
    assert secure.look(credentials=secure.login(), ca=authority[0]).state == "serves"
    assert len(logins_seen(elsewhere)) == 1


def test_a_token_service_that_redirects_elsewhere_does_not_pass_the_login_on(
    secure: Example, authority: tuple[Path, ssl.SSLContext], elsewhere: RegistryServer
) -> None:
    secure.server.faults.bearer = f'Bearer realm="{secure.server.url}/token"'
    secure.server.faults.redirect = ("/token", elsewhere.url)
    secure.look(credentials=secure.login(), ca=authority[0])
    identity = Login(identity_token="refresh-me")
    secure.look(
        credentials=Credentials("auth.json", {secure.server.host: identity}), ca=authority[0]
    )
    assert len(logins_seen(secure.server)) >= 2
    assert logins_seen(elsewhere) == []


def test_a_registry_in_the_clear_names_no_other_host_in_the_clear(clear: RegistryServer) -> None:
    with RegistryServer() as other:
        example = fill(clear)
        clear.faults.bearer = f'Bearer realm="http://localhost:{other.port}/token"'
        found = example.look(credentials=example.login())
        assert (found.state, other.requests) == ("refuses", [])
    assert "no login is sent there" in found.detail


@pytest.mark.parametrize(
    ("realm", "registry", "verdict"),
    [
        ("https://r.example/token", "https://r.example", True),
        ("https://auth.example/token", "https://r.example", True),
        ("https://auth.example/token", "http://r.example", True),
        ("http://r.example:5001/token", "http://r.example:5000", True),
        ("http://r.example/token", "https://r.example", False),
        ("http://auth.example/token", "http://r.example", False),
        ("http://r.example@auth.example/token", "http://r.example", False),
        ("http://r.example.auth.example/token", "http://r.example", False),
        ("http://[r.example/token", "http://r.example", False),
        ("ftp://r.example/token", "http://r.example", False),
        ("//r.example/token", "https://r.example", False),
        ("", "http://r.example", False),
    ],
)
def test_which_token_service_gets_the_login(realm: str, registry: str, verdict: bool) -> None:
    assert gets_login(realm, registry) is verdict


@pytest.mark.parametrize(
    "host",
    [
        "registry.example",
        "registry.example:5051",
        "registry.example:50500",
        "other.registry.example:5050",
        "registry.example.other:5050",
        "example:5050",
    ],
)
def test_a_login_is_for_exactly_one_host_and_port(host: str) -> None:
    login = Login("ci", "s3cret")
    credentials = Credentials("auth.json", {"registry.example:5050": login})
    assert credentials.find("registry.example:5050", "infra-ci") == login
    assert credentials.find(host, "infra-ci") is None
    assert credentials.find(host, "registry.example:5050") is None
