"""The script content: whether containerd's content store has an image whole."""

import json
import os
import resource
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.interpreters import HOST, script
from tests.unit.responder_node import FORGEJO, INDEX, OCI_MANIFEST, PRIVATE, Node, Ran

pytestmark = pytest.mark.usefixtures("host_python")

NAME = f"{PRIVATE}:0a1b2c3d"
AMD64, ARM64 = (
    {"os": "linux", "architecture": architecture} for architecture in ("amd64", "arm64")
)


class Store(Node):
    """A content store with an image of two layers behind an index for two platforms, of which one
    is there, as a pull leaves it.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.layers = [self.blob(b"layer one" * 1000), self.blob(b"layer two" * 500)]
        self.configuration = self.blob(json.dumps(AMD64).encode())
        self.image = self.manifest(*self.layers, config=self.configuration, media_type=OCI_MANIFEST)
        absent = {"digest": "sha256:" + "7" * 64, "size": 500, "mediaType": OCI_MANIFEST}
        attestation = {"digest": "sha256:" + "8" * 64, "size": 500, "mediaType": OCI_MANIFEST}
        unknown = {"os": "unknown", "architecture": "unknown"}
        self.top = self.index(
            {**absent, "platform": ARM64},
            {**attestation, "platform": unknown},
            {**self.image, "platform": AMD64},
        )
        self.hold(NAME, self.top)

    @property
    def image_id(self) -> str:
        return str(self.configuration["digest"])

    def hold(self, name: str, descriptor: dict[str, Any]) -> None:
        self.images[name] = descriptor["mediaType"], descriptor["digest"]
        rows = ["REF TYPE DIGEST SIZE PLATFORMS LABELS"]
        rows += [
            f"{each} {kind} {digest} 9.0 MiB linux/amd64 -"
            for each, (kind, digest) in self.images.items()
        ]
        table, root = shlex.quote("\n".join(rows)), shlex.quote(f"  root  {self.content}")
        self.ctr.write_text(
            f'#!/bin/sh\ncase "$*" in "-n k8s.io images ls") printf "%s\\n" {table};;\n'
            f'"-n k8s.io plugins ls -d id==content") echo {root};; *) exit 9;; esac\n'
        )
        self.ctr.chmod(0o755)

    def content_run(self, *argv: str, platform: str = "linux/amd64") -> Ran:
        command, *rest = argv
        ctr = ("--", str(self.ctr), "-n", "k8s.io")
        ended = subprocess.run(
            script("content", command, "--platform", platform, *rest, *ctr),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        errors = [
            line for line in ended.stderr.decode().splitlines() if not line.startswith("@progress ")
        ]
        return Ran(ended.returncode, ended.stdout.decode(), "\n".join(errors))

    def look(self, *names: str, **more: str) -> dict[str, Any]:
        images: dict[str, Any] = self.content_run("look", *names, **more).reported["images"]
        return images

    def verify(self) -> Ran:
        return self.content_run("verify", NAME, self.image_id)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_a_pulled_image_is_whole_though_the_index_lists_platforms_that_are_not_there(
    store: Store,
) -> None:
    assert store.look(NAME, f"{FORGEJO}:0a1b2c3d") == {
        NAME: {
            "image_id": store.image_id,
            "size_bytes": 9000 + 4500 + store.configuration["size"],
            "blobs": 3,
            "missing": [],
            "fault": "",
        }
    }
    assert store.verify().reported == {
        "blobs": 3,
        "size_bytes": 9000 + 4500 + store.configuration["size"],
    }


def test_an_image_without_an_index_is_whole_too(store: Store) -> None:
    store.hold(NAME, store.image)
    assert store.look(NAME)[NAME]["missing"] == []
    assert store.verify().reported["blobs"] == 3


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [remove, cut, link, pipe])
def test_a_layer_that_is_gone_cut_short_or_no_file_is_named_as_missing(
    store: Store, damage: Callable[[Path], None]
) -> None:
    damage(store.path_of(store.layers[1]))
    assert store.look(NAME)[NAME]["missing"] == [store.layers[1]["digest"]]
    ended = store.verify()
    assert ended.status == 6
    assert ended.sentence.startswith(f"{NAME} is not whole: ")
    assert store.layers[1]["digest"] in ended.sentence


@pytest.mark.parametrize("part", ["layer", "configuration", "manifest", "index"])
def test_a_blob_with_other_bytes_of_the_same_size_is_found_by_its_digest(
    store: Store, part: str
) -> None:
    blob = {
        "layer": store.layers[0],
        "configuration": store.configuration,
        "manifest": store.image,
        "index": store.top,
    }[part]
    flip(store.path_of(blob))
    ended = store.verify()
    assert ended.status == 6
    assert str(blob["digest"]) in ended.sentence
    # Sizes say nothing of a layer's bytes; what is small is always read.
    fault = store.look(NAME)[NAME]["fault"]
    assert (fault == "") is (part == "layer")


@pytest.mark.parametrize("part", ["configuration", "manifest", "index"])
def test_a_document_that_is_gone_is_a_fault(store: Store, part: str) -> None:
    blob = {
        "configuration": store.configuration,
        "manifest": store.image,
        "index": store.top,
    }[part]
    store.path_of(blob).unlink()
    seen = store.look(NAME)[NAME]
    assert seen["image_id"] is None
    assert seen["fault"] == f"the content store lacks {blob['digest']}"
    assert store.verify().status == 6


def test_an_image_for_another_platform_is_not_taken(store: Store) -> None:
    assert "the content store lacks" in store.look(NAME, platform="linux/arm64")[NAME]["fault"]
    store.hold(NAME, store.image)
    fault = store.look(NAME, platform="linux/arm64")[NAME]["fault"]
    assert fault == f"{store.image_id} in the content store is not for linux/arm64"


def test_a_name_that_means_another_image_by_now_is_not_taken(store: Store) -> None:
    other = store.manifest(
        store.layers[0], config=store.blob(b'{"os": "linux", "architecture": "amd64", "x": 1}')
    )
    store.hold(NAME, other)
    ended = store.verify()
    assert ended.status == 6
    assert f"expected {store.image_id}" in ended.sentence
    store.images.clear()
    store.hold(f"{FORGEJO}:0a1b2c3d", store.top)
    assert store.verify().sentence == f"containerd has no image called {NAME}"


def test_a_document_that_is_no_manifest_is_a_fault(store: Store) -> None:
    documents = (
        b"[]",
        b"[" * 100_000,
        b'{"config": {}, "layers": []}',
        b'{"layers": []}',
        b'{"config": {"mediaType": "application/x", "digest": "sha256:00", "size": 1}}',
        b'{"config": 1, "layers": 2}',
    )
    names = [f"{PRIVATE}:{number}" for number in range(len(documents))]
    for name, document in zip(names, documents, strict=True):
        store.hold(name, {**store.blob(document), "mediaType": OCI_MANIFEST})
    images = store.look(*names)
    assert set(images) == set(names)
    assert all(seen["image_id"] is None and seen["fault"] for seen in images.values())


def test_a_layer_that_containerd_could_not_pull_from_us_makes_the_manifest_unusable(
    store: Store,
) -> None:
    odd = {**store.layers[0], "digest": "sha512:" + "0" * 128}
    store.hold(NAME, store.manifest(odd, config=store.configuration))
    assert "no manifest of an image" in store.look(NAME)[NAME]["fault"]


def test_indexes_that_lead_to_each_other_come_to_an_end(store: Store) -> None:
    top = store.image
    for _ in range(4):
        top = store.index({**top, "platform": AMD64})
    assert top["mediaType"] == INDEX
    store.hold(NAME, top)
    assert "too many" in store.look(NAME)[NAME]["fault"]


def test_without_ctr_or_a_name_the_command_line_is_wrong(store: Store) -> None:
    ended = subprocess.run(
        script("content", "look", "--platform", "linux/amd64", NAME),
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 2
    assert store.content_run("look", "--all").status == 2
    assert store.content_run("verify", "no name", store.image_id).status == 2


def test_a_ctr_that_fails_is_a_failure_and_no_verdict(store: Store) -> None:
    store.ctr.write_text("#!/bin/sh\necho 'no containerd' >&2\nexit 1\n")
    ended = store.verify()
    assert ended.status == 4
    assert "no containerd" in ended.sentence


def test_a_large_layer_is_read_in_little_memory_and_its_progress_is_reported(
    store: Store,
) -> None:
    layer = store.blob(os.urandom(1 << 20) * 64)
    store.hold(NAME, store.manifest(layer, config=store.configuration))
    limit = 400 << 20  # of address space; what is resident is far less

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    line = script("content", "verify", "--platform", "linux/amd64", NAME, store.image_id)
    ended = subprocess.run(
        [*line, "--", str(store.ctr), "-n", "k8s.io"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        preexec_fn=limited,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["size_bytes"] > 64 << 20
    assert ended.stderr.startswith(b"@progress ")


def test_it_ends_when_its_caller_is_gone(store: Store) -> None:
    store.ctr.write_text("#!/bin/sh\nsleep 30\n")
    text = (
        "import os, sys; from breakglass.remote.__main__ import main; "
        f"sys.exit(main({['content', 'look', '--platform', 'linux/amd64', NAME]!r} "
        f"+ ['--', {str(store.ctr)!r}], 0))"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    started = subprocess.Popen([HOST.python, "-c", text], stdin=subprocess.PIPE, env=environ)
    assert started.stdin
    started.stdin.close()
    assert started.wait(timeout=20) == 4
