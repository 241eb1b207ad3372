"""The script watch: how far an import has read its tarball, and its end when nobody is there any
more.
"""

import gzip
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from breakglass.plan import PIPE_SHELL
from tests.interpreters import script

pytestmark = pytest.mark.usefixtures("host_python")


@pytest.fixture
def tarball(tmp_path: Path) -> Path:
    path = tmp_path / "infra-ci-0a1b2c3d.tar.gz"
    path.write_bytes(gzip.compress(random.Random(1).randbytes(4 << 20), 1))
    return path


@pytest.fixture
def reading(tarball: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `gzip -dc` that stands still, since nobody takes what it gives."""
    with subprocess.Popen(["gzip", "-dc", str(tarball)], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def watch(tarball: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(script("watch", tarball), stdin=subprocess.PIPE, stderr=subprocess.PIPE)


def test_it_tells_how_far_the_file_was_read(
    tarball: Path, reading: subprocess.Popen[bytes]
) -> None:
    with watch(tarball) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert reading.poll() is None
        process.communicate()
    word, position = line.split()
    assert word == b"@progress"
    assert 0 < int(position) < tarball.stat().st_size


def test_a_gzip_that_still_reads_when_the_lifeline_ends_is_ended(
    tarball: Path, reading: subprocess.Popen[bytes]
) -> None:
    with watch(tarball) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.communicate()  # closes its standard input
    assert reading.wait(timeout=10) == -signal.SIGTERM


def test_the_whole_pipeline_that_reads_it_is_ended_and_nothing_else(tarball: Path) -> None:
    line = f"gzip -dc {tarball} | sh -c 'sleep 61; cat >/dev/null' images import -"
    with (
        subprocess.Popen([*PIPE_SHELL, line]) as pipeline,
        subprocess.Popen(["sleep", "62"]) as other,
    ):
        try:
            with watch(tarball) as process:
                assert process.stderr is not None
                process.stderr.readline()
                process.communicate()
            assert pipeline.wait(timeout=10) == 128 + signal.SIGTERM
            assert other.poll() is None
        finally:
            pipeline.kill()
            other.kill()


def test_a_reader_that_is_no_gzip_is_left_alone(tarball: Path) -> None:
    hold = (
        f"import sys, time; f = open({str(tarball)!r}, 'rb'); f.read(9); print('open', "
        f"flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with watch(tarball) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith(b"@progress")
            process.communicate()
        assert other.poll() is None
        other.kill()
