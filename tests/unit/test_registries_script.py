"""The script registries as it runs on a node: a process of its own that asks real servers on
loopback.
"""

import hashlib
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from breakglass.remote.limits import DOCUMENT_BYTES
from tests.interpreters import script
from tests.registry_server import TOKEN, RegistryServer, make_authority

pytestmark = pytest.mark.usefixtures("host_python")

REGISTRY = "registry.example:5050"


@dataclass(frozen=True)
class Example:
    """A registry that serves a two-platform index, with an attestation, as `latest` and `abc`."""

    server: RegistryServer
    amd64: str
    arm64: str
    index: str

    def ask(
        self,
        *,
        tags: tuple[str, ...] = ("abc",),
        seconds: str = "6",
        architecture: str = "amd64",
        url: str | None = None,
        **endpoint: Any,
    ) -> list[dict[str, Any]]:
        return answers(
            question(
                {"url": url or self.server.url, **endpoint}, tags=tags, architecture=architecture
            ),
            seconds=seconds,
        )

    def verdict(self, **settings: Any) -> tuple[str, str, list[str]]:
        (only,) = self.ask(**settings)
        return only["state"], only["detail"], only["missing"]

    def layer(self, number: int = 0) -> str:
        return self.server.store.layers_of(self.amd64)[number]


def fill(server: RegistryServer) -> Example:
    store = server.store
    amd64, arm64 = store.add_image("amd64"), store.add_image("arm64")
    attestation = {
        **store.add_image("unknown", salt="of the build"),
        "platform": {"os": "unknown", "architecture": "unknown"},
    }
    index = store.add_index(attestation, arm64, amd64)["digest"]
    store.tags |= {"latest": index, "abc": index}
    return Example(server, amd64["digest"], arm64["digest"], index)


@pytest.fixture
def example() -> Iterator[Example]:
    with RegistryServer() as server:
        yield fill(server)


@pytest.fixture
def elsewhere() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


def question(
    *endpoints: dict[str, Any], tags: tuple[str, ...] = ("abc",), architecture: str = "amd64"
) -> dict[str, Any]:
    return {
        "registry": REGISTRY,
        "endpoints": list(endpoints),
        "repository": "infra-ci",
        "tags": list(tags),
        "architecture": architecture,
    }


