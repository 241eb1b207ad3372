"""archive canonical: what is verified, and nothing else, reaches containerd."""

import gzip
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import archives, hostile_archives
from tests.archives import REFERENCE, Image
from tests.hostile_archives import NAMES, blobs_of, manifests_of, packed, read_strictly
from tests.interpreters import HOST, program, script

pytestmark = pytest.mark.usefixtures("host_python")

FILE = "infra-ci-0a1b2c3d.tar.gz"
COMPANION = "docker.io/woodpeckerci/plugin-git:2.5"
INTEGRITY = 6


def run(path: Path, **images: str) -> subprocess.CompletedProcess[bytes]:
    words = [f"{name}={image_id}" for name, image_id in images.items()]
    return subprocess.run(
        script("archive", "canonical", path, *words), capture_output=True, timeout=120, check=False
    )


TOGETHER = Image(references=(COMPANION,), layers=(Image().layers[0],), command="/bin/git")
LAYOUTS: dict[str, tuple[archives.Entries, Callable[[bytes], bytes]]] = {
    "of docker 20.10": (archives.classic(), bytes),
    "of docker 25": (archives.oci(), bytes),
    "of docker 25, in another order": (archives.oci()[::-1], bytes),
    "of containerd's store": (hostile_archives.with_gzip_layers(Image()), packed),
    "under an index for several platforms": (archives.oci(with_indexes=True), bytes),
    "with further files": ([archives.Entry("evil", b"evil"), *archives.oci()], bytes),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_archive_is_written_anew_with_its_blobs_and_the_given_names_only(
    layout: str, tmp_path: Path
) -> None:
    entries, pack = LAYOUTS[layout]
    (tmp_path / FILE).write_bytes(archives.tarball(entries))
    image = Image()
    ended = run(tmp_path / FILE, **{REFERENCE: image.image_id})
    assert ended.returncode == 0, ended.stderr
    files = read_strictly(ended.stdout)
    assert list(files)[-3:] == list(NAMES)
    manifests = manifests_of(files)
    assert list(manifests) == [REFERENCE]
    manifest = manifests[REFERENCE]
    expected = blobs_of(image, pack)
    named = [manifest["config"], *manifest["layers"]]
    assert [part["digest"][7:] for part in named] == [name[13:] for name in expected]
    assert [part["size"] for part in named] == [len(content) for content in expected.values()]
    assert len(files) == len(expected) + 1 + len(NAMES)
    assert {name: files[name] for name in expected} == expected
    assert manifest["config"]["digest"] == image.image_id


@pytest.mark.parametrize("save", [archives.classic, archives.oci])
def test_images_that_share_a_layer_share_its_blob(
    save: Callable[..., archives.Entries], tmp_path: Path
) -> None:
    (tmp_path / FILE).write_bytes(archives.tarball(save(Image(), TOGETHER)))
    ended = run(tmp_path / FILE, **{REFERENCE: Image().image_id, COMPANION: TOGETHER.image_id})
    files = read_strictly(ended.stdout)
    assert set(manifests_of(files)) == {REFERENCE, COMPANION}
    assert set(blobs_of(Image())) | set(blobs_of(TOGETHER)) < set(files)
    saved = {entry["RepoTags"][0]: entry for entry in json.loads(files["manifest.json"])}
    assert saved[COMPANION]["Layers"] == list(blobs_of(TOGETHER))[1:]
    assert saved[COMPANION]["Config"] == f"blobs/sha256/{TOGETHER.image_id[7:]}"


def test_a_manifest_that_was_in_the_archive_keeps_its_digest(tmp_path: Path) -> None:
    entries = archives.oci()
    (tmp_path / FILE).write_bytes(archives.tarball(entries))
    files = read_strictly(run(tmp_path / FILE, **{REFERENCE: Image().image_id}).stdout)
    assert json.loads(files["index.json"])["manifests"][0]["digest"] == archives.top_digest(entries)


@pytest.mark.parametrize(
    "images",
    [
        {"evil.example/infra-ci:1": Image().image_id},
        {REFERENCE: Image().image_id, COMPANION: Image().image_id},
        {REFERENCE: TOGETHER.image_id},
    ],
    ids=["another name", "a name more", "another image"],
)
def test_an_archive_with_other_names_or_images_is_an_integrity_failure(
    images: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / FILE).write_bytes(archives.tarball())
    ended = run(tmp_path / FILE, **images)
    assert (ended.returncode, ended.stdout) == (INTEGRITY, b"")


def test_a_name_that_was_not_given_is_an_integrity_failure(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(archives.tarball(archives.classic(Image(), TOGETHER)))
    ended = run(tmp_path / FILE, **{REFERENCE: Image().image_id})
    assert (ended.returncode, ended.stdout) == (INTEGRITY, b"")
    assert COMPANION.encode()[10:] in ended.stderr


def test_a_tarball_that_is_changed_while_it_is_read_gives_no_image(tmp_path: Path) -> None:
    """The reader waits before the second layer; meanwhile a byte of it becomes another one."""
    image = Image(layers=(archives.layer(seed=1, kilobytes=9000), archives.layer(seed=2)))
    # Not compressed: so a byte can be changed in its place.
    data = gzip.compress(archives.tar(archives.oci(image)[::-1]), 0, mtime=0)
    second = image.layers[1]
    first_is_first = data.index(image.layers[0][1024:1100]) < data.index(second[1024:1100])
    # Of a long layer that comes last the beginning may have been read already.
    unread = second[1024:1100] if first_is_first else image.layers[0][-2_000_000:][:76]
    assert data.count(unread) == 1
    path = tmp_path / FILE
    path.write_bytes(data)
    line = script("archive", "canonical", path, f"{REFERENCE}={image.image_id}")
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        received = process.stdout.read(1)
        with path.open("r+b") as file:
            file.seek(data.index(unread))
            file.write(b"EVIL")
        received += process.stdout.read()
        stderr = process.stderr.read()
    assert process.returncode == INTEGRITY, stderr
    assert b"changed while it was read" in stderr or b"data is damaged" in stderr
    assert not any(name.encode() in received for name in NAMES)
    with pytest.raises(tarfile.ReadError):
        read_strictly(received)


def test_the_memory_stays_flat_whatever_the_image_holds(tmp_path: Path) -> None:
    """A layer of 100 MB: the peak that the kernel has counted for the process."""
    image = Image(layers=(bytes(100 << 20),))
    path, report = tmp_path / FILE, tmp_path / "status"
    path.write_bytes(archives.tarball(archives.classic(image)))
    measured = program(
        "from breakglass.remote.archive.main import main\n"
        "status = main(sys.argv[2:], None)\n"
        "open(sys.argv[1], 'w').write(open('/proc/self/status').read())\n"
        "sys.exit(status)"
    )
    subprocess.run(
        [HOST.python, "-c", measured, report, "canonical", path, f"{REFERENCE}={image.image_id}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=240,
        check=True,
    )
    peak = next(line for line in report.read_text().splitlines() if line.startswith("VmHWM:"))
    assert int(peak.split()[1]) < 64_000
