"""The script that asks registries from a node: logins, failures and deadlines."""

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.registry_server import TOKEN, RegistryServer
from tests.unit.registries_question import Example, answers, fill, pages, question

pytestmark = pytest.mark.usefixtures("host_python")


@pytest.fixture
def example() -> Iterator[Example]:
    with RegistryServer() as server:
        yield fill(server)


@pytest.fixture
def elsewhere() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


# What is refused


def test_a_registry_that_wants_a_login_refuses(example: Example) -> None:
    example.server.faults.login = "ci:secret"
    assert example.verdict() == (
        "refuses",
        "HTTP 401 for infra-ci/manifests/abc: it wants a login",
        [],
    )
    assert not any("Authorization" in request.headers for request in example.server.requests)


def test_a_registry_that_forbids_refuses(example: Example) -> None:
    example.server.faults.status = {"/v2/": 403}
    assert example.verdict()[0] == "refuses"


def test_a_token_for_everybody_is_taken_once_and_used(example: Example) -> None:
    example.server.faults.bearer = f'Bearer realm="{example.server.url}/token",service="a, service"'
    assert [answer["state"] for answer in example.ask(tags=("latest", "abc"))] == [
        "serves",
        "serves",
    ]
    (request,) = example.server.asked("GET", "/token")
    assert request.path == "/token?service=a%2C+service&scope=repository%3Ainfra-ci%3Apull"
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        (401, "refuses", "gives no token without a login: HTTP 401"),
        (403, "refuses", "gives no token without a login: HTTP 403"),
        (500, "unreachable", "HTTP 500 without a token"),
    ],
)
def test_a_token_service_that_gives_no_token_is_asked_once(
    example: Example, status: int, state: str, words: str
) -> None:
    example.server.faults.bearer = f'Bearer realm="{example.server.url}/token"'
    example.server.faults.status = {"/token": status}
    for answer in example.ask(tags=("latest", "abc")):
        assert answer["state"] == state
        assert words in answer["detail"]
    assert len(example.server.asked("GET", "/token")) == 1


def test_a_token_that_is_not_enough_is_a_refusal_and_never_printed() -> None:
    with pages() as reported:
        reported.answers["/v2/infra-ci/manifests/abc"] = (
            401,
            {"WWW-Authenticate": f'Bearer realm="{reported.url}/token"'},
            b"",
        )
        reported.answers["/token"] = (200, {}, json.dumps({"access_token": TOKEN}).encode())
        (found,) = answers(question({"url": reported.url}))
        assert found["state"] == "refuses"
        assert [request[2].get("Authorization") for request in reported.asked] == [
            None,
            None,
            f"Bearer {TOKEN}",
        ]


def test_a_token_that_comes_back_in_an_address_is_not_printed(example: Example) -> None:
    example.server.faults.bearer = f'Bearer realm="{example.server.url}/token"'
    example.server.faults.redirect = ("/blobs/", f"http://{TOKEN}:99999")
    assert example.verdict() == (
        "unreachable",
        "redirected to (token):99999: its address cannot be used",
        [],
    )


def test_a_redirect_to_another_host_does_not_carry_the_token(
    example: Example, elsewhere: RegistryServer
) -> None:
    elsewhere.store.blobs = example.server.store.blobs
    example.server.faults.bearer = f'Bearer realm="{example.server.url}/token"'
    example.server.faults.redirect = ("/blobs/", elsewhere.url)
    assert example.verdict()[0] == "serves"
    assert {
        request.headers.get("Authorization") for request in example.server.asked("GET", "/blobs/")
    } == {f"Bearer {TOKEN}"}
    assert len(elsewhere.asked("GET", "/blobs/")) == 3
    assert not any("Authorization" in request.headers for request in elsewhere.requests)


def test_a_challenge_of_another_host_is_not_met(
    example: Example, elsewhere: RegistryServer
) -> None:
    elsewhere.faults.bearer = f'Bearer realm="{elsewhere.url}/token"'
    example.server.faults.redirect = ("/manifests/", elsewhere.url)
    assert example.verdict() == (
        "refuses",
        (
            f"HTTP 401 for infra-ci/manifests/abc: it wants a login, says {elsewhere.host}, "
            f"where it redirects to"
        ),
        [],
    )
    assert not elsewhere.asked("GET", "/token")


# What is not reached


