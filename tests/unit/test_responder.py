"""The script responder over HTTP: what is answered on the node's loopback, and what is not, whoever
asks.
"""

import contextlib
import os
import resource
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.unit.responder_node import (
    FORGEJO,
    INDEX,
    MANIFEST,
    OCI_MANIFEST,
    PRIVATE,
    Node,
    process_status,
)

pytestmark = pytest.mark.usefixtures("host_python")

PRIVATE_NS, FORGEJO_NS = "?ns=registry.example%3A5050", "?ns=forgejo.example"
LIMIT_KB = 40 * 1024


@dataclass(frozen=True)
class Environment:
    """Two registries' names: one image under both, one tag that they disagree about, an index of
    which only one child is there.
    """

    node: Node
    process: int
    layer: dict[str, Any]
    configuration: dict[str, Any]
    image: dict[str, Any]
    index: dict[str, Any]
    child: dict[str, Any]
    absent: dict[str, Any]
    foreign: dict[str, Any]
    foreign_layer: dict[str, Any]

    @property
    def memory_kb(self) -> int:
        return int(process_status(self.process, "VmHWM")[0])


@pytest.fixture(scope="module")
def environment(
    host_python: str,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Environment]:
    node = Node(tmp_path_factory.mktemp("node"))
    layer, configuration = (
        node.blob(bytes(range(256)) * 8192),
        node.blob(b'{"os": "linux", "architecture": "amd64"}'),
    )
    image = node.manifest(layer, config=configuration)
    child, absent = (
        node.manifest(node.blob(b"arm"), media_type=OCI_MANIFEST),
        node.manifest(node.blob(b"riscv"), media_type=OCI_MANIFEST),
    )
    index = node.index(child, absent)
    node.path_of(absent).unlink()
    foreign_layer = node.blob(b"another pod's image")
    foreign = node.manifest(foreign_layer)
    node.keep("breakglass.local/keep/0000000000000001:kept", image)
    node.keep("breakglass.local/keep/0000000000000002:kept", index)
    node.keep("registry.example:5050/secret:1", foreign)
    first, second = (
        "=breakglass.local/keep/0000000000000001:kept",
        "=breakglass.local/keep/0000000000000002:kept",
    )
    reported = node.start(
        f"{PRIVATE}:latest{first}",
        f"{FORGEJO}:latest{first}",
        f"{FORGEJO}:other{second}",
        f"registry.example:5050/viktor/infra-ci:other{first}",
        f"forgejo.example/only/here:1{second}",
    ).reported
    try:
        yield Environment(
            node,
            reported["pids"][0],
            layer,
            configuration,
            image,
            index,
            child,
            absent,
            foreign,
            foreign_layer,
        )
    finally:
        assert node.stop().status == 0


