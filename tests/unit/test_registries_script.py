"""The script that asks registries from a node: what is served, broken or refused."""

import hashlib
from collections.abc import Iterator

import pytest

from tests.registry_server import RegistryServer
from tests.unit.registries_question import (
    REGISTRY,
    Example,
    answers,
    fill,
    pages,
    put_image,
    question,
)

pytestmark = pytest.mark.usefixtures("host_python")


@pytest.fixture
def example() -> Iterator[Example]:
    with RegistryServer() as server:
        yield fill(server)


@pytest.fixture
def elsewhere() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


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


def test_more_than_four_megabytes_where_a_manifest_should_be_are_broken() -> None:
    with pages() as reported:
        reported.answers["/v2/infra-ci/manifests/abc"] = (200, {}, bytes((4 << 20) + 1))
        (found,) = answers(question({"url": reported.url}))
    assert (found["state"], found["detail"]) == (
        "broken",
        "more than 4194304 bytes where a manifest should be",
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
