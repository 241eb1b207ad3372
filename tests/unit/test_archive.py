"""The script archive as it runs on a host: a process of its own, real pipes, real files, real
gzip.
"""

import gzip
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import archives
from tests.archives import REFERENCE, Entries, Image
from tests.interpreters import HOST, program, script, zipapp

pytestmark = pytest.mark.usefixtures("host_python")

FILE = "infra-ci-0a1b2c3d.tar.gz"
SEED = {"tag": "0a1b2c3d", "sequence": 7, "created_at": "2026-04-19T09:41:00Z", "version": "0.1.0"}
COMPANION = "docker.io/woodpeckerci/plugin-git:2.5"


@dataclass(frozen=True)
class Ran:
    status: int
    stdout: str
    stderr: str

    @property
    def record(self) -> dict[str, Any]:
        assert self.status == 0, self.stderr
        found: dict[str, Any] = json.loads(self.stdout)
        return found

    @property
    def sentence(self) -> str:
        lines = [line for line in self.stderr.splitlines() if not line.startswith("@progress ")]
        assert len(lines) == 1, self.stderr
        return lines[0]


def run(*argv: str | Path, data: bytes = b"") -> Ran:
    ended = subprocess.run(
        script("archive", *argv),
        input=data,
        capture_output=True,
        timeout=120,
        check=False,
        start_new_session=True,
    )
    return Ran(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def start(
    lifeline: int, *argv: str | Path, pass_fds: tuple[int, ...] = ()
) -> subprocess.Popen[bytes]:
    """As breakglass starts it: with a lifeline, in a process group of its own."""
    line = [HOST.python, "-c", booted(lifeline), *map(str, argv)]
    return subprocess.Popen(
        line,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=pass_fds,
        process_group=0,
    )


def booted(lifeline: int, *, silence_seconds: float = 60.0) -> str:
    return program(
        "from breakglass.remote import lifeline\n"
        "from breakglass.remote.archive.main import main\n"
        f"lifeline.SILENCE_SECONDS = {silence_seconds}\n"
        f"sys.exit(main(sys.argv[1:], {lifeline}))"
    )


def listing(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    (tmp_path / "shelf").mkdir()
    return tmp_path / "shelf"


@pytest.fixture
def docker(tmp_path: Path) -> Callable[..., Path]:
    """A program that tells image IDs as `docker image inspect` does."""

    def make(**ids: str) -> Path:
        path = tmp_path / "docker"
        cases = "".join(f"'{name}') echo {image_id};;\n" for name, image_id in ids.items())
        path.write_text(
            f'#!/bin/sh\n[ "$1 $2 $3 $4" = "image inspect --format {{{{.Id}}}}" ] || exit '
            f'9\ncase $5 in\n{cases}*) echo "Error: No such image: $5" >&2; exit 1;; esac\n'
        )
        path.chmod(0o755)
        return path

    return make


Write = Callable[..., Ran]


@pytest.fixture
def write(shelf: Path, docker: Callable[..., Path]) -> Write:
    def run_write(
        data: bytes,
        *more: str,
        docker_says: dict[str, str] | None = None,
        asked: Path | None = None,
        references: tuple[str, ...] = (REFERENCE,),
    ) -> Ran:
        reported = {REFERENCE: Image().image_id} if docker_says is None else docker_says
        return run(
            "write",
            shelf,
            FILE,
            "--reference",
            *references,
            *more,
            "--docker",
            asked or docker(**reported),
            "--record",
            json.dumps(SEED),
            data=data,
        )

    return run_write


# write


LAYOUTS: dict[str, Callable[[], bytes]] = {
    "of docker 20.10": lambda: archives.tarball(archives.classic()),
    "of docker 20.10 in pax format": lambda: gzip.compress(
        archives.tar(archives.classic(), format=archives.PAX)
    ),
    "of docker 20.10 in ustar format": lambda: gzip.compress(
        archives.tar(archives.classic(), format=archives.USTAR)
    ),
    "of docker 25": lambda: archives.tarball(archives.oci()),
    "of containerd's store with gzip layers": lambda: archives.tarball(
        archives.oci(pack=gzip.compress)
    ),
    "of containerd's store with layers of many gzip members": lambda: archives.tarball(
        archives.oci(pack=lambda data: archives.pigz(data, member_bytes=9000))
    ),
    "with many gzip members, as pigz may write it": lambda: archives.pigz(
        archives.tar(archives.classic())
    ),
    "padded with zeros to a whole tar record": lambda: gzip.compress(
        archives.tar(archives.classic()) + bytes(8192)
    ),
    "with its members in another order": lambda: archives.tarball(archives.oci()[::-1]),
    "with GNU long names": lambda: gzip.compress(
        archives.tar(
            [
                archives.Entry("n" * 180, b"x"),
                archives.Entry("m" * 150, link="l" * 130),
                *archives.classic(),
            ]
        )
    ),
    "with pax long names": lambda: gzip.compress(
        archives.tar([archives.Entry("ä" * 180, b"x"), *archives.classic()], format=archives.PAX)
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_whole_archive_becomes_a_partial_with_its_record(
    layout: str, write: Write, shelf: Path
) -> None:
    data = LAYOUTS[layout]()
    record = write(data).record
    assert record == {
        "schema": 1,
        "tag": "0a1b2c3d",
        "references": [REFERENCE],
        "image_id": Image().image_id,
        "companions": {},
        "platform": "linux/amd64",
        "size_bytes": len(data),
        "sha256": archives.hexadecimal(data),
        "sequence": 7,
        "created_at": "2026-04-19T09:41:00Z",
        "version": "0.1.0",
    }
    held = listing(shelf)
    assert held.keys() == {f".{FILE}.partial", ".infra-ci-0a1b2c3d.json.partial"}
    assert held[f".{FILE}.partial"] == data
    text = held[".infra-ci-0a1b2c3d.json.partial"].decode()
    assert list(json.loads(text)) == list(record)
    assert text.endswith("}\n")
    assert {path.stat().st_mode & 0o777 for path in shelf.iterdir()} == {0o644}


def test_layers_that_two_images_share_may_be_links_and_each_image_keeps_its_name(
    write: Write,
) -> None:
    main, companion = Image(), Image(references=(COMPANION,), command="/bin/git")
    entries = archives.classic(main, companion)
    assert any(entry.link for entry in entries)
    for layout in (entries, archives.oci(main, companion)):
        record = write(
            archives.tarball(layout),
            "--companion",
            COMPANION,
            docker_says={REFERENCE: main.image_id, COMPANION: companion.image_id},
        ).record
        assert record["references"] == [REFERENCE]
        assert record["companions"] == {COMPANION: companion.image_id}


def test_a_reference_is_the_same_in_dockers_short_form_and_in_full(write: Write) -> None:
    image = Image(references=("busybox:1", "docker.io/x/y:2"))
    full = ("docker.io/library/busybox:1", "x/y:2")
    for entries in (archives.classic(image), archives.oci(image)):
        record = write(
            archives.tarball(entries),
            references=full,
            docker_says=dict.fromkeys(full, image.image_id),
        ).record
        assert record["references"] == list(full)


def test_the_digest_that_containerds_store_calls_the_id_is_followed_to_the_configuration(
    write: Write,
) -> None:
    for with_indexes in (False, True):
        entries = archives.oci(pack=gzip.compress, with_indexes=with_indexes)
        assert (
            write(
                archives.tarball(entries), docker_says={REFERENCE: archives.top_digest(entries)}
            ).record["image_id"]
            == Image().image_id
        )


def test_an_index_may_be_missing_from_the_archive_if_the_registry_vouches_for_the_image_id(
    write: Write,
) -> None:
    data, absent = archives.tarball(archives.oci()), {REFERENCE: f"sha256:{'0' * 64}"}
    assert (
        write(data, "--image-id", f"{REFERENCE}={Image().image_id}", docker_says=absent).status == 0
    )
    assert write(data, docker_says=absent).status == 6


def containerds_store(directory: Path, by_platform: str | None, image: Image) -> Path:
    """A docker that calls the image by the digest of an index; `by_platform` is its ID where it is
    asked for the platform, None: this docker cannot be asked that.
    """
    described = {
        "Id": f"sha256:{'0' * 64}",
        "RootFS": {"Layers": json.loads(image.configuration)["rootfs"]["diff_ids"]},
        "Config": {"Cmd": [image.command], "Env": None, "Labels": {}},
    }
    (directory / "described").write_text(json.dumps(described))
    program = directory / "docker-with-containerd"
    refused = "echo 'unknown flag: --platform' >&2; exit 125"
    program.write_text(
        f"""#!/bin/sh
shift 2
if [ "$1" = --platform ]; then
  {"shift 2" if by_platform else refused}
  id={by_platform}
else
  id=sha256:{"0" * 64}
fi
case $2 in
'{{{{.Id}}}}') echo $id;;
'{{{{json .}}}}') cat {directory}/described;;
*) exit 9;;
esac
"""
    )
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("docker_has", "has_platforms", "status"),
    [
        (Image(), True, 0),
        (Image(), False, 0),
        (Image(command="/bin/no"), False, 6),
        (Image(layers=(archives.layer(seed=9),)), False, 6),
    ],
    ids=["asked by platform", "docker 28.0", "another command", "other layers"],
)
def test_where_docker_calls_an_image_by_its_index_its_word_for_the_platform_is_the_proof(
    docker_has: Image, has_platforms: bool, status: int, write: Write, tmp_path: Path
) -> None:
    entries = archives.oci(pack=gzip.compress)
    manifest = archives.top_digest(entries) if has_platforms else None
    asked = containerds_store(tmp_path, manifest, docker_has)
    ran = write(archives.tarball(entries), "--platform", "linux/amd64", asked=asked)
    assert ran.status == status, ran.sentence
    if status == 0:
        assert ran.record["image_id"] == Image().image_id


ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"


def zstd_like(data: bytes) -> bytes:
    return b"\x28\xb5\x2f\xfd" + data


def test_zstd_layers_are_proven_by_the_digests_of_their_manifest(write: Write, shelf: Path) -> None:
    data = archives.tarball(archives.oci(pack=zstd_like, layer_type=ZSTD))
    assert write(data).record["image_id"] == Image().image_id
    assert run("publish", shelf, FILE).status == 0
    assert run("verify", shelf / FILE).record["recorded"] is True


@dataclass(frozen=True)
class Damage:
    """What is done to an archive, and what the sentence says of it."""

    entries: Callable[[Entries], Entries] = list
    raw: Callable[[bytes], bytes] = bytes
    compressed: Callable[[bytes], bytes] = bytes
    layout: Callable[[], Entries] = archives.classic
    says: str = ""
    seen_by_gzip: bool = False
    only_docker_knows: bool = False


DAMAGES = {
    "a flipped bit in a layer": Damage(entries=archives.flipped_bit, says="layer 1 of 3, "),
    "a flipped bit in a blob": Damage(
        entries=archives.flipped_bit, layout=archives.oci, says="is damaged: its sha256 is"
    ),
    "a flipped bit in a gzip layer": Damage(
        entries=archives.flipped_bit,
        layout=lambda: archives.oci(pack=gzip.compress),
        says="is damaged: its sha256 is",
    ),
    "an edited configuration": Damage(
        entries=archives.edited_configuration, says="is not what its name says"
    ),
    "an edited configuration under the right name": Damage(
        entries=archives.renamed_configuration,
        says=f"docker's is {Image().image_id}",
        only_docker_knows=True,
    ),
    "a missing layer": Damage(entries=archives.without_layer, says="is missing from the archive"),
    "a missing blob": Damage(
        entries=archives.without_layer, layout=archives.oci, says="is missing from the archive"
    ),
    "a layer that manifest.json leaves out": Damage(
        entries=archives.with_manifest(lambda manifest: manifest[0]["Layers"].pop()),
        says="has 2 layers, the configuration names 3",
    ),
    "two layers in the wrong order": Damage(
        entries=archives.with_manifest(lambda manifest: manifest[0]["Layers"].reverse()),
        says="is not what the configuration says",
    ),
    "a missing configuration": Damage(
        entries=archives.without_member(f"{Image().image_id[7:]}.json"),
        says="is missing from the archive",
    ),
    "no manifest.json": Damage(
        entries=archives.without_member("manifest.json"), says="has no manifest.json"
    ),
    "no index.json where there is an oci-layout": Damage(
        entries=archives.without_member("index.json"),
        layout=archives.oci,
        says="index.json is missing",
    ),
    "an index.json that names another image": Damage(
        layout=lambda: [*archives.oci(Image(references=("other:1",)))[:-2], *archives.oci()[-2:]],
        says="index.json and manifest.json of the archive differ",
    ),
    "no RepoTags": Damage(entries=archives.with_tags(), says="has no RepoTags"),
    "wrong RepoTags": Damage(
        entries=archives.with_tags("other:1"),
        says=f"the archive names other:1; expected was {REFERENCE}",
    ),
    "one RepoTag too many": Damage(
        entries=archives.with_tags(REFERENCE, "other:1"), says="other:1"
    ),
    "no image at all": Damage(entries=archives.with_manifest(list.clear), says="names no image"),
    "a manifest.json that is no list": Damage(
        entries=lambda _: [archives.Entry("manifest.json", b"{}")],
        says="is not the JSON that it should be",
    ),
    "a manifest.json of a thousand brackets": Damage(
        entries=lambda _: [archives.Entry("manifest.json", b"[" * 100_000)],
        says="is not the JSON that it should be",
    ),
    "a huge manifest.json": Damage(
        entries=lambda _: [archives.Entry("manifest.json", b"[" + b" " * (3 << 20) + b"]")],
        says="manifest.json has 3145730 bytes",
    ),
    "a configuration without rootfs": Damage(
        entries=lambda _: [
            archives.Entry("c", b'{"schemaVersion":2}'),
            archives.Entry("manifest.json", b'[{"Config":"c"}]'),
        ],
        says="no usable rootfs",
    ),
    "layers in zstd": Damage(
        layout=lambda: archives.oci(pack=zstd_like),
        says="is compressed with zstd, and no manifest in the archive has it as such a layer",
    ),
    "a flipped bit in a zstd layer": Damage(
        entries=archives.flipped_bit,
        layout=lambda: archives.oci(pack=zstd_like, layer_type=ZSTD),
        says="is damaged: its sha256 is",
    ),
    "zstd layers in another order than in the manifest": Damage(
        entries=archives.with_manifest(lambda manifest: manifest[0]["Layers"].reverse()),
        layout=lambda: archives.oci(pack=zstd_like, layer_type=ZSTD),
        says="no manifest in the archive has it as such a layer",
    ),
    "a file twice with different content": Damage(
        entries=lambda entries: [*entries, archives.Entry("manifest.json", b"[]")],
        says="is in it twice",
    ),
    "a device in it": Damage(
        raw=lambda data: data[:156] + b"3" + data[157:], says="there is no header"
    ),
    "a name that leads outside": Damage(
        entries=lambda entries: [archives.Entry("../evil", b"x"), *entries],
        says="does not belong into it",
    ),
    "its end cut off at a header": Damage(
        raw=archives.cut_at_a_header, says="it ends in the place of a header"
    ),
    "its end cut off inside a member": Damage(raw=archives.cut_mid_member, says="it ends in"),
    "one zero block in place of two": Damage(
        raw=archives.cut_before_the_second_zero_block, says="it ends in its end"
    ),
    "garbage behind its end": Damage(
        raw=lambda data: data + b"garbage", says="something follows its end"
    ),
    "another archive behind its end": Damage(
        raw=lambda data: data + data, says="something follows its end"
    ),
    "docker's error in place of its end": Damage(
        raw=archives.docker_error, says="no space left on device"
    ),
    "docker's error behind its end": Damage(
        raw=archives.docker_error_behind_the_end, says="layer does not exist"
    ),
    "docker's error inside a layer": Damage(
        raw=lambda data: (
            archives.cut_mid_member(data) + b'{"errorDetail":{"message":"oops"},"error":"oops"}'
        ),
        says="oops",
    ),
    "an empty archive in it": Damage(raw=lambda _: bytes(10240), says="has no manifest.json"),
    "compressed data that is cut off": Damage(
        compressed=lambda data: data[:-1000],
        says="the compressed data is damaged: it is cut short",
        seen_by_gzip=True,
    ),
    "a compressed trailer that is cut off": Damage(
        compressed=lambda data: data[:-3],
        says="the compressed data is damaged: it is cut short",
        seen_by_gzip=True,
    ),
    "a flipped bit in the compressed data": Damage(
        compressed=lambda data: data[:5000] + bytes([data[5000] ^ 4]) + data[5001:],
        says="damaged",
        seen_by_gzip=True,
    ),
    "garbage behind the compressed data": Damage(
        compressed=lambda data: data + b"garbage",
        says="the compressed data is damaged",
        seen_by_gzip=True,
    ),
    "no gzip at all": Damage(
        compressed=gzip.decompress, says="the compressed data is damaged", seen_by_gzip=True
    ),
}


def damaged(damage: Damage) -> bytes:
    return damage.compressed(
        gzip.compress(damage.raw(archives.tar(damage.entries(damage.layout()))), 1)
    )


@pytest.mark.parametrize("name", DAMAGES)
def test_an_archive_with_damage_is_not_kept(name: str, write: Write, shelf: Path) -> None:
    damage = DAMAGES[name]
    data = damaged(damage)
    if not damage.seen_by_gzip:
        gzip.decompress(data)
    ran = write(data)
    assert ran.status == 6
    assert damage.says in ran.sentence
    assert ran.stdout == ""
    assert listing(shelf) == {}


@pytest.mark.parametrize(
    "name", [name for name, damage in DAMAGES.items() if not damage.only_docker_knows]
)
@pytest.mark.slow
def test_an_existing_tarball_with_damage_is_reported(name: str, shelf: Path) -> None:
    (shelf / FILE).write_bytes(damaged(DAMAGES[name]))
    ran = run("verify", shelf / FILE, "--reference", REFERENCE)
    assert ran.status == 6
    assert DAMAGES[name].says in ran.sentence


def test_the_registrys_image_id_must_be_the_one_in_the_archive(write: Write) -> None:
    ran = write(archives.tarball(), "--image-id", f"{REFERENCE}=sha256:{'0' * 64}")
    assert (ran.status, "the registry's is sha256:0000" in ran.sentence) == (6, True)
    assert "mirror" in ran.sentence


@pytest.mark.parametrize("data", [b"", gzip.compress(b"")], ids=["nothing", "gzip of nothing"])
def test_a_docker_that_died_before_it_wrote_anything_is_a_failure(
    data: bytes, write: Write, shelf: Path
) -> None:
    ran = write(data)
    assert (ran.status, ran.sentence, listing(shelf)) == (
        4,
        "docker save wrote nothing; nothing was saved",
        {},
    )


def test_without_docker_or_without_the_image_nothing_is_touched(write: Write, shelf: Path) -> None:
    (shelf / f".{FILE}.partial").write_bytes(b"old")
    ran = write(archives.tarball(), docker_says={})
    assert (ran.status, "No such image" in ran.sentence) == (3, True)
    ran = run(
        "write",
        shelf,
        FILE,
        "--reference",
        REFERENCE,
        "--docker",
        "/nonexistent/docker",
        "--record",
        json.dumps(SEED),
    )
    assert (ran.status, listing(shelf)) == (3, {f".{FILE}.partial": b"old"})


def test_a_link_under_the_partials_name_is_refused_and_not_followed(
    write: Write, shelf: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (shelf / f".{FILE}.partial").symlink_to(victim)
    ran = write(archives.tarball())
    assert (ran.status, "symbolic link" in ran.sentence, victim.read_text()) == (
        3,
        True,
        "precious",
    )


@pytest.mark.parametrize(
    "command",
    [
        ("write", "--reference", REFERENCE, "--docker", "DOCKER"),
        ("receive", "--size", "100000", "--offset", "0", "--reference", REFERENCE),
    ],
    ids=lambda command: command[0],
)
def test_a_full_disk_leaves_no_partial_and_says_so(
    command: tuple[str, ...], shelf: Path, docker: Callable[..., Path]
) -> None:
    """/dev/full would need a device under the partial's name; a file size limit fails the write the
    same way, after some of it.
    """
    asked = str(docker(**{REFERENCE: Image().image_id}))
    argv = [word.replace("DOCKER", asked) for word in command]
    limited = program(
        "import resource\n"
        "from breakglass.remote.archive.main import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))\n"
        "sys.exit(main(sys.argv[1:], None))"
    )
    line = [
        HOST.python,
        "-c",
        limited,
        argv[0],
        str(shelf),
        FILE,
        *argv[1:],
        "--record",
        json.dumps(SEED),
    ]
    ended = subprocess.run(
        line,
        input=archives.tarball(),
        capture_output=True,
        timeout=120,
        check=False,
        start_new_session=True,
    )
    assert ended.returncode == 4
    assert ended.stderr.splitlines()[-1].startswith(b"@no-room no room left")
    assert b"the partial was removed" in ended.stderr
    assert listing(shelf) == {}


def test_hostile_names_and_records_are_usage_errors_and_touch_nothing(shelf: Path) -> None:
    record = json.dumps(SEED)
    for file in (
        "../x-1.tar.gz",
        "-x-1.tar.gz",
        ".x-1.tar.gz",
        "x-1.tar",
        "x-1.tar.gz\n",
        "x 1-2.tar.gz",
        "infra-ci-latest.tar.gz",
        "x-" + "1" * 300 + ".tar.gz",
    ):
        assert run("publish", shelf, file).status == 2, file
        assert run("discard", shelf, file).status == 2, file
    for reference in ("-rf", "a b", "a\x1b[31m:1", "$(id)", "a;b", "a@sha256:1"):
        ran = run("write", shelf, FILE, "--reference", reference, "--record", record)
        assert ran.status == 2, reference
        assert "\x1b" not in ran.sentence
    for bad in (
        "[]",
        "{",
        json.dumps({**SEED, "tag": "other"}),
        json.dumps({**SEED, "sequence": "7"}),
        json.dumps({**SEED, "created_at": "yesterday"}),
    ):
        assert run("write", shelf, FILE, "--reference", REFERENCE, "--record", bad).status == 2, bad
    assert listing(shelf) == {}


@pytest.mark.parametrize("how", ["lifeline closes", "SIGTERM", "SIGHUP"])
def test_a_save_whose_caller_dies_ends_with_its_whole_process_group_and_leaves_nothing(
    how: str, shelf: Path, docker: Callable[..., Path]
) -> None:
    reading, writing = os.pipe()
    argv = (
        "write",
        shelf,
        FILE,
        "--reference",
        REFERENCE,
        "--docker",
        docker(**{REFERENCE: Image().image_id}),
        "--record",
        json.dumps(SEED),
    )
    process = start(reading, *argv, pass_fds=(reading,))
    os.close(reading)
    save = subprocess.Popen(["sleep", "60"], process_group=process.pid)
    assert process.stdin is not None
    process.stdin.write(archives.tarball()[:20_000])
    process.stdin.flush()
    wait_for(
        lambda: (
            (shelf / f".{FILE}.partial").exists()
            and (shelf / f".{FILE}.partial").stat().st_size > 0
        )
    )
    if how == "lifeline closes":
        os.close(writing)
        assert save.wait(30) == -signal.SIGTERM
    else:
        process.send_signal(getattr(signal, how))
    status = process.wait(30)
    save.kill()
    save.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    if how != "lifeline closes":
        os.close(writing)
    assert status == 128 + (signal.SIGHUP if how == "SIGHUP" else signal.SIGTERM)
    assert listing(shelf) == {}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# receive


def record_of(data: bytes, **more: object) -> dict[str, Any]:
    proof = {
        "references": [REFERENCE],
        "image_id": Image().image_id,
        "companions": {},
        "platform": "linux/amd64",
        "size_bytes": len(data),
        "sha256": archives.hexadecimal(data),
    }
    return {"schema": 1, **SEED, **proof, **more}


def receive(
    shelf: Path,
    data: bytes,
    *,
    offset: int = 0,
    upto: int | None = None,
    size: int | str | None = None,
    record: dict[str, Any] | None = None,
    sends: bytes | None = None,
    more: tuple[str, ...] = (),
) -> Ran:
    sent = data[offset:upto] if sends is None else sends
    reported = json.dumps(record_of(data) if record is None else record)
    return run(
        "receive",
        shelf,
        FILE,
        "--size",
        str(len(data) if size is None else size),
        "--offset",
        str(offset),
        "--record",
        reported,
        *more,
        data=sent,
    )


def test_a_tarball_is_received_and_published(shelf: Path) -> None:
    data = archives.tarball()
    assert receive(shelf, data).record == record_of(data)
    assert listing(shelf).keys() == {f".{FILE}.partial", ".infra-ci-0a1b2c3d.json.partial"}
    assert run("publish", shelf, FILE).record == record_of(data)
    assert listing(shelf)[FILE] == data


def test_a_transfer_cut_short_is_resumed_where_it_stopped(shelf: Path) -> None:
    data = archives.tarball()
    ran = receive(shelf, data, upto=20_000)
    assert (ran.status, f"only 20000 of {len(data)} bytes" in ran.sentence) == (4, True)
    assert listing(shelf) == {
        f".{FILE}.partial": data[:20_000],
        f".{FILE}.partial.sha256": archives.hexadecimal(data).encode() + b"\n",
    }
    assert receive(shelf, data, offset=20_000).record == record_of(data)
    assert listing(shelf)[f".{FILE}.partial"] == data


def test_a_transfer_that_is_ended_by_a_signal_is_kept_for_the_next_run(shelf: Path) -> None:
    data = archives.tarball()
    process = start(
        0,
        "receive",
        shelf,
        FILE,
        "--size",
        str(len(data)),
        "--offset",
        "0",
        "--record",
        json.dumps(record_of(data)),
    )
    assert process.stdin is not None
    process.stdin.write(data[:20_000])
    process.stdin.flush()
    wait_for(
        lambda: (
            (shelf / f".{FILE}.partial").exists()
            and (shelf / f".{FILE}.partial").stat().st_size == 20_000
        )
    )
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert receive(shelf, data, offset=20_000).status == 0


def test_a_source_that_says_nothing_for_a_minute_is_given_up(shelf: Path) -> None:
    data = archives.tarball()
    line = [
        HOST.python,
        "-c",
        booted(0, silence_seconds=0.3),
        "receive",
        str(shelf),
        FILE,
        "--size",
        str(len(data)),
        "--offset",
        "0",
        "--record",
        json.dumps(record_of(data)),
    ]
    with subprocess.Popen(
        line,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(data[:1000])
        process.stdin.flush()
        assert process.wait(10) == 4


def test_a_partial_of_another_tarball_is_never_spliced(shelf: Path) -> None:
    data, other = archives.tarball(), archives.tarball(archives.oci())
    receive(shelf, other, upto=20_000)
    before = listing(shelf)
    assert receive(shelf, data, offset=20_000).status == 6
    assert receive(shelf, other, offset=19_999).status == 6
    assert listing(shelf) == before
    assert receive(shelf, data).status == 0


def test_a_resumed_tarball_that_is_not_the_recorded_one_is_removed(shelf: Path) -> None:
    data = archives.tarball()
    receive(shelf, data, upto=20_000)
    (shelf / f".{FILE}.partial").write_bytes(bytes(20_000))
    ran = receive(shelf, data, offset=20_000)
    assert (ran.status, "start again" in ran.sentence, listing(shelf)) == (6, True, {})


def test_more_bytes_than_recorded_or_a_source_of_another_size_are_refused(shelf: Path) -> None:
    data = archives.tarball()
    assert receive(shelf, data, sends=data + b"x").status == 6
    assert receive(shelf, data, size=len(data) - 1).status == 6
    assert listing(shelf) == {}


def test_a_tarball_without_sidecars_is_accepted_after_full_verification(shelf: Path) -> None:
    data = archives.tarball()
    for size in (len(data), "unknown"):
        record = receive(
            shelf, data, size=size, record={**SEED, "sequence": 0}, more=("--reference", REFERENCE)
        ).record
        assert record == record_of(data, sequence=0)
    bad = damaged(DAMAGES["a flipped bit in a layer"])
    ran = receive(shelf, bad, record=SEED, more=("--reference", REFERENCE))
    assert (ran.status, "layer 1 of 3" in ran.sentence, listing(shelf)) == (6, True, {})
    ran = receive(shelf, data, upto=20_000, record=SEED, more=("--reference", REFERENCE))
    assert (ran.status, listing(shelf)) == (4, {})
    assert receive(shelf, data, record=SEED).status == 2


def test_a_tarball_for_which_there_is_no_room_is_refused_before_it_comes(shelf: Path) -> None:
    data = archives.tarball()
    ran = receive(shelf, data, size=1 << 50, record=record_of(data, size_bytes=1 << 50))
    assert (ran.status, ran.sentence[:18], listing(shelf)) == (3, "@no-room no room i", {})
    assert (
        run(
            "receive",
            shelf / "absent",
            FILE,
            "--size",
            "5",
            "--offset",
            "0",
            "--record",
            json.dumps(record_of(data, size_bytes=5)),
        ).status
        == 3
    )


# verify


def test_verify_compares_with_the_record_beside_the_tarball_and_says_what_differs(
    shelf: Path,
) -> None:
    data = archives.tarball()
    (shelf / FILE).write_bytes(data)
    sidecar = shelf / "infra-ci-0a1b2c3d.json"
    assert run("verify", shelf / FILE).record["recorded"] is False
    sidecar.write_text(json.dumps(record_of(data)))
    assert run("verify", shelf / FILE).record["recorded"] is True
    sidecar.write_text(
        json.dumps(record_of(data, sha256="0" * 64, size_bytes=5, previous=record_of(data)))
    )
    assert run("verify", shelf / FILE).record["recorded"] is True
    sidecar.write_text(
        json.dumps(record_of(data, sha256="0" * 64, size_bytes=5, image_id=f"sha256:{'1' * 64}"))
    )
    ran = run("verify", shelf / FILE)
    assert ran.status == 6
    assert f"size_bytes is {len(data)}, its record says 5" in ran.sentence
    assert "sha256 is" in ran.sentence
    assert f"image_id is {Image().image_id}, its record says sha256:1111" in ran.sentence
    sidecar.write_text('{"schema": 1')
    assert run("verify", shelf / FILE).status == 6


def test_verify_tells_the_platform_and_refuses_another_image_id(shelf: Path) -> None:
    image = Image(architecture="arm64")
    (shelf / FILE).write_bytes(archives.tarball(archives.classic(image)))
    assert (
        run("verify", shelf / FILE, "--image-id", image.image_id).record["platform"]
        == "linux/arm64"
    )
    assert run("verify", shelf / FILE, "--image-id", Image().image_id).status == 6


def test_verify_of_no_file_a_link_or_a_directory_is_refused(shelf: Path) -> None:
    assert run("verify", shelf / FILE).status == 3
    (shelf / FILE).symlink_to("elsewhere")
    assert run("verify", shelf / FILE).status == 3
    (shelf / FILE).unlink()
    (shelf / FILE).mkdir()
    assert run("verify", shelf / FILE).status == 3


def test_text_from_an_archive_is_reported_without_control_characters(shelf: Path) -> None:
    (shelf / FILE).write_bytes(
        archives.tarball(archives.with_tags("\x1b[31m\nevil:1")(archives.classic()))
    )
    ran = run("verify", shelf / FILE, "--reference", REFERENCE)
    assert "evil:1" in ran.sentence
    assert "\x1b" not in ran.stderr


# publish


def prepare(shelf: Path, data: bytes, **more: object) -> dict[str, Any]:
    """A verified partial with its record, as `write` leaves it."""
    record = record_of(data, **more)
    (shelf / f".{FILE}.partial").write_bytes(data)
    (shelf / ".infra-ci-0a1b2c3d.json.partial").write_text(json.dumps(record))
    return record


def test_publishing_gives_the_tarball_and_its_sidecars_their_names(shelf: Path) -> None:
    data = archives.tarball()
    record = prepare(shelf, data)
    assert run("publish", shelf, FILE).record == record
    held = listing(shelf)
    assert held.keys() == {FILE, f"{FILE}.sha256", "infra-ci-0a1b2c3d.json"}
    assert json.loads(held["infra-ci-0a1b2c3d.json"]) == record
    assert (
        subprocess.run(
            ["sha256sum", "-c", "--strict", f"{FILE}.sha256"],
            cwd=shelf,
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )
    assert run("publish", shelf, FILE).record == record
    assert listing(shelf) == held


def test_a_partial_that_is_not_whole_or_has_no_complete_record_is_not_published(
    shelf: Path,
) -> None:
    assert run("publish", shelf, FILE).status == 3
    prepare(shelf, b"data", size_bytes=5)
    assert run("publish", shelf, FILE).status == 6
    prepare(shelf, b"data")
    (shelf / ".infra-ci-0a1b2c3d.json.partial").write_text(json.dumps(record_of(b"data"))[:-20])
    assert run("publish", shelf, FILE).status == 6
    assert FILE not in listing(shelf)


def test_directories_and_links_under_the_published_names_are_refused(shelf: Path) -> None:
    prepare(shelf, b"data")
    (shelf / FILE).symlink_to("elsewhere")
    assert run("publish", shelf, FILE).status == 3
    (shelf / FILE).unlink()
    (shelf / "infra-ci-0a1b2c3d.json").mkdir()
    assert run("publish", shelf, FILE).status == 3


def test_a_tarball_that_no_record_fits_is_replaced(shelf: Path) -> None:
    record = prepare(shelf, b"data")
    (shelf / FILE).write_bytes(b"made by the old pipeline")
    assert run("publish", shelf, FILE).record == record
    assert listing(shelf)[FILE] == b"data"


def test_a_published_tarball_that_no_record_names_is_reported(shelf: Path) -> None:
    (shelf / FILE).write_bytes(b"data")
    assert run("publish", shelf, FILE).status == 6


CUT_SHORT_AT_EVERY_LINE = """
import argparse, itertools, json, os, pathlib, shutil, sys
script, shelf, template, file = sys.argv[1:]
silence = os.open(os.devnull, os.O_WRONLY)
sys.path.insert(0, script)
from breakglass.remote.archive import publish as module

def publish(lines):
    # Ends the process, as a pulled plug would, when so many lines of the script have run.
    if os.fork() == 0:
        os.dup2(silence, 2)
        def trace(frame, event, argument):
            nonlocal lines
            if not frame.f_code.co_filename.startswith(script):
                return None
            if event == "line":
                lines -= 1
                if lines < 0:
                    os._exit(99)
            return trace
        sys.settrace(trace if lines is not None else None)
        module.publish(argparse.Namespace(directory=pathlib.Path(shelf), file=file))
        os._exit(0)
    return os.WEXITSTATUS(os.wait()[1])

def look():
    return {entry.name: open(entry.path, "rb").read().decode() for entry in os.scandir(shelf)}

seen = []
for lines in itertools.count():
    shutil.rmtree(shelf)
    shutil.copytree(template, shelf)
    status = publish(lines)
    cut = look()
    if not any(cut == state for state, _, _ in seen):
        seen.append((cut, publish(None), look()))
    if status != 99:
        break
print(json.dumps({"status": status, "seen": seen}))
"""


@pytest.mark.parametrize(
    "before",
    [
        "nothing",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in (
                "another image under the same tag",
                "the same tarball",
                "a replacement that was cut short",
                "an unverified tarball",
            )
        ),
    ],
)
@pytest.mark.slow
def test_a_publish_cut_short_at_any_line_leaves_proven_tarballs_and_the_next_finishes_it(
    before: str, shelf: Path, tmp_path: Path
) -> None:
    old, new = record_of(b"old tarball", sequence=1), record_of(b"new", sequence=2)
    sidecar = shelf / "infra-ci-0a1b2c3d.json"
    if before in ("another image under the same tag", "a replacement that was cut short"):
        (shelf / FILE).write_bytes(b"old tarball")
        sidecar.write_text(
            json.dumps(
                old if before.startswith("another") else record_of(b"never came", previous=old)
            )
            + "\n"
        )
        (shelf / f"{FILE}.sha256").write_text(f"{old['sha256']}  {FILE}\n")
    if before == "the same tarball":
        prepare(shelf, b"new", sequence=1)
        assert run("publish", shelf, FILE).status == 0
    if before == "an unverified tarball":
        (shelf / FILE).write_bytes(b"old tarball")
    prepare(shelf, b"new", sequence=2)
    shelf.rename(tmp_path / "template")
    shelf.mkdir()
    ended = subprocess.run(
        [
            HOST.python,
            "-c",
            CUT_SHORT_AT_EVERY_LINE,
            str(zipapp()),
            str(shelf),
            str(tmp_path / "template"),
            FILE,
        ],
        capture_output=True,
        timeout=240,
        check=True,
        start_new_session=True,
    )
    report = json.loads(ended.stdout)
    assert report["status"] == 0
    assert len(report["seen"]) > 5, "fewer states than steps: the harness saw nothing"
    for cut, again, after in report["seen"]:
        proofs: list[str] = []
        if "infra-ci-0a1b2c3d.json" in cut:
            record = json.loads(cut["infra-ci-0a1b2c3d.json"])
            sums = cut.get(f"{FILE}.sha256", "")
            proofs = [
                each["sha256"]
                for each in (record, record.get("previous"))
                if each and each["sha256"] in sums
            ]
        if FILE in cut and not (before == "an unverified tarball" and cut[FILE] == "old tarball"):
            assert archives.hexadecimal(cut[FILE].encode()) in proofs
        assert again == 0
        assert after.keys() == {FILE, f"{FILE}.sha256", "infra-ci-0a1b2c3d.json"}
        assert (
            after[FILE],
            json.loads(after["infra-ci-0a1b2c3d.json"]),
            after[f"{FILE}.sha256"],
        ) == ("new", new, f"{new['sha256']}  {FILE}\n")


# discard


def test_discard_removes_our_hidden_files_of_that_tarball_and_nothing_else(shelf: Path) -> None:
    ours = [
        f".{FILE}.partial",
        f".{FILE}.partial.sha256",
        ".infra-ci-0a1b2c3d.json.partial",
        ".infra-ci-0a1b2c3d.json.sig.partial",
        ".infra-ci-0a1b2c3d.json.sig.new",
        ".infra-ci-0a1b2c3d.json.new",
    ]
    others = [
        FILE,
        f"{FILE}.sha256",
        "infra-ci-0a1b2c3d.json",
        "infra-ci-0a1b2c3d.json.sig",
        ".infra-ci-ffffffff.tar.gz.partial",
        ".profile",
        ".breakglass.lock",
    ]
    for name in ours + others:
        (shelf / name).write_text("x")
    assert sorted(run("discard", shelf, FILE).record["removed"]) == sorted(ours)
    assert sorted(listing(shelf)) == sorted(others)
    assert run("discard", shelf, FILE).record == {"removed": []}


# the script


def test_progress_is_reported_in_compressed_bytes(shelf: Path) -> None:
    data = archives.tarball()
    (shelf / FILE).write_bytes(data)
    assert f"@progress {len(data)}\n" in run("verify", shelf / FILE).stderr


def test_the_memory_stays_flat_whatever_the_archive_holds(shelf: Path) -> None:
    """100 MB of zeros, and JSON that looks like configurations: the peak that the kernel has
    counted for the process.
    """
    junk = [
        archives.Entry(f"{number:064x}.json", b'{"diff_ids"' + b" " * (1 << 20))
        for number in range(6)
    ]
    (shelf / FILE).write_bytes(
        archives.tarball([*junk, *archives.classic(Image(layers=(bytes(100 << 20),)))])
    )
    measured = program(
        "from breakglass.remote.archive.main import main\n"
        "status = main(sys.argv[1:], None)\n"
        "print(open('/proc/self/status').read())\n"
        "sys.exit(status)"
    )
    ended = subprocess.run(
        [HOST.python, "-c", measured, "verify", str(shelf / FILE)],
        capture_output=True,
        timeout=240,
        check=True,
        start_new_session=True,
    )
    kilobytes = next(
        int(line.split()[1])
        for line in ended.stdout.decode().splitlines()
        if line.startswith("VmHWM:")
    )
    assert kilobytes < 60_000


def test_two_real_programs_in_a_real_pipe_are_what_write_reads(
    shelf: Path, docker: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "archive.tar").write_bytes(archives.tar(archives.classic()))
    asked = docker(**{REFERENCE: Image().image_id})
    words = script(
        "archive",
        "write",
        shelf,
        FILE,
        "--reference",
        REFERENCE,
        "--docker",
        asked,
        "--record",
        "$0",
    )
    line = f"cat {tmp_path}/archive.tar | gzip | " + " ".join(f'"{word}"' for word in words)
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line, json.dumps(SEED)],
        capture_output=True,
        timeout=120,
        check=False,
        start_new_session=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert run("publish", shelf, FILE).status == 0
    assert run("verify", shelf / FILE).record["recorded"] is True


def test_a_lifeline_that_stays_open_disturbs_nothing(shelf: Path) -> None:
    (shelf / FILE).write_bytes(archives.tarball())
    process = start(0, "verify", shelf / FILE)
    assert process.stdin is not None
    beating = threading.Thread(target=process.stdin.write, args=(b"\n",))
    beating.start()
    beating.join()
    assert process.wait(10) == 0
    process.communicate()