def test_a_tag_is_answered_as_containerd_asks_for_it(environment: Environment) -> None:
    head = environment.node.ask(f"/v2/infra-ci/manifests/latest{PRIVATE_NS}", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers == {
        "content-type": MANIFEST,
        "content-length": str(environment.image["size"]),
        "docker-content-digest": environment.image["digest"],
        "docker-distribution-api-version": "registry/2.0",
        "connection": "close",
    }
    got = environment.node.ask(f"/v2/infra-ci/manifests/latest{PRIVATE_NS}")
    assert got.headers == head.headers
    assert got.body == environment.node.path_of(environment.image).read_bytes()


def test_all_that_the_tag_leads_to_is_answered_by_digest(environment: Environment) -> None:
    manifest = environment.node.ask(
        f"/v2/viktor/infra-ci/manifests/{environment.image['digest']}{FORGEJO_NS}"
    )
    assert (manifest.status, manifest.headers["content-type"]) == (200, MANIFEST)
    for blob in (environment.layer, environment.configuration):
        for method in ("GET", "HEAD"):
            got = environment.node.ask(
                f"/v2/viktor/infra-ci/blobs/{blob['digest']}{FORGEJO_NS}", method
            )
            assert (
                got.status,
                got.headers["content-type"],
                got.headers["docker-content-digest"],
            ) == (200, "application/octet-stream", blob["digest"])
            assert got.headers["content-length"] == str(blob["size"])
            assert got.body == (
                environment.node.path_of(blob).read_bytes() if method == "GET" else b""
            )


def test_an_index_is_answered_with_the_children_that_are_there(environment: Environment) -> None:
    index = environment.node.ask(f"/v2/only/here/manifests/1{FORGEJO_NS}")
    assert (index.status, index.headers["content-type"]) == (200, INDEX)
    child = environment.node.ask(f"/v2/only/here/manifests/{environment.child['digest']}")
    assert (child.status, child.headers["content-type"]) == (200, OCI_MANIFEST)
    absent = environment.node.ask(f"/v2/only/here/manifests/{environment.absent['digest']}")
    assert (absent.status, absent.code) == (404, "MANIFEST_UNKNOWN")


def test_the_base_says_which_protocol_it_is(environment: Environment) -> None:
    got = environment.node.ask("/v2/")
    assert (got.status, got.body, got.headers["docker-distribution-api-version"]) == (
        200,
        b"{}",
        "registry/2.0",
    )


def test_only_names_of_the_registry_that_is_asked_for_answer(environment: Environment) -> None:
    assert (
        environment.node.ask(f"/v2/infra-ci/manifests/latest{FORGEJO_NS}", "GET").code
        == "NAME_UNKNOWN"
    )
    assert environment.node.ask("/v2/infra-ci/manifests/latest?ns=").status == 404
    assert environment.node.ask("/v2/infra-ci/manifests/latest?ns=docker.io").status == 404
    assert environment.node.ask("/v2/infra-ci/manifests/latest").status == 200
    assert environment.node.ask("/v2/infra-ci/manifests/newer").code == "MANIFEST_UNKNOWN"


def test_without_a_registry_nothing_is_guessed(environment: Environment) -> None:
    assert environment.node.ask("/v2/viktor/infra-ci/manifests/other").code == "MANIFEST_UNKNOWN"
    digests = [
        environment.node.ask(f"/v2/viktor/infra-ci/manifests/other{ns}").headers[
            "docker-content-digest"
        ]
        for ns in (PRIVATE_NS, FORGEJO_NS)
    ]
    assert digests == [environment.image["digest"], environment.index["digest"]]


def test_nothing_else_of_the_content_store_is_served(environment: Environment) -> None:
    for path in (
        f"/v2/infra-ci/manifests/{environment.foreign['digest']}",
        f"/v2/infra-ci/blobs/{environment.foreign_layer['digest']}",
        f"/v2/infra-ci/blobs/{environment.foreign['digest']}",
        f"/v2/secret/manifests/1{PRIVATE_NS}",
        f"/v2/only/here/blobs/{environment.layer['digest']}",  # another name's
        f"/v2/infra-ci/manifests/{environment.layer['digest']}",
        f"/v2/infra-ci/blobs/{environment.image['digest']}",
        "/v2/_catalog",
        "/v2/infra-ci/tags/list",
        "/v2",
        "/",
    ):
        got = environment.node.ask(path)
        assert (got.status, got.headers["content-type"]) == (404, "application/json"), path
        assert got.code in ("NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN")
        assert environment.node.ask(path, "HEAD").body == b""


@pytest.mark.parametrize(
    "path",
    [
        "/v2/../../../../etc/passwd",
        "/v2/%2e%2e/%2e%2e/etc/passwd",
        "/v2/infra-ci/blobs/../../../../../etc/passwd",
        "/v2/infra-ci/blobs/sha256:..%2f..%2f..%2fetc%2fpasswd",
        "/v2/infra-ci/manifests/%2e%2e",
        "/v2/infra-ci/manifests/late%2573t",
        "/v2//infra-ci/manifests/latest",
        "/v2/infra-ci/manifests/latest/",
        "/v2/infra-ci/manifests/latest%0a",
        "/v2/infra-ci/manifests/latest%00",
        "/v2/infra-ci/manifests/l%E4test",
        "/V2/infra-ci/manifests/latest",
        "/v2/" + "a/" * 2000 + "manifests/latest",
    ],
)
def test_odd_paths_lead_nowhere(environment: Environment, path: str) -> None:
    assert environment.node.ask(path).status == 404


def test_a_path_is_decoded_once(environment: Environment) -> None:
    assert environment.node.ask("/v2/infra%2Dci/manifests/late%73t").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"])
def test_other_methods_are_refused(environment: Environment, method: str) -> None:
    got = environment.node.ask("/v2/infra-ci/manifests/latest", method, body=b"x" * 5000)
    assert (got.status, got.headers["allow"], got.code) == (405, "GET, HEAD", "UNSUPPORTED")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v2/\r\n\r\n",
        b"GET  /v2/ HTTP/1.1\r\n\r\n",
        b"get /v2/ HTTP/1.1\r\n\r\n",
        b"GET /v2/ HTTP/2.0\r\n\r\n",
        b"GET http://127.0.0.1/v2/ HTTP/1.1\r\n\r\n",
        b"GET /v2/\x00 HTTP/1.1\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nno header\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nA: b\nC: d\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET /v2/%zz HTTP/1.1\r\n\r\n",
        b"GET /v2/#a HTTP/1.1\r\n\r\n",
        b"GET /v2/?ns=a&ns=b HTTP/1.1\r\n\r\n",
        bytes(range(256)) + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_what_is_no_http_request_is_refused(environment: Environment, request_bytes: bytes) -> None:
    assert environment.node.send(request_bytes).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v2/" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n" + b"A: b\r\n" * 2000 + b"\r\n",
        b"a" * 200_000,
    ],
)
def test_a_head_over_8_kib_is_refused(environment: Environment, request_bytes: bytes) -> None:
    assert environment.node.send(request_bytes, ends=True).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "request_bytes", [b"", b"GET /v2/ HT", b"GET /v2/\r\n", b"GET /v2/ HTTP/1.1\r\nHost: a\r\n"]
)
def test_half_a_request_is_answered_with_nothing(
    environment: Environment, request_bytes: bytes
) -> None:
    with contextlib.suppress(ConnectionResetError):
        assert environment.node.send(request_bytes, ends=True) == b""


