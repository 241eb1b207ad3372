"""What a hostile archive can do: properties of `archive verify` and `archive canonical` over
archives that readers of tar take differently.
"""

import argparse
import contextlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from breakglass.remote.archive.canonical import write_canonical
from breakglass.remote.archive.verify import verify
from breakglass.remote.faults import Fault
from tests import archives, hostile_archives
from tests.archives import REFERENCE
from tests.hostile_archives import NAMES, SMALL, blobs_of, manifests_of, packed, read_strictly
from tests.unit.strategies import TIMES

FILE = "infra-ci-0a1b2c3d.tar.gz"
INTEGRITY = 6


@contextlib.contextmanager
def stdout_in(path: Path) -> Iterator[None]:
    """Descriptor 1 is a file."""
    kept = os.dup(1)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def outcome(command: Callable[[argparse.Namespace], Any], **arguments: object) -> int:
    try:
        command(argparse.Namespace(**arguments))
    except Fault as fault:
        return fault.status
    return 0


@given(seed=some.integers(min_value=0, max_value=1 << 40))
@settings(max_examples=300 * TIMES)
def test_of_a_hostile_archive_the_verified_image_is_written_or_nothing(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.getbasetemp()
    path, out = directory / FILE, directory / "canonical.tar"
    path.write_bytes(hostile_archives.made(seed))
    verified = outcome(
        verify, file=path, reference=[REFERENCE], companion=[], image_id=SMALL.image_id
    )
    with stdout_in(out):
        written = outcome(
            write_canonical, file=path, images=[(REFERENCE, SMALL.image_id)], digest=[]
        )
    data = out.read_bytes()
    assert written == verified
    if verified != 0:
        assert not any(name.encode() in data for name in NAMES)
        return
    files = read_strictly(data)
    manifest = manifests_of(files)[REFERENCE]
    parts = {part["digest"][7:] for part in (manifest["config"], *manifest["layers"])}
    assert parts in [{name[13:] for name in blobs_of(SMALL, pack)} for pack in (bytes, packed)]
    assert len(files) == len(parts) + 1 + len(NAMES)
    for name, content in files.items():
        assert name in NAMES or name == f"blobs/sha256/{archives.hexadecimal(content)}"
    assert b"evil" not in data
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as streamed:
        assert [member.name for member in streamed] == list(files)


def test_the_generator_makes_archives_of_both_kinds(tmp_path: Path) -> None:
    """Else the property would say nothing."""
    path = tmp_path / FILE
    outcomes = set()
    for seed in range(60):
        path.write_bytes(hostile_archives.made(seed))
        outcomes.add(outcome(verify, file=path, reference=[REFERENCE], companion=[], image_id=None))
    assert outcomes == {0, INTEGRITY}
