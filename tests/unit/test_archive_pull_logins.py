"""Logins and certificates of the host's docker, as `archive pull` uses them."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.registry_server import RegistryServer, make_authority
from tests.unit.pulled_image import LAYERS, Puller, filled

pytestmark = pytest.mark.usefixtures("host_python")

REFUSED, UNREACHABLE = 3, 5


@pytest.fixture
def puller(tmp_path: Path) -> Iterator[Puller]:
    with RegistryServer() as server:
        yield filled(Puller(tmp_path, server))


@pytest.fixture
def elsewhere() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


def test_blobs_that_lie_on_another_host_come_from_there_without_the_login(
    puller: Puller, elsewhere: RegistryServer
) -> None:
    elsewhere.store = puller.server.store
    puller.server.faults.redirect = ("/blobs/", elsewhere.url)
    puller.server.faults.login = "ci:s3cret"
    puller.log_in(auths={puller.server.host: {"auth": encoded("ci:s3cret")}})
    assert puller.pull().record
    assert len(elsewhere.asked("GET", "/blobs/")) == 1 + len(LAYERS)
    assert all("Authorization" not in request.headers for request in elsewhere.requests)


def encoded(login: str) -> str:
    return base64.b64encode(login.encode()).decode()


def with_basic(puller: Puller) -> None:
    puller.server.faults.login = "ci:s3cret"


def with_bearer(puller: Puller) -> None:
    faults, url = puller.server.faults, puller.server.url
    faults.bearer = f'Bearer realm="{url}/token",service="the test"'
    faults.token_login = "ci:s3cret"


KINDS = pytest.mark.parametrize("kind", [with_basic, with_bearer])


@KINDS
@pytest.mark.parametrize("where", ["home", "$DOCKER_CONFIG"])
def test_the_login_of_the_hosts_docker_is_used(
    puller: Puller, kind: Callable[[Puller], None], where: str
) -> None:
    kind(puller)
    puller.log_in(auths={puller.server.host: {"auth": encoded("ci:s3cret")}})
    if where == "$DOCKER_CONFIG":
        (puller.directory / "home/.docker").rename(puller.directory / "docker")
        puller.environ["DOCKER_CONFIG"] = str(puller.directory / "docker")
    assert puller.pull().record


@KINDS
@pytest.mark.parametrize(
    ("keys", "status", "words"),
    [
        ({"auths": {"HOST": {"auth": encoded("ci:wrong")}}}, UNREACHABLE, "was not enough"),
        ({}, UNREACHABLE, "there is no login for HOST"),
        ({"credsStore": "pass"}, REFUSED, "kept by docker-credential-pass, which breakglass"),
        (
            {"auths": {"HOST": {}}, "credHelpers": {"HOST": "ecr-login"}},
            REFUSED,
            "kept by docker-credential-ecr-login",
        ),
        ({"auths": {"HOST": {"auth": "?"}}}, UNREACHABLE, "is malformed"),
        ({"auths": 7}, UNREACHABLE, "is not a file of registry logins"),
    ],
    ids=["wrong password", "no login", "store", "helper", "malformed", "no logins"],
)
def test_without_the_right_login_nothing_is_written(
    puller: Puller, kind: Callable[[Puller], None], keys: dict[str, Any], status: int, words: str
) -> None:
    kind(puller)
    host = puller.server.host
    puller.log_in(**json.loads(json.dumps(keys).replace("HOST", host)))
    ran = puller.pull()
    assert (ran.status, words.replace("HOST", host) in ran.sentence) == (status, True), ran.stderr
    assert "s3cret" not in ran.stderr
    assert not list(puller.shelf.iterdir())


def test_a_helper_does_not_keep_from_an_image_that_is_for_everybody(puller: Puller) -> None:
    puller.log_in(credsStore="desktop")
    assert puller.pull().record


def test_certificates_are_judged_by_what_docker_trusts_for_the_host(tmp_path: Path) -> None:
    ca, context = make_authority(tmp_path)
    with RegistryServer(tls=context) as server:
        puller = filled(Puller(tmp_path, server))
        ran = puller.pull()
        assert (ran.status, "not trusted" in ran.sentence) == (REFUSED, True)
        directory = tmp_path / "certs.d" / server.host
        directory.mkdir(parents=True)
        (directory / "ca.crt").write_bytes(ca.read_bytes())
        assert puller.pull().record
        (directory / "client.cert").write_bytes(ca.read_bytes())
        ran = puller.pull()
        assert (ran.status, "client.cert cannot be used" in ran.sentence) == (REFUSED, True)