def test_a_client_that_speaks_tls_is_reported_at_once(environment: Environment) -> None:
    """skopeo and others try TLS first. An answer that comes only when half a request is given up is
    empty.
    """
    assert environment.node.send(b"\x16\x03\x01\x02\x00\x01\x00", ends=False).startswith(
        b"HTTP/1.1 400 "
    )


def test_one_request_is_answered_per_connection(environment: Environment) -> None:
    assert environment.node.send(b"GET /v2/ HTTP/1.1\r\n\r\n" * 3).count(b"HTTP/1.1 200 OK") == 1


def test_a_blob_of_another_size_is_never_served(tmp_path: Path) -> None:
    node = Node(tmp_path)
    layer = node.blob(b"whole")
    image = node.manifest(layer)
    node.keep("breakglass.local/keep/0000000000000001:kept", image)
    try:
        assert (
            node.start(f"{PRIVATE}:latest=breakglass.local/keep/0000000000000001:kept").status == 0
        )
        assert node.ask(f"/v2/infra-ci/blobs/{layer['digest']}").body == b"whole"
        node.path_of(layer).chmod(0o644)
        node.path_of(layer).write_bytes(b"cut")
        assert node.ask(f"/v2/infra-ci/blobs/{layer['digest']}").code == "BLOB_UNKNOWN"
        node.path_of(layer).unlink()
        node.path_of(layer).with_name("elsewhere").write_bytes(b"whole")
        node.path_of(layer).symlink_to("elsewhere")
        assert node.ask(f"/v2/infra-ci/blobs/{layer['digest']}").code == "BLOB_UNKNOWN"
        manifest = node.path_of(image).read_bytes()
        node.path_of(image).chmod(0o644)
        node.path_of(image).write_bytes(
            manifest.replace(b"linux", b"minix").replace(
                b'"schemaVersion": 2', b'"schemaVersion": 3'
            )
        )
        assert node.ask("/v2/infra-ci/manifests/latest", "HEAD").status == 404
        assert node.status()["answers"] == {}
    finally:
        node.stop()


def test_a_thousand_connections_at_once_cost_no_memory_and_a_good_request_is_answered_after(
    environment: Environment,
) -> None:
    before = environment.memory_kb
    requests = (
        b"GET /v2/infra-ci/blobs/%s HTTP/1.1\r\n\r\n" % environment.layer["digest"].encode(),
        b"x" * 300_000,
        b"GET /v2/ HT",
        b"y" * 300_000,
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        with contextlib.ExitStack() as held:
            for number in range(1000):
                connection = held.enter_context(
                    socket.create_connection(("127.0.0.1", environment.node.port), timeout=5)
                )
                with contextlib.suppress(OSError):  # those over the limit are closed at once
                    connection.sendall(requests[number % len(requests)])
            assert len(os.listdir("/proc/self/fd")) > 1000  # noqa: PTH208
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    deadline = time.monotonic() + 5
    good = None
    while good is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            good = environment.node.ask(f"/v2/infra-ci/blobs/{environment.layer['digest']}").body
    assert good == environment.node.path_of(environment.layer).read_bytes()
    assert before < LIMIT_KB
    assert environment.memory_kb < LIMIT_KB


def test_it_gives_up_root_and_listens_on_loopback_only(environment: Environment) -> None:
    # 16 hexadecimal digits: address and port as the kernel has them.
    listening = [
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{environment.node.port:04X}") and line.split()[3] == "0A"
    ]
    assert listening == [f"0100007F:{environment.node.port:04X}"]
    if os.geteuid() == 0:
        assert (
            process_status(environment.process, "Uid")
            == process_status(environment.process, "Gid")
            == ["65534"] * 4
        )
        assert process_status(environment.process, "Groups") == []
    assert int(process_status(environment.process, "CapEff")[0], 16) == 0


def test_what_it_says_of_itself_is_what_is_answered(environment: Environment) -> None:
    assert environment.node.status()["answers"] == {
        f"{PRIVATE}:latest": environment.image["digest"],
        f"{FORGEJO}:latest": environment.image["digest"],
        f"{FORGEJO}:other": environment.index["digest"],
        "registry.example:5050/viktor/infra-ci:other": environment.image["digest"],
        "forgejo.example/only/here:1": environment.index["digest"],
    }
