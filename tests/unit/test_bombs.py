"""Archives, records and answers that are small and would take much memory or time: each is refused,
and a program on a host stays below 64 MB.
"""

import gzip
import io
import itertools
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from breakglass.remote.archive import stream
from breakglass.remote.archive.index import reached
from breakglass.remote.archive.names import read_text
from breakglass.remote.archive.tar import Content, Tar, read_archive
from breakglass.remote.faults import INTEGRITY, Fault
from breakglass.remote.limits import DOCUMENT_BYTES, HEADERS, PADDING_BYTES, RECORD_BYTES
from breakglass.remote.taken.record import RECORD, load

MOST_MEMORY = 64_000_000
END = bytes(1024)


def member(name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = len(content), kind
    return entry.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


def pax(number: int) -> bytes:
    """An extended header with a key that no other one has."""
    text = f"key{number:09d}={'x' * 480}\n"
    return member("x", f"{len(text) + 4} {text}".encode(), tarfile.XHDTYPE)


def long_name(number: int) -> bytes:
    name = f"{number:09d}".encode() + b"\xff" * 1000
    return member("L", name, tarfile.GNUTYPE_LONGNAME) + member("y", b"")


def small_objects(size: int) -> bytes:
    return b"[" + b'{"":0},' * ((size - 4) // 7) + b"{}]"


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "zeros behind the end": (lambda: END + bytes(PADDING_BYTES * 200), "follow its end"),
    "extended headers of one file": (
        lambda: b"".join(map(pax, range(HEADERS))),
        "too many extended headers",
    ),
    "directories without end": (
        lambda: member("d", b"", tarfile.DIRTYPE) * (HEADERS + 1),
        "headers",
    ),
    "long names": (lambda: b"".join(map(long_name, range(6000))), "headers"),
    "a huge list of objects": (
        lambda: member("manifest.json", small_objects(DOCUMENT_BYTES)) + END,
        "manifest.json",
    ),
    "a document that is too large": (
        lambda: member("index.json", small_objects(DOCUMENT_BYTES + 20)) + END,
        "which is no index.json",
    ),
    "many documents": (
        lambda: (
            b"".join(
                member(f"{number}.json", b'{"schemaVersion":' + b"1" * (DOCUMENT_BYTES - 99) + b"}")
                for number in range(20)
            )
            + END
        ),
        "more JSON in it than any image has",
    ),
}


MEASURED = """
import re, sys
from pathlib import Path
from breakglass.remote.__main__ import main
status = main(["archive", "verify", sys.argv[1]], None)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(status)
"""


def verified(tarball: Path) -> tuple[int, str, int]:
    """Exit code, stderr, and the peak of memory in bytes of `archive verify`."""
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tarball)], capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stderr, int(ended.stdout.split()[-1]) * 1024


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_in_a_tarball_is_refused_in_little_memory(bomb: str, tmp_path: Path) -> None:
    make, why = BOMBS[bomb]
    tarball = tmp_path / "infra-ci-0a1b2c3d.tar.gz"
    tarball.write_bytes(gzip.compress(make(), 1))
    status, said, peak = verified(tarball)
    assert (status, why in said) == (INTEGRITY, True), said
    assert peak < MOST_MEMORY


def zeros_in_gzip(size: int) -> bytes:
    return gzip.compress(bytes(size), 9)


@pytest.mark.parametrize("inside", [True, False], ids=["a layer", "the archive"])
def test_an_archive_that_inflates_to_many_times_its_size_is_refused(
    inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "INFLATED_BYTES", 1 << 20)
    layer = zeros_in_gzip(64 << 20) if inside else bytes(64 << 20)
    archive = gzip.compress(member("layer.tar", layer) + END)

    def read() -> Iterator[bytes]:
        source = io.BytesIO(archive)
        while chunk := source.read(4096):
            yield chunk

    with pytest.raises(Fault, match="inflates to more than") as caught:
        read_archive(Tar(read(), Fault(INTEGRITY, "empty")), Content({}, {}, {}))
    assert caught.value.status == INTEGRITY


def test_an_ordinary_archive_stays_below_the_limit() -> None:
    content = Content({}, {}, {})
    archive = gzip.compress(member("layer.tar", zeros_in_gzip(64 << 20)) + END)
    read_archive(Tar(iter([archive]), Fault(INTEGRITY, "empty")), content)
    assert set(content.members) == {"layer.tar"}


def test_a_record_that_is_too_large_counts_as_none(tmp_path: Path) -> None:
    record = tmp_path / "infra-ci-0a1b2c3d.json"
    record.write_text("x" * RECORD_BYTES)
    assert len(read_text(record)) == RECORD_BYTES
    record.write_text("x" * (RECORD_BYTES + 1))
    assert read_text(record) == ""


def test_the_record_of_changes_is_bounded(tmp_path: Path) -> None:
    text = json.dumps({"schema": 1, "namespace": "k8s.io", "files": {}, "rest": "x" * (9 << 20)})
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(Fault, match="cannot be read"):
        load(tmp_path)


def index_of(*children: str) -> bytes:
    return json.dumps({"manifests": [{"digest": child} for child in children]}).encode()


def test_an_index_that_names_the_same_children_again_and_again_is_read_once() -> None:
    """Each level has all of the next one: a walk that forgets would take 60 to the third power."""
    levels = [[f"sha256:{level}{number:063d}" for number in range(60)] for level in range(4)]
    documents = {
        "blobs/" + digest.replace(":", "/"): index_of(*below)
        for level, below in itertools.pairwise([*levels, []])
        for digest in level
    }
    documents["blobs/sha256/self"] = index_of("sha256:self", *levels[0])
    content = Content({}, {}, documents)
    began = time.process_time()
    assert reached(content, "sha256:self", {}) == {}
    assert time.process_time() - began < 5


def test_a_million_empty_members_of_gzip_are_read_in_no_time() -> None:
    empty = gzip.compress(b"")
    chunk = empty * ((2 << 20) // len(empty))
    began = time.process_time()
    chunks = (chunk[at : at + stream.CHUNK_BYTES] for at in range(0, len(chunk), 1 << 20))
    assert list(stream.inflate(chunks, stream.Inflated())) == []
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize(("mode", "directory_mode"), [(0o666, 0o700), (0o600, 0o777)])
def test_a_record_that_others_may_have_written_is_not_obeyed(
    tmp_path: Path, mode: int, directory_mode: int
) -> None:
    record = tmp_path / RECORD
    record.write_text(json.dumps({"schema": 1, "namespace": "k8s.io", "files": {}}))
    assert load(tmp_path) is not None
    record.chmod(mode)
    tmp_path.chmod(directory_mode)
    with pytest.raises(Fault, match="may have been written by others"):
        load(tmp_path)
    record.unlink()
    record.symlink_to(tmp_path / "elsewhere")
    tmp_path.chmod(0o700)
    with pytest.raises(Fault, match="is a link"):
        load(tmp_path)


def test_a_record_names_no_file_but_hosts_toml(tmp_path: Path) -> None:
    entry: dict[str, object] = {"written": "", "original": None, "made": []}
    record = {"schema": 1, "namespace": "k8s.io", "files": {"/etc/crontab": entry}}
    (tmp_path / RECORD).write_text(json.dumps(record))
    with pytest.raises(Fault, match="damaged"):
        load(tmp_path)
