"""The script that asks registries from a node: TLS, its arguments."""

import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.registry_server import RegistryServer, make_authority
from tests.unit.registries_question import Example, answers, fill, question, run

pytestmark = pytest.mark.usefixtures("host_python")


@pytest.fixture
def example() -> Iterator[Example]:
    with RegistryServer() as server:
        yield fill(server)


# TLS, and what surrounds us


@dataclass(frozen=True)
class Secure:
    example: Example
    ca: Path


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Secure]:
    ca, context = make_authority(tmp_path)
    with RegistryServer(tls=context) as server:
        yield Secure(fill(server), ca)


def test_a_private_ca_vouches_for_a_registry(secure: Secure) -> None:
    assert secure.example.verdict(ca=[str(secure.ca)])[0] == "serves"
    assert (
        secure.example.verdict(url=secure.example.server.host, ca=[str(secure.ca)])[0] == "serves"
    ), "https is what containerd takes where there is no scheme"


def test_without_its_ca_a_registry_is_not_trusted(secure: Secure) -> None:
    state, detail, _ = secure.example.verdict()
    assert state == "not trusted"
    assert detail.startswith("its certificate is not trusted: ")


def test_with_skip_verify_no_certificate_matters(secure: Secure) -> None:
    assert secure.example.verdict(skip_verify=True)[0] == "serves"


def test_a_certificate_for_another_name_is_not_trusted(secure: Secure) -> None:
    assert (
        secure.example.verdict(
            url=f"https://localhost:{secure.example.server.port}", ca=[str(secure.ca)]
        )[0]
        == "not trusted"
    )


def test_a_redirect_that_leaves_tls_is_not_followed(secure: Secure, example: Example) -> None:
    secure.example.server.faults.redirect = ("/manifests/", example.server.url)
    why = f"redirected to {example.server.host} without TLS; this is not followed"
    assert secure.example.verdict(ca=[str(secure.ca)]) == ("unreachable", why, [])
    assert example.server.requests == []


def test_a_server_without_tls_is_reported_apart(example: Example) -> None:
    state, detail, _ = example.verdict(url=example.server.url.replace("http:", "https:"))
    assert state == "unreachable"
    assert detail.startswith("TLS fails: ")


def test_the_certificate_of_the_client_is_shown(tmp_path: Path) -> None:
    ca, context = make_authority(tmp_path)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    chain = str(tmp_path / "server.pem")
    with RegistryServer(tls=context) as server:
        example = fill(server)
        assert example.verdict(ca=[str(ca)], client=[[chain, ""]])[0] == "serves"
        assert example.verdict(ca=[str(ca)], client=[[chain, chain]])[0] == "serves"
        assert example.verdict(ca=[str(ca)])[0] == "unreachable"


@pytest.mark.parametrize("endpoint", [{"ca": ["FILE"]}, {"client": [["FILE", "FILE"]]}])
def test_a_tls_file_that_cannot_be_used_is_named(
    secure: Secure, tmp_path: Path, endpoint: dict[str, Any]
) -> None:
    file = tmp_path / "odd.pem"
    settings = json.loads(json.dumps(endpoint).replace("FILE", str(file)))
    assert secure.example.verdict(**settings) == (
        "unreachable",
        f"the TLS file {file} cannot be used: no such file or directory",
        [],
    )
    file.write_text("nothing")
    assert secure.example.verdict(**settings) == (
        "unreachable",
        f"the TLS file {file} cannot be used: it holds nothing usable",
        [],
    )


def test_proxies_and_stored_logins_are_not_used(example: Example, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ci password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    example.server.faults.login = "ci:secret"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{unused.getsockname()[1]}"
        (found,) = answers(
            question({"url": example.server.url}),
            environment={
                "HOME": str(tmp_path),
                "http_proxy": proxy,
                "HTTP_PROXY": proxy,
                "ALL_PROXY": proxy,
            },
        )
    assert found["state"] == "refuses"


# The arguments


GOOD = question({"url": "http://127.0.0.1:1"})


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("{",),
        ("{}",),
        ("[1]",),
        ("[" * 100_000,),
        ("[]", "soon"),
        ("[]", "0"),
        ("[]", "1", "2"),
        (json.dumps([{**GOOD, "more": 1}]),),
        (json.dumps([{**GOOD, "repository": "../x"}]),),
        (json.dumps([{**GOOD, "registry": "a b"}]),),
        (json.dumps([{**GOOD, "tags": "abc"}]),),
        (json.dumps([{**GOOD, "tags": ["a/b\x1b"]}]),),
        (json.dumps([{**GOOD, "architecture": None}]),),
        (json.dumps([{**GOOD, "endpoints": [{}]}]),),
        (json.dumps([{**GOOD, "endpoints": [{"url": "http://x", "ca": "/x"}]}]),),
        (json.dumps([{**GOOD, "endpoints": [{"url": "http://x", "client": ["/x"]}]}]),),
        (json.dumps([{**GOOD, "endpoints": [{"url": "http://x", "skip_verify": "no"}]}]),),
        (json.dumps([{**GOOD, "endpoints": [{"url": "http://x", "mirror": True}]}]),),
    ],
)
@pytest.mark.slow
def test_a_bad_argument_is_one_sentence_and_exit_2(argv: tuple[str, ...]) -> None:
    ended = run(*argv)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("breakglass-remote.pyz registries: ")
    assert ended.stderr.count("\n") == 1


def test_no_questions_have_no_answers() -> None:
    assert answers() == []