def run(*argv: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        script("registries", *argv),
        capture_output=True,
        text=True,
        timeout=12,
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


def answers(
    *questions: dict[str, Any], seconds: str = "6", environment: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    ended = run(json.dumps(list(questions)), seconds, environment=environment)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("\n") == 1
    assert TOKEN not in ended.stdout
    found: list[dict[str, Any]] = json.loads(ended.stdout)
    for answer in found:
        assert set(answer) == {"registry", "url", "repository", "tag", "state", "detail", "missing"}
        assert len(answer["detail"]) < 300
        assert answer["detail"].isprintable()
        assert (answer["state"] == "serves") == (answer["detail"] == "")
    return found


@dataclass
class Pages:
    """A server that gives the configured answer for a path, and notes each path and its headers."""

    url: str
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    without_head: bool = False


@contextmanager
def pages() -> Iterator[Pages]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reported.asked.append((self.command, self.path, dict(self.headers)))
            status, headers, body = reported.answers.get(
                self.path.partition("?")[0], (404, {}, b"")
            )
            if reported.without_head and self.command == "HEAD":
                status, headers, body = 405, {}, b""
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Tests ask `asked` instead."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        reported = Pages(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        thread.start()
        try:
            yield reported
        finally:
            server.shutdown()
            thread.join()


def put_image(reported: Pages, base: str, *, tag: str = "abc") -> str:
    """An image without an index, below a path; its digest."""
    layer = b"a layer"
    layer_digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    descriptor = {"digest": layer_digest, "size": len(layer)}
    manifest = json.dumps(
        {"schemaVersion": 2, "config": descriptor, "layers": [descriptor]}
    ).encode()
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    reported.answers[f"{base}/infra-ci/manifests/{tag}"] = reported.answers[
        f"{base}/infra-ci/manifests/{digest}"
    ] = (200, {"Docker-Content-Digest": digest}, manifest)
    reported.answers[f"{base}/infra-ci/blobs/{layer_digest}"] = (200, {}, layer)
    return digest


# What is served


def test_a_whole_image_is_served_and_each_blob_is_asked_for_once_for_all_tags(
    example: Example,
) -> None:
    found = example.ask(tags=("latest", "abc"))
    about = {
        "registry": REGISTRY,
        "url": example.server.url,
        "repository": "infra-ci",
        "state": "serves",
        "detail": "",
        "missing": [],
    }
    assert found == [{**about, "tag": "latest"}, {**about, "tag": "abc"}]
    store = example.server.store
    for blob in [store.config_of(example.amd64), *store.layers_of(example.amd64)]:
        assert len(example.server.asked("GET", blob)) == 1
        assert not example.server.asked("HEAD", blob)


def test_what_other_architectures_and_attestations_need_is_neither_asked_for_nor_counted(
    example: Example,
) -> None:
    store = example.server.store
    for digest in list(store.manifests):
        if digest not in (example.index, example.amd64):
            del store.manifests[digest]
    assert example.verdict()[0] == "serves"
    assert not example.server.asked("GET", example.arm64)
    assert example.verdict(architecture="arm64") == (
        "broken",
        f"HTTP 404 for {example.arm64}, its image for linux/arm64",
        [example.arm64],
    )


def test_an_image_without_an_index_is_served() -> None:
    with pages() as reported:
        put_image(reported, "/v2")
        assert answers(question({"url": reported.url}))[0]["state"] == "serves"


def test_a_registry_where_head_is_not_allowed_is_asked_with_get_and_no_blob_is_taken_along(
    elsewhere: RegistryServer,
) -> None:
    with pages() as reported:
        put_image(reported, "/v2")
        blob = next(path for path in reported.answers if "/blobs/" in path)
        reported.answers[blob] = (302, {"Location": elsewhere.url + blob}, b"")
        elsewhere.faults.flood = "/blobs/"
        reported.without_head = True
        (found,) = answers(question({"url": reported.url}))
    assert found["state"] == "broken"
    assert "1099511627776 bytes instead of 7" in found["detail"]
    assert elsewhere.asked("GET", "/blobs/")


def test_the_question_names_the_registry_and_accepts_all_four_kinds_of_manifest(
    example: Example,
) -> None:
    example.ask()
    for request in example.server.requests:
        assert request.path.endswith("?ns=registry.example%3A5050")
        if "/manifests/" in request.path:
            assert len(request.headers["Accept"].split(", ")) == 4
    assert {request.method for request in example.server.requests} == {"HEAD", "GET"}


@pytest.mark.parametrize(
    ("path", "override_path", "base"),
    [
        ("", False, "/v2"),
        ("/", False, "/v2"),
        ("/v2", False, "/v2"),
        ("/cache", False, "/cache/v2"),
        ("/cache/v2/", False, "/cache/v2"),
        ("/v2/cache", True, "/v2/cache"),
        ("/v2/cache", False, "/v2/cache/v2"),
        ("", True, ""),
    ],
)
def test_the_path_is_made_as_containerd_makes_it(path: str, override_path: bool, base: str) -> None:
    with pages() as reported:
        put_image(reported, base)
        (found,) = answers(question({"url": reported.url + path, "override_path": override_path}))
        assert (found["state"], found["url"]) == ("serves", reported.url + path)
        assert {request[1].partition("/infra-ci/")[0] for request in reported.asked} == {base}


def test_every_endpoint_has_its_own_answer_in_the_order_of_the_question(
    example: Example, elsewhere: RegistryServer
) -> None:
    found = answers(
        question({"url": elsewhere.url}, {"url": example.server.url}, tags=("nope", "abc")),
        question({"url": example.server.url}, tags=("latest",)),
    )
    assert [(answer["url"], answer["tag"], answer["state"]) for answer in found] == [
        (elsewhere.url, "nope", "lacks the tag"),
        (elsewhere.url, "abc", "lacks the tag"),
        (example.server.url, "nope", "lacks the tag"),
        (example.server.url, "abc", "serves"),
        (example.server.url, "latest", "serves"),
    ]


# What is broken


def test_an_index_whose_child_is_gone_is_broken(example: Example) -> None:
    del example.server.store.manifests[example.amd64]
    assert example.verdict() == (
        "broken",
        f"HTTP 404 for {example.amd64}, its image for linux/amd64",
        [example.amd64],
    )


def test_a_tag_whose_index_itself_is_gone_is_broken(example: Example) -> None:
    example.server.faults.status = {f"manifests/{example.index}": 404}
    assert example.verdict() == (
        "broken",
        f"HTTP 404 for {example.index}, which it announced for infra-ci:abc",
        [example.index],
    )


def test_blobs_that_are_gone_are_all_named(example: Example) -> None:
    for number in (0, 1):
        del example.server.store.blobs[example.layer(number)]
    state, detail, missing = example.verdict()
    assert (state, missing) == ("broken", [example.layer(0), example.layer(1)])
    assert f"HTTP 404 for {example.layer(0)}" in detail


def test_a_blob_of_the_wrong_length_is_broken(example: Example) -> None:
    example.server.faults.lengths = {example.layer(): 5}
    size = len(example.server.store.blobs[example.layer()])
    assert example.verdict() == (
        "broken",
        f"{example.layer()} has 5 bytes instead of {size}",
        [example.layer()],
    )


def test_bytes_that_do_not_hash_to_their_digest_are_broken(example: Example) -> None:
    content = example.server.store.manifests[example.amd64][0]
    example.server.faults.bodies = {example.amd64: content.replace(b"2", b"3", 1)}
    assert example.verdict() == (
        "broken",
        f"what is served as {example.amd64} is something else",
        [example.amd64],
    )


def test_an_index_that_does_not_hash_to_the_announced_digest_is_broken(example: Example) -> None:
    example.server.faults.bodies = {example.index: b"{}"}
    assert example.verdict() == (
        "broken",
        f"what is served as {example.index} is something else",
        [example.index],
    )


@pytest.mark.parametrize(
    "body", [b"<html>welcome</html>", b"[" * 100_000, b"[]", b'{"schemaVersion": 1}']
)
def test_a_page_that_is_no_manifest_is_broken(body: bytes) -> None:
    with pages() as reported:
        reported.answers["/v2/infra-ci/manifests/abc"] = (200, {}, body)
        (found,) = answers(question({"url": reported.url}))
    assert (found["state"], found["missing"]) == (
        "broken",
        [f"sha256:{hashlib.sha256(body).hexdigest()}"],
    )
    assert "is no JSON" in found["detail"] or "neither an index nor a manifest" in found["detail"]


def test_more_than_a_document_has_where_a_manifest_should_be_is_broken() -> None:
    with pages() as reported:
        reported.answers["/v2/infra-ci/manifests/abc"] = (200, {}, bytes(DOCUMENT_BYTES + 1))
        (found,) = answers(question({"url": reported.url}))
    assert (found["state"], found["detail"]) == (
        "broken",
        f"more than {DOCUMENT_BYTES} bytes where a manifest should be",
    )


def test_an_index_without_the_architecture_is_broken(example: Example) -> None:
    assert example.verdict(architecture="s390x") == (
        "broken",
        "its index has no image for linux/s390x",
        [],
    )


@pytest.mark.parametrize("fault", ["drip", pytest.param("hang", marks=pytest.mark.slow)])
def test_what_is_gone_counts_also_where_another_blob_is_never_answered(
    example: Example, fault: str
) -> None:
    setattr(example.server.faults, fault, example.layer(0))
    del example.server.store.blobs[example.layer(1)]
    assert example.verdict(seconds="1") == (
        "broken",
        f"HTTP 404 for {example.layer(1)}",
        [example.layer(1)],
    )


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
