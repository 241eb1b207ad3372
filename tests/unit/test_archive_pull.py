"""`archive pull` as it runs on a host: a process of its own, a real registry on loopback, and what
other programs make of the file.
"""

import hashlib
import io
import itertools
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from breakglass.remote.archive.members import BLOCK_BYTES, HEAD, member_of
from tests.registry_server import RegistryServer, digest_of
from tests.unit.pulled_image import (
    DOCKER,
    FILE,
    LAYERS,
    OCI,
    PARTIAL,
    PLAIN,
    SEED,
    ZSTD,
    Layer,
    Puller,
    gz,
    gzip_members,
    put_image,
    put_index,
)

pytestmark = pytest.mark.usefixtures("host_python")

COMPANION = "docker.io/woodpeckerci/plugin-git:2.5"


@pytest.fixture
def puller(tmp_path: Path) -> Iterator[Puller]:
    with RegistryServer() as server:
        yield Puller(tmp_path, server)


@pytest.fixture
def index(puller: Puller) -> dict[str, Any]:
    """What the tag means."""
    described = put_index(puller.server.store)
    puller.server.store.tags["0a1b2c3d"] = described["digest"]
    return described


def in_tar(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {each.name: archive.extractfile(each) for each in archive}
        return {name: file.read() for name, file in files.items() if file is not None}


def blob(digest: str) -> str:
    return digest.replace("sha256:", "blobs/sha256/")


def test_the_image_of_an_index_becomes_a_partial_with_its_record(
    puller: Puller, index: dict[str, Any]
) -> None:
    record = puller.pull().record
    store = puller.server.store
    manifest = json.loads(store.manifests[index["digest"]][0])["manifests"][2]["digest"]
    assert record == {
        "schema": 1,
        "references": [puller.name],
        "image_id": store.config_of(manifest),
        "companions": {},
        "platform": "linux/amd64",
        "size_bytes": len(puller.partial),
        "sha256": hashlib.sha256(puller.partial).hexdigest(),
        **SEED,
        "digests": {puller.name: index["digest"]},
    }
    assert {path.name for path in puller.shelf.iterdir()} == {
        PARTIAL,
        ".infra-ci-0a1b2c3d.json.partial",
    }
    assert {path.stat().st_mode & 0o777 for path in puller.shelf.iterdir()} == {0o644}
    files = in_tar(puller.partial)
    layers = store.layers_of(manifest)
    blobs = [index["digest"], manifest, store.config_of(manifest), *layers]
    assert list(files) == ["oci-layout", "index.json", "manifest.json", *map(blob, blobs)]
    assert all(digest_of(files[blob(digest)]) == digest for digest in blobs)
    annotations = {
        "io.containerd.image.name": puller.name,
        "org.opencontainers.image.ref.name": "0a1b2c3d",
    }
    named = json.loads(files["index.json"])["manifests"]
    assert named == [{**index, "annotations": annotations}]
    assert json.loads(files["manifest.json"]) == [
        {
            "Config": blob(store.config_of(manifest)),
            "RepoTags": [puller.name],
            "Layers": [blob(layer) for layer in layers],
        }
    ]


def test_what_is_for_other_platforms_and_attests_stays_in_the_registry(
    puller: Puller, index: dict[str, Any]
) -> None:
    del index
    assert puller.pull().record
    assert len(puller.server.asked("GET", "/manifests/")) == 2
    assert len(puller.server.asked("GET", "/blobs/")) == 1 + len(LAYERS)


def test_every_entry_is_a_gzip_member_and_blobs_that_are_compressed_lie_there_as_they_are(
    puller: Puller, index: dict[str, Any]
) -> None:
    del index
    assert puller.pull().record
    data = puller.partial
    members = list(gzip_members(data))
    assert members[-1][1] == bytes(1024)
    for (at, entry), name in zip(members[:-1], in_tar(data), strict=True):
        ((only, content),) = in_tar(entry + bytes(1024)).items()
        assert (only, len(entry)) == (name, 512 + len(content) + -len(content) % 512)
        assert data[at : at + 10] == HEAD
    compressed = {blob(digest_of(each.blob)): each.blob for each in LAYERS if each is not PLAIN}
    for at, entry in members[:-1]:
        name = entry[:100].rstrip(b"\0").decode()
        begins_at = at + len(HEAD) + 5 + 512
        piece = entry[512:612]
        assert (data[begins_at : begins_at + 100] == piece) is (name in compressed)


def test_system_programs_and_our_own_reader_take_it(puller: Puller, index: dict[str, Any]) -> None:
    del index
    record = puller.pull().record
    path = puller.shelf / PARTIAL
    line = f"gzip -t < '{path}' && gzip -dc < '{path}' | tar -tf -"
    listed = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
    assert listed.stdout.decode().split() == list(in_tar(puller.partial))
    assert not listed.stderr
    assert puller.run("publish", puller.shelf, FILE).status == 0
    verified = puller.run("verify", puller.shelf / FILE)
    assert {**verified.record, "recorded": True} == verified.record
    assert verified.record["image_id"] == record["image_id"]


def test_the_same_image_gives_the_same_bytes_also_over_a_bad_line(
    puller: Puller, index: dict[str, Any]
) -> None:
    del index
    assert puller.pull().record
    first = puller.partial
    faults = puller.server.faults
    faults.gone = {digest_of(each.blob): 1 + 7000 * at for at, each in enumerate(LAYERS)}
    faults.gone_once = True
    assert puller.pull().record
    assert not faults.gone
    assert puller.partial == first


@pytest.mark.parametrize("is_docker", [False, True], ids=["OCI", "schema 2"])
@pytest.mark.parametrize(
    "layers",
    [
        (Layer(),),
        (Layer(f"{DOCKER}image.rootfs.diff.tar.gzip"),),
        (ZSTD,),
        (PLAIN,),
        # The media type says less than the bytes: containerd looks at these.
        (Layer(f"{OCI}layer.v1.tar"),),
        (Layer(content=bytes(BLOCK_BYTES * 2 - 512)), Layer(content=b"")),
        (Layer(), PLAIN, Layer()),
        (),
    ],
    ids=["gzip", "docker's gzip", "zstd", "plain", "unsaid", "sizes", "one twice", "none"],
)
def test_layers_of_every_kind_are_taken_as_they_are(
    puller: Puller, layers: tuple[Layer, ...], is_docker: bool
) -> None:
    image = put_image(puller.server.store, *layers, is_docker=is_docker)
    puller.server.store.tags["0a1b2c3d"] = image["digest"]
    record = puller.pull().record
    assert record["digests"] == {puller.name: image["digest"]}
    files = in_tar(puller.partial)
    for each in layers:
        assert files[blob(digest_of(each.blob))] == each.blob
    named = json.loads(files["index.json"])["manifests"][0]
    assert named["mediaType"] == image["mediaType"]
    assert puller.run("publish", puller.shelf, FILE).status == 0
    assert puller.run("verify", puller.shelf / FILE).status == 0


def test_a_companion_comes_along_and_what_both_share_is_there_once(
    puller: Puller, index: dict[str, Any]
) -> None:
    companion = put_image(puller.server.store, Layer(), PLAIN, command="/bin/git")
    at = puller.url(companion["digest"])
    record = puller.pull("0a1b2c3d", "--companion", f"{COMPANION}={at}").record
    image_id = puller.server.store.config_of(companion["digest"])
    assert record["companions"] == {COMPANION: image_id}
    assert record["digests"] == {puller.name: index["digest"], COMPANION: companion["digest"]}
    with tarfile.open(fileobj=io.BytesIO(puller.partial)) as archive:
        names = archive.getnames()
    assert len(names) == len(set(names))
    assert puller.run("publish", puller.shelf, FILE).status == 0
    assert puller.run("verify", puller.shelf / FILE).record["companions"] == {COMPANION: image_id}


def test_two_references_of_one_image_are_both_in_it_and_two_images_are_refused(
    puller: Puller, index: dict[str, Any]
) -> None:
    other = put_image(puller.server.store, PLAIN)
    more = ("--reference", f"mirror.lan/infra-ci:0a1b2c3d={puller.url(index['digest'])}")
    assert puller.pull("0a1b2c3d", *more).record["references"] == [
        puller.name,
        "mirror.lan/infra-ci:0a1b2c3d",
    ]
    wrong = ("--reference", f"mirror.lan/infra-ci:0a1b2c3d={puller.url(other['digest'])}")
    ran = puller.pull("0a1b2c3d", *wrong)
    assert ran.status == 6
    assert "are different images" in ran.sentence


def test_with_a_digest_a_tag_that_moves_meanwhile_does_not_matter(
    puller: Puller, index: dict[str, Any]
) -> None:
    puller.server.store.tags["0a1b2c3d"] = put_image(puller.server.store, PLAIN)["digest"]
    assert puller.pull(index["digest"]).record["digests"] == {puller.name: index["digest"]}


def test_an_image_that_the_caller_has_not_seen_is_not_taken(
    puller: Puller, index: dict[str, Any]
) -> None:
    del index
    other = f"sha256:{'0' * 64}"
    ran = puller.pull("0a1b2c3d", "--image-id", f"{puller.name}={other}")
    assert ran.status == 6
    assert f"expected {other}" in ran.sentence
    assert not list(puller.shelf.iterdir())
    assert len(puller.server.asked("GET", "/blobs/")) == 1


def test_a_stored_member_does_not_depend_on_how_its_bytes_arrive() -> None:
    content = bytes(range(256)) * 1000
    parts = [content[at : at + 777] for at in range(0, len(content), 777)]
    whole, pieced = (
        b"".join(member_of("a", len(content), pieces, stored=True)) for pieces in ([content], parts)
    )
    assert whole == pieced
    ((_, entry),) = gzip_members(whole)
    assert entry[512 : 512 + len(content)] == content
    assert len(whole) == len(HEAD) + 8 + len(entry) + 5 * -(-len(entry) // BLOCK_BYTES)


def test_blobs_of_one_size_are_told_apart_by_their_beginning() -> None:
    for content, stored in ((gz(b"x" * 9999), True), (b"x" * 9999, False)):
        size = len(b"".join(member_of("a", len(content), [content], stored=stored)))
        assert (size > len(content)) is stored
    assert list(itertools.islice(member_of("a", 0, [], stored=True), 1)) == [HEAD]
