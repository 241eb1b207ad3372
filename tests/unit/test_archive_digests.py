"""A tarball of the registry's own bytes: verified by the recorded digests, without inflating its
layers, and written anew for containerd with the registry's manifest and index.
"""

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.archives import layer
from tests.hostile_archives import read_strictly
from tests.interpreters import script
from tests.registry_server import RegistryServer, digest_of
from tests.unit.pulled_image import FILE, LAYERS, Layer, Puller, filled, gz, gzip_members, put_image

pytestmark = pytest.mark.usefixtures("host_python")

INTEGRITY = 6
OTHER = "r.test/x:t1"


@pytest.fixture
def puller(tmp_path: Path) -> Iterator[Puller]:
    with RegistryServer() as server:
        yield filled(Puller(tmp_path, server))


def published(puller: Puller, *more: str) -> dict[str, Any]:
    """The record of the tarball that was pulled."""
    assert puller.pull("0a1b2c3d", *more).record
    return puller.run("publish", puller.shelf, FILE).record


def canonical(
    path: Path, record: dict[str, Any], *, digests: bool = True
) -> subprocess.CompletedProcess[bytes]:
    names = {**dict.fromkeys(record["references"], record["image_id"]), **record["companions"]}
    words = [f"{name}={image_id}" for name, image_id in names.items()]
    words += [f"--digest={name}={each}" for name, each in record["digests"].items() if digests]
    line = script("archive", "canonical", path, *words)
    return subprocess.run(line, capture_output=True, timeout=60, check=False)


def rewritten(path: Path, change: Any) -> None:
    """The tarball with its files changed, each entry in a gzip member."""
    entries = b"".join(content for _, content in gzip_members(path.read_bytes()))
    with tarfile.open(fileobj=io.BytesIO(entries)) as archive:
        files = {each.name: archive.extractfile(each) for each in archive}
        contents = {name: file.read() for name, file in files.items() if file is not None}
    change(contents)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in contents.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    path.write_bytes(gz(made.getvalue()))


def test_what_was_pulled_is_verified_and_reaches_containerd_under_the_registrys_digest(
    puller: Puller,
) -> None:
    record = published(puller)
    assert puller.run("verify", puller.shelf / FILE).record["recorded"] is True
    ended = canonical(puller.shelf / FILE, record)
    assert ended.returncode == 0, ended.stderr
    files = read_strictly(ended.stdout)
    (named,) = json.loads(files["index.json"])["manifests"]
    assert (named["digest"], named["annotations"]["io.containerd.image.name"]) == (
        record["digests"][puller.name],
        puller.name,
    )
    blobs = {name for name in files if name.startswith("blobs/")}
    assert len(blobs) == 3 + len(LAYERS), "index, manifest, configuration, layers"
    assert all(digest_of(files[name])[7:] == name[13:] for name in blobs)


def test_a_gzip_layer_is_not_inflated_where_the_recorded_digest_proves_it(puller: Puller) -> None:
    """The second gzip member in it is damaged: whoever inflates it fails."""
    store = puller.server.store
    odd = Layer(pack=lambda content: gz(content) + b"\x1f\x8b and no gzip")
    store.tags["0a1b2c3d"] = put_image(store, odd)["digest"]
    record = published(puller)
    assert puller.run("verify", puller.shelf / FILE).status == 0
    assert canonical(puller.shelf / FILE, record).returncode == 0
    assert canonical(puller.shelf / FILE, record, digests=False).returncode == INTEGRITY


@pytest.mark.parametrize("has_one_index", [True, False])
def test_two_names_of_one_image_keep_their_own_manifests(
    puller: Puller, has_one_index: bool
) -> None:
    """The same configuration, and layers that were compressed in two ways."""
    store = puller.server.store
    if not has_one_index:
        again = tuple(
            replace(each, pack=lambda content: gz(content) + gz(b"")) if each.pack is gz else each
            for each in LAYERS
        )
        store.tags["again"] = put_image(store, *again)["digest"]
    other = puller.url("0a1b2c3d" if has_one_index else "again")
    record = published(puller, "--companion", f"{OTHER}={other}")
    assert record["companions"][OTHER] == record["image_id"]
    assert puller.run("verify", puller.shelf / FILE).status == 0
    ended = canonical(puller.shelf / FILE, record)
    assert ended.returncode == 0, ended.stderr
    files = read_strictly(ended.stdout)
    for named in json.loads(files["index.json"])["manifests"]:
        top = json.loads(files[f"blobs/sha256/{named['digest'][7:]}"])
        for child in top.get("manifests", [named])[-1:]:
            manifest = json.loads(files[f"blobs/sha256/{child['digest'][7:]}"])
            assert all(f"blobs/sha256/{each['digest'][7:]}" in files for each in manifest["layers"])


def other_layers(files: dict[str, bytes]) -> None:
    """manifest.json gives the image layers that the manifest does not have."""
    saved = json.loads(files["manifest.json"])
    added = gz(layer(seed=9))
    path = f"blobs/sha256/{digest_of(added)[7:]}"
    files[path] = added
    saved[0]["Layers"][0] = path
    files["manifest.json"] = json.dumps(saved).encode()


def no_index(files: dict[str, bytes]) -> None:
    del files["index.json"], files["oci-layout"]


def another_digest(files: dict[str, bytes]) -> None:
    """index.json leads to the manifest itself, and the record says that the name is the index."""
    index = json.loads(files["index.json"])
    top = json.loads(files[f"blobs/sha256/{index['manifests'][0]['digest'][7:]}"])
    index["manifests"][0].update(digest=top["manifests"][2]["digest"])
    files["index.json"] = json.dumps(index).encode()


@pytest.mark.parametrize("change", [other_layers, no_index, another_digest])
def test_an_archive_that_is_not_what_the_recorded_digest_means_is_refused(
    puller: Puller, change: Any
) -> None:
    record = published(puller)
    path = puller.shelf / FILE
    rewritten(path, change)
    content = path.read_bytes()
    fresh = {**record, "size_bytes": len(content), "sha256": digest_of(content)[7:]}
    (puller.shelf / "infra-ci-0a1b2c3d.json").write_text(json.dumps(fresh))
    assert puller.run("verify", path).status == INTEGRITY
    ended = canonical(path, record)
    assert ended.returncode == INTEGRITY
    assert b"index.json" not in ended.stdout, "no name reaches containerd"