@pytest.mark.parametrize("status", [500, 502, 503, 400])
def test_a_server_that_fails_is_unreachable(example: Example, status: int) -> None:
    example.server.faults.status = {"/v2/": status}
    assert example.verdict() == ("unreachable", f"HTTP {status} for infra-ci:abc", [])


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (502, "unreachable"),
        (503, "unreachable"),
        (504, "unreachable"),
        (500, "broken"),
        (404, "broken"),
    ],
)
@pytest.mark.parametrize("part", ["child", "blob"])
def test_a_failure_in_the_middle_speaks_of_the_server_or_of_the_image(
    example: Example, part: str, status: int, state: str
) -> None:
    digest = example.amd64 if part == "child" else example.layer()
    example.server.faults.status = {digest: status}
    found, detail, missing = example.verdict()
    assert (found, missing) == (state, [digest] if state == "broken" else [])
    assert detail.startswith(f"HTTP {status} for {digest}")


def test_a_refused_connection_is_unreachable(example: Example) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert example.verdict(url=f"http://127.0.0.1:{unused.getsockname()[1]}") == (
            "unreachable",
            "connection refused",
            [],
        )


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_accepts_and_never_answers_ends_with_the_deadline_and_hides_no_other(
    example: Example, scheme: str
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        found = answers(
            question(
                {"url": f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"},
                {"url": example.server.url},
            ),
            seconds="1.2",
        )
    assert [(answer["state"], answer["detail"]) for answer in found] == [
        ("unreachable", "no answer within 1.2 s"),
        ("serves", ""),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["drip", "hang"])
@pytest.mark.parametrize(
    "part",
    [
        "/manifests/",
        *(pytest.param(part, marks=pytest.mark.slow) for part in ("/blobs/", "/token")),
    ],
)
def test_an_answer_that_never_ends_is_none(example: Example, fault: str, part: str) -> None:
    example.server.faults.bearer = f'Bearer realm="{example.server.url}/token"'
    setattr(example.server.faults, fault, part)
    began = time.monotonic()
    state, detail, _ = example.verdict(seconds="0.8")
    assert (state, detail.rpartition(": ")[2]) == ("unreachable", "no answer within 0.8 s")
    # The server itself would give up after 20 s.
    assert time.monotonic() - began < 10


@pytest.mark.slow
def test_a_connection_that_nobody_accepts_is_unreachable(example: Example) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        verdict = example.verdict(url=f"http://127.0.0.1:{full.getsockname()[1]}")
    assert verdict == ("unreachable", "no connection within 3 s", [])


def test_a_connection_that_is_cut_in_the_middle_is_unreachable(example: Example) -> None:
    example.server.faults.cut = f"manifests/{example.index}"
    assert example.verdict() == (
        "unreachable",
        "the connection was cut in the middle of an answer",
        [],
    )


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("", "it redirects without end"),
        ("ftp://files.example/x", "redirected to files.example: its address cannot be used"),
        ("http://127.0.0.1:99999/x", "redirected to 127.0.0.1:99999: its address cannot be used"),
        ("http://[x/\x1b[31m", "its address cannot be used"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_unreachable(location: str, words: str) -> None:
    with pages() as reported:
        reported.answers["/v2/infra-ci/manifests/abc"] = (
            302,
            {"Location": location or f"{reported.url}/v2/infra-ci/manifests/abc"},
            b"",
        )
        (found,) = answers(question({"url": reported.url}))
        assert (found["state"], found["detail"]) == ("unreachable", words)
        assert len(reported.asked) == (1 if location else 6)


@pytest.mark.parametrize(
    "url",
    [
        "http://[bad",
        "ftp://files.example",
        "http://",
        "http://127.0.0.1:99999",
        "http://" + "a" * 70 + ".example",
    ],
)
def test_an_endpoint_that_is_no_address_is_unreachable(example: Example, url: str) -> None:
    assert example.verdict(url=url)[0] == "unreachable"


def test_words_of_a_server_are_printed_inert() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def reply() -> None:
            wire, _ = listening.accept()
            with wire:
                wire.recv(4096)
                wire.sendall(b"\x1b[31mred\x07 " + b"long " * 200 + b"\r\n\r\n")

        thread = threading.Thread(target=reply)
        thread.start()
        (found,) = answers(question({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}))
        thread.join()
    assert found["state"] == "unreachable"
    assert found["detail"].startswith("it does not answer in HTTP: [31mred long")
    assert found["detail"].endswith("…")
