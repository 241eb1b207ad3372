"""Registries that do not do what they should: what `archive pull` makes of them."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.registry_server import RegistryServer, digest_of
from tests.unit.pulled_image import (
    LAYERS,
    OCI,
    PARTIAL,
    PLAIN,
    Layer,
    Puller,
    filled,
    gzip_members,
    put_image,
    put_index,
)

pytestmark = pytest.mark.usefixtures("host_python")

FIRST = LAYERS[0].blob
DIGEST = digest_of(FIRST)
REFUSED, UNREACHABLE, INTEGRITY = 3, 5, 6


@pytest.fixture
def puller(tmp_path: Path) -> Iterator[Puller]:
    with RegistryServer() as server:
        yield filled(Puller(tmp_path, server))


def use(puller: Puller, *layers: Layer, **options: Any) -> None:
    store = puller.server.store
    store.tags["0a1b2c3d"] = put_image(store, *layers, **options)["digest"]


def wrong(puller: Puller) -> None:
    puller.server.faults.bodies[DIGEST] = FIRST[:-1] + b"?"


def short(puller: Puller) -> None:
    puller.server.faults.bodies[DIGEST] = FIRST[:-1]


def long(puller: Puller) -> None:
    puller.server.faults.bodies[DIGEST] = FIRST + b"?"


def short_without_length(puller: Puller) -> None:
    short(puller)
    puller.server.faults.omit_length = True
    # Else it is asked for the byte that lacks.
    puller.server.faults.sends_parts = False


def long_without_length(puller: Puller) -> None:
    puller.server.faults.bodies[DIGEST] = FIRST + bytes(1 << 20)
    puller.server.faults.omit_length = True


def never_whole(puller: Puller) -> None:
    puller.server.faults.gone[DIGEST] = 3000


def lost(puller: Puller) -> None:
    del puller.server.store.blobs[DIGEST]


def wrong_configuration(puller: Puller) -> None:
    store = puller.server.store
    use(puller, PLAIN)
    image_id = store.config_of(store.tags["0a1b2c3d"])
    puller.server.faults.bodies[image_id] = store.blobs[image_id].replace(b"linux", b"LINUX")


def wrong_manifest(puller: Puller) -> None:
    digest = puller.server.store.tags["0a1b2c3d"]
    puller.server.faults.bodies[digest] = b"{}"


def too_few_diff_ids(puller: Puller) -> None:
    use(puller, PLAIN, diff_ids=())


def another_diff_id(puller: Puller) -> None:
    use(puller, PLAIN, diff_ids=(DIGEST,))


def plain_under_gzips_name(puller: Puller) -> None:
    use(puller, Layer(pack=bytes), diff_ids=(DIGEST,))


def without_size(puller: Puller) -> None:
    use(puller, Layer(more={"size": None}))


def other_platforms_only(puller: Puller) -> None:
    store = puller.server.store
    store.tags["0a1b2c3d"] = store.add_index(store.add_image("arm64"))["digest"]


def nested_too_deep(puller: Puller) -> None:
    described = put_index(puller.server.store)
    for _ in range(2):
        described = puller.server.store.add_index(described)
    puller.server.store.tags["0a1b2c3d"] = described["digest"]


def key_twice(puller: Puller) -> None:
    store = puller.server.store
    use(puller, PLAIN)
    content, media_type = store.manifests[store.tags["0a1b2c3d"]]
    twice = content[:-1] + b', "Layers": []}'
    store.manifests[digest_of(twice)] = (twice, media_type)
    store.tags["0a1b2c3d"] = digest_of(twice)


def no_configuration(puller: Puller) -> None:
    store = puller.server.store
    use(puller, PLAIN)
    content, media_type = store.manifests[store.tags["0a1b2c3d"]]
    manifest = json.loads(content)
    configuration = b'{"os": "linux", "architecture": "amd64"}'
    store.blobs[digest_of(configuration)] = configuration
    manifest["config"] |= {"digest": digest_of(configuration), "size": len(configuration)}
    store.tags["0a1b2c3d"] = store.add_manifest(manifest, media_type)["digest"]


def schema_1(puller: Puller) -> None:
    store = puller.server.store
    media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    document = {"schemaVersion": 1, "fsLayers": [], "signatures": []}
    store.tags["0a1b2c3d"] = store.add_manifest(document, media_type)["digest"]


def foreign(puller: Puller) -> None:
    use(puller, Layer("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"))


def non_distributable(puller: Puller) -> None:
    use(puller, Layer(f"{OCI}layer.nondistributable.v1.tar+gzip"))


def with_urls(puller: Puller) -> None:
    use(puller, Layer(more={"urls": ["https://cdn.example/layer"]}))


def of_sha512(puller: Puller) -> None:
    use(puller, Layer(more={"digest": f"sha512:{'0' * 128}"}))


def tag_gone(puller: Puller) -> None:
    puller.server.store.tags.clear()


def front_is_down(puller: Puller) -> None:
    puller.server.faults.status["/blobs/"] = 503


FAULTS: list[tuple[Callable[[Puller], None], int, str]] = [
    (wrong, INTEGRITY, f"what is served as {DIGEST} is something else"),
    (short, INTEGRITY, f"{DIGEST} has {len(FIRST) - 1} bytes instead of {len(FIRST)}"),
    (long, INTEGRITY, f"{DIGEST} has {len(FIRST) + 1} bytes instead of {len(FIRST)}"),
    (
        short_without_length,
        INTEGRITY,
        f"the bytes of {DIGEST} do not come: {len(FIRST) - 1} of {len(FIRST)}",
    ),
    (long_without_length, INTEGRITY, f"{DIGEST} has more than {len(FIRST)} bytes"),
    (never_whole, INTEGRITY, f"the bytes of {DIGEST} do not come: 3000 of {len(FIRST)}"),
    (lost, INTEGRITY, f"HTTP 404 for {DIGEST}"),
    (wrong_configuration, INTEGRITY, "is something else"),
    (wrong_manifest, INTEGRITY, "is something else"),
    (too_few_diff_ids, INTEGRITY, "has 1 layers, the configuration names 0"),
    (another_diff_id, INTEGRITY, f"expected {DIGEST}"),
    (plain_under_gzips_name, INTEGRITY, f"expected {DIGEST}"),
    (without_size, INTEGRITY, f"it names {DIGEST} without its size"),
    (other_platforms_only, INTEGRITY, "no image for linux/amd64"),
    (nested_too_deep, INTEGRITY, "nested too deep"),
    (key_twice, INTEGRITY, "is not the JSON that it should be"),
    (no_configuration, INTEGRITY, "is no configuration of an image"),
    (schema_1, REFUSED, "is a manifest of schema 1"),
    (foreign, REFUSED, "lies outside of the registry"),
    (non_distributable, REFUSED, "lies outside of the registry"),
    (with_urls, REFUSED, "lies outside of the registry"),
    (of_sha512, REFUSED, "is not of sha256"),
    (tag_gone, REFUSED, "HTTP 404 for infra-ci:0a1b2c3d"),
    (front_is_down, UNREACHABLE, "HTTP 503"),
]


@pytest.mark.parametrize(("fault", "status", "words"), FAULTS)
def test_what_is_not_as_it_should_be_leaves_nothing_behind(
    puller: Puller, fault: Callable[[Puller], None], status: int, words: str
) -> None:
    fault(puller)
    ran = puller.pull()
    assert (ran.status, words in ran.sentence) == (status, True), ran.stderr
    assert ran.sentence.startswith(f"{puller.name}: ")
    assert ran.sentence.count(puller.name) == 1
    assert "archive" not in ran.sentence
    assert ran.stdout == ""
    assert not list(puller.shelf.iterdir())


@pytest.mark.parametrize("fault", ["key twice", "pushed anew"])
def test_what_a_companion_does_wrong_begins_with_its_name(puller: Puller, fault: str) -> None:
    store = puller.server.store
    image = store.tags["0a1b2c3d"]
    use(puller, PLAIN)
    if fault == "key twice":
        key_twice(puller)
    companion = f"{puller.server.host}/git:1"
    at = puller.url(store.tags["0a1b2c3d"])
    seen = ("--image-id", f"{companion}=sha256:{'0' * 64}") if fault == "pushed anew" else ()
    ran = puller.pull(image, "--companion", f"{companion}={at}", *seen)
    assert ran.status == INTEGRITY
    assert ran.sentence.startswith(f"{companion}: ")


def test_a_digest_that_is_gone_is_for_docker_to_try(puller: Puller) -> None:
    assert puller.pull(f"sha256:{'0' * 64}").status == REFUSED


@pytest.mark.parametrize("answer", ["206", "200", 416, 405])
def test_a_blob_whose_connection_breaks_is_gone_on_with(puller: Puller, answer: str | int) -> None:
    faults = puller.server.faults
    assert puller.pull().record
    whole = puller.partial
    faults.gone, faults.gone_once = {DIGEST: 3000}, True
    faults.sends_parts = answer != "200"
    faults.part_status = answer if isinstance(answer, int) else None
    puller.server.requests.clear()
    assert puller.pull().record
    assert puller.partial == whole
    asked = puller.server.asked("GET", DIGEST)
    ranges = [request.headers.get("Range") for request in asked]
    part = f"bytes=3000-{len(FIRST) - 1}"
    assert ranges == [None, part, *([None] if isinstance(answer, int) else [])]


def test_another_part_than_was_asked_for_is_not_taken(puller: Puller) -> None:
    faults = puller.server.faults
    faults.gone, faults.gone_once = {DIGEST: 3000}, True
    faults.bodies[DIGEST] = FIRST
    faults.wrong_part = True
    ran = puller.pull()
    assert ran.status == INTEGRITY
    assert "another part" in ran.sentence


def test_too_many_requests_are_waited_for_as_long_as_the_registry_says(puller: Puller) -> None:
    faults = puller.server.faults
    for part in ("/manifests/0a1b2c3d", "/blobs/"):
        faults.status, faults.retry_after = {part: 429}, "1"
        began = time.monotonic()
        assert puller.pull().record
        assert time.monotonic() - began >= 1


@pytest.mark.parametrize("pause", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_registry_that_wants_a_longer_pause_is_not_waited_for(puller: Puller, pause: str) -> None:
    faults = puller.server.faults
    faults.status, faults.retry_after = {"/blobs/": 429}, pause
    ran = puller.pull()
    assert ran.status == UNREACHABLE
    assert "a rate limit" in ran.sentence


@pytest.mark.parametrize("pause", ["soon", "0", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_pause_that_says_nothing_is_our_own(puller: Puller, pause: str) -> None:
    faults = puller.server.faults
    faults.status, faults.retry_after = {"/blobs/": 429}, pause
    assert puller.pull().record


def test_a_registry_that_never_answers_otherwise_ends_it(puller: Puller) -> None:
    puller.server.faults.status = {DIGEST: 429}
    assert puller.pull().status == UNREACHABLE
    assert len(puller.server.asked("GET", DIGEST)) == 1 + len(puller.pauses)


def test_silence_in_the_middle_of_a_blob_ends_it(puller: Puller) -> None:
    puller.silence_seconds, puller.pauses = 0.5, (0.01,)
    puller.server.faults.stall = DIGEST
    ran = puller.pull()
    assert ran.status == UNREACHABLE
    assert f"nothing came of {DIGEST} for 0.5 s" in ran.sentence
    assert not list(puller.shelf.iterdir())


def test_a_line_that_is_only_slow_is_waited_for(puller: Puller) -> None:
    puller.silence_seconds = 1.5
    puller.server.faults.slow = DIGEST
    assert puller.pull().record
    assert len(puller.server.asked("GET", DIGEST)) == 1


def test_nobody_at_the_address_is_unreachable(puller: Puller) -> None:
    puller.server._server.socket.close()
    ran = puller.pull()
    assert ran.status == UNREACHABLE
    assert "connection refused" in ran.sentence


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/v2/infra-ci/manifests/b",
        "http://a/infra-ci/manifests/b",
        "http://a/v2/../manifests/b",
        "http://u:p@a/v2/infra-ci/manifests/b",
        "http://a:99999/v2/infra-ci/manifests/b",
        "http://a/v2/infra-ci/manifests/sha512:00",
        "http://[a/v2/infra-ci/manifests/b",
    ],
)
def test_an_address_of_another_kind_is_a_wrong_argument(puller: Puller, url: str) -> None:
    ran = puller.pull("0a1b2c3d", "--companion", f"a/infra-ci:b={url}")
    assert ran.status == 2
    assert "is not REFERENCE=URL" in ran.sentence


@pytest.mark.parametrize("how", ["lifeline closes", "SIGTERM"])
def test_it_ends_with_its_caller_and_leaves_no_partial(puller: Puller, how: str) -> None:
    puller.server.faults.stall = DIGEST
    puller.shelf.mkdir()
    ours, theirs = os.pipe()
    line = puller.line(*puller.arguments("0a1b2c3d"), lifeline=ours)
    running = subprocess.Popen(
        line, pass_fds=(ours,), process_group=0, stderr=subprocess.DEVNULL, env={}
    )
    os.close(ours)
    try:
        wait_for(lambda: bool(puller.server.asked("GET", DIGEST)))
        wait_for((puller.shelf / PARTIAL).exists)
        if how == "SIGTERM":
            running.send_signal(signal.SIGTERM)
        else:
            os.close(theirs)
        assert running.wait(20) in (143, -signal.SIGTERM)
        assert not list(puller.shelf.iterdir())
    finally:
        running.kill()
        running.wait()
        with contextlib.suppress(OSError):
            os.close(theirs)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_memory_stays_flat_whatever_the_image_holds(puller: Puller, tmp_path: Path) -> None:
    store = puller.server.store
    use(puller, Layer(content=os.urandom(80 << 20)), PLAIN)
    content, media_type = store.manifests[store.tags["0a1b2c3d"]]
    # As much JSON as is believed, of the kind that takes the most memory.
    for _ in range(2):
        child = {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}
        head = json.dumps({"schemaVersion": 2, "manifests": [child]})[:-2]
        content = (head + ',{"":0}' * (((1 << 20) - len(head) - 2) // 7) + "]}").encode()
        media_type = f"{OCI}index.v1+json"
        store.manifests[digest_of(content)] = (content, media_type)
    store.tags["0a1b2c3d"] = digest_of(content)
    report = tmp_path / "status"
    line = puller.line(*puller.arguments("0a1b2c3d"))
    puller.shelf.mkdir()
    end = (
        f"import atexit, shutil; atexit.register(shutil.copy, '/proc/self/status', {str(report)!r})"
    )
    line[2] = f"{end}\n{line[2]}"
    subprocess.run(line, check=True, capture_output=True, env={})
    peak = next(text for text in report.read_text().splitlines() if text.startswith("VmHWM:"))
    assert int(peak.split()[1]) * 1024 < 64_000_000
    assert sum(len(entry) for _, entry in gzip_members(puller.partial)) > 80 << 20
