"""Bytes of every blob are read, and no more than that, by both clients."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from breakglass.remote.distribution.answers import NotServed
from breakglass.remote.distribution.blobs import BEGINNING_BYTES, WHOLE_BYTES
from breakglass.remote.registries.look import check_image
from breakglass.remote.registries.session import AnonymousSession
from tests.registry_server import RegistryServer, digest_of
from tests.unit.registry_example import Example, fill

LARGE = 5 << 20

Verdict = tuple[str, str, tuple[str, ...]]


@dataclass(frozen=True)
class Case:
    example: Example
    verdict: Callable[[], Verdict]
    """State, detail and missing digests, as one of the clients says them."""

    @property
    def server(self) -> RegistryServer:
        return self.example.server

    @property
    def layer(self) -> str:
        return self.server.store.layers_of(self.example.amd64)[0]

    def add_layer(self, content: bytes) -> str:
        """An image with this one layer under the tag that is looked at."""
        store = self.server.store
        store.blobs[digest_of(content)] = content
        configuration = store.config_of(self.example.amd64)
        described = [
            {"digest": digest, "size": len(store.blobs[digest])}
            for digest in (configuration, digest_of(content))
        ]
        manifest = {"schemaVersion": 2, "config": described[0], "layers": described[1:]}
        store.tags["abc"] = store.add_manifest(manifest, "application/json")["digest"]
        return digest_of(content)


def _of_operator(example: Example) -> Verdict:
    found = example.look(platform="linux/amd64")
    return found.state, found.detail, found.missing


def _of_node(example: Example) -> Verdict:
    question = {"registry": "registry.example", "repository": example.server.repository}
    endpoint = {
        "url": example.server.url,
        "override_path": False,
        "ca": [],
        "client": [],
        "skip_verify": False,
    }
    session = AnonymousSession(question, endpoint, time.monotonic(), 4.0, environ={})
    try:
        check_image(session, "abc", "amd64")
    except NotServed as not_served:
        return not_served.state, not_served.detail, not_served.missing
    return "serves", "", ()


@pytest.fixture(params=[_of_operator, _of_node], ids=["operator", "node"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with RegistryServer() as server:
        example = fill(server, layer_bytes=LARGE)
        yield Case(example, lambda: request.param(example))


def test_of_a_large_blob_the_first_and_the_last_byte_are_read(case: Case) -> None:
    assert case.verdict() == ("serves", "", ())
    asked = case.server.asked("GET", case.layer)
    assert [request.headers["Range"] for request in asked] == [
        "bytes=0-0",
        f"bytes={LARGE - 1}-{LARGE - 1}",
    ]


def test_a_small_blob_is_read_whole_and_compared_with_its_digest(case: Case) -> None:
    configuration = case.server.store.config_of(case.example.amd64)
    content = case.server.store.blobs[configuration]
    case.server.faults.bodies[configuration] = content.replace(b"linux", b"mimix")
    words = f"what is served as {configuration} is something else"
    assert case.verdict() == ("broken", words, (configuration,))
    assert all("Range" not in each.headers for each in case.server.asked("GET", configuration))


@pytest.mark.parametrize("sends_parts", [True, False])
def test_a_layer_that_only_head_knows_is_broken(case: Case, sends_parts: bool) -> None:
    case.server.faults.sends_parts = sends_parts
    case.server.faults.gone[case.layer] = 0
    expected = 1 if sends_parts else BEGINNING_BYTES
    words = f"the bytes of {case.layer} do not come: 0 of {expected}"
    assert case.verdict() == ("broken", words, (case.layer,))


def test_a_small_blob_of_which_nothing_comes_is_broken(case: Case) -> None:
    configuration = case.server.store.config_of(case.example.amd64)
    size = len(case.server.store.blobs[configuration])
    case.server.faults.gone[configuration] = 0
    assert case.verdict() == (
        "broken",
        f"the bytes of {configuration} do not come: 0 of {size}",
        (configuration,),
    )


def test_a_layer_that_is_cut_short_on_the_registrys_disk_is_broken(case: Case) -> None:
    case.server.faults.gone[case.layer] = LARGE - 1
    words = f"the bytes of {case.layer} do not come: 0 of 1"
    assert case.verdict() == ("broken", words, (case.layer,))


@pytest.mark.parametrize("sends_parts", [True, False])
def test_a_large_blob_of_another_length_is_broken(case: Case, sends_parts: bool) -> None:
    case.server.faults.sends_parts = sends_parts
    case.server.faults.lengths[case.layer] = LARGE - 7
    words = f"{case.layer} has {LARGE - 7} bytes instead of {LARGE}"
    assert case.verdict() == ("broken", words, (case.layer,))


def test_single_bytes_are_asked_for_where_a_registry_redirects_to(case: Case) -> None:
    with RegistryServer(case.server.store) as storage:
        case.server.faults.redirect = ("/blobs/", storage.url)
        assert case.verdict() == ("serves", "", ())
        assert [each.headers.get("Range") for each in storage.asked("GET", case.layer)] == [
            "bytes=0-0",
            f"bytes={LARGE - 1}-{LARGE - 1}",
        ]
        storage.faults.gone[case.layer] = 0
        assert case.verdict()[2] == (case.layer,)


def test_where_a_registry_ignores_range_the_connection_is_closed_early(case: Case) -> None:
    case.server.faults.sends_parts = False
    assert case.verdict()[0] == "serves"
    assert len(case.server.asked("GET", case.layer)) == 1


def test_a_flood_in_place_of_a_layer_is_not_read(case: Case) -> None:
    case.server.faults.flood = case.layer
    state, detail, missing = case.verdict()
    assert (state, missing) == ("broken", (case.layer,))
    assert "1099511627776 bytes instead of" in detail


@pytest.mark.parametrize("status", [400, 405, 416, 501])
def test_where_a_part_is_refused_the_blob_itself_is_asked_for(case: Case, status: int) -> None:
    case.server.faults.part_status = status
    assert case.verdict()[0] == "serves"
    assert [("Range" in request.headers) for request in case.server.asked("GET", case.layer)] == [
        True,
        False,
    ]


@pytest.mark.parametrize("size", [0, 1, WHOLE_BYTES, WHOLE_BYTES + 1])
def test_a_layer_of_any_size_can_be_served(case: Case, size: int) -> None:
    layer = case.add_layer(b"x" * size)
    assert case.verdict() == ("serves", "", ())
    assert case.server.asked("GET", layer)


def test_a_connection_that_ends_too_early_once_is_an_accident(case: Case) -> None:
    case.server.faults.gone[case.layer] = 0
    case.server.faults.gone_once = True
    assert case.verdict() == ("serves", "", ())


@pytest.mark.parametrize("where", ["manifests/abc", "blobs/"])
def test_a_rate_limit_is_no_refusal_and_the_registrys_words_are_kept(
    case: Case, where: str
) -> None:
    case.server.faults.status[where] = 429
    state, detail, missing = case.verdict()
    assert (state, missing) == ("unreachable", ())
    assert detail.startswith("HTTP 429 for infra-ci/")
    assert "a rate limit" in detail
    if where == "blobs/":
        case.server.faults.error_body = b'{"errors": [{"message": "toomanyrequests: wait"}]}'
        assert case.verdict()[1].endswith(": a rate limit, it says: toomanyrequests: wait")


def test_only_our_own_client_asks_with_get_after_any_refusal_of_head() -> None:
    with RegistryServer() as server:
        example = fill(server)
        server.faults.head_status = 405
        assert (_of_operator(example), _of_node(example)) == (("serves", "", ()),) * 2
        server.faults.head_status = 403
        state, detail, _ = _of_operator(example)
        assert state == "serves"
        assert "refuses HEAD with HTTP 403, and containerd then does not ask with GET" in detail
        # As containerd, which goes on after 405 only.
        assert _of_node(example)[0] == "refuses"
