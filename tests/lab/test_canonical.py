"""What `archive canonical` writes, read by those that it is written for: Go's archive/tar, and each
containerd.
"""

import contextlib
import functools
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from breakglass.observe.containerd import parse_targets
from breakglass.remote.pack import pack

from .. import archives, hostile_archives
from ..archives import REFERENCE, Entries, Image
from ..hostile_archives import SMALL, read_strictly
from ..interpreters import script
from .environment import Environment
from .host import Host

SEEDS = 400
HERE = Path(__file__).parent
BUILD = {"GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off", "CGO_ENABLED": "0"}
CTR = ("ctr", "-n", "canonical")
TARBALL, PROGRAM = "/root/infra-ci-0a1b2c3d.tar.gz", "/root/breakglass-remote.pyz"
ARGUMENT = f"{REFERENCE}={Image().image_id}"
CUT = "/root/cut.tar"
LAYOUTS: dict[str, Callable[[Image], Entries]] = {
    "of docker 20.10": archives.classic,
    "of docker 25": archives.oci,
    "of containerd's store": hostile_archives.with_gzip_layers,
    "under an index for several platforms": functools.partial(archives.oci, with_indexes=True),
}


def written(directory: Path, seed: int) -> Path | None:
    """The canonical archive of a hostile one; None where that is refused."""
    path = directory / "infra-ci-0a1b2c3d.tar.gz"
    path.write_bytes(hostile_archives.made(seed))
    out = directory / f"{seed}.tar"
    with out.open("wb") as stdout:
        ended = subprocess.run(
            script("archive", "canonical", path, f"{REFERENCE}={SMALL.image_id}"),
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    return None if ended.returncode else out


def test_go_reads_the_same_files_as_python_in_what_hostile_archives_become(tmp_path: Path) -> None:
    program = tmp_path / "tarlist"
    subprocess.run(
        ("go", "build", "-trimpath", "-buildvcs=false", "-o", str(program), "."),
        cwd=HERE / "go/tarlist",
        env={**os.environ, **BUILD},
        timeout=300,
        check=True,
    )
    outs = [out for seed in range(SEEDS) if (out := written(tmp_path, seed)) is not None]
    assert SEEDS / 10 < len(outs) < SEEDS
    listed = subprocess.run(
        (str(program), *map(str, outs)), capture_output=True, timeout=300, check=True
    ).stdout.splitlines()
    assert len(listed) == len(outs)
    for out, line in zip(outs, listed, strict=True):
        expected = [
            {
                "name": name,
                "type": "0",
                "size": len(content),
                "sha256": archives.hexadecimal(content),
            }
            for name, content in read_strictly(out.read_bytes()).items()
        ]
        assert json.loads(line) == {"entries": expected, "error": ""}, out


@contextlib.contextmanager
def namespace(node: Host) -> Iterator[None]:
    """A namespace of containerd for this test, empty before and after."""
    try:
        yield
    finally:
        for name in names_in(node):
            node.run(*CTR, "images", "rm", "--sync", name)
        node.run(*CTR[:1], "namespaces", "rm", CTR[2], check=False)


def names_in(node: Host) -> dict[str, str]:
    return parse_targets(node.run(*CTR, "images", "ls").stdout.encode())


def lay(node: Host, tarball: bytes) -> None:
    node.write(TARBALL, tarball)
    node.write(PROGRAM, pack())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_containerd_imports_it_under_the_same_image_id(
    fresh: Environment, layout: str
) -> None:
    for node in fresh.nodes.values():
        lay(node, archives.tarball(LAYOUTS[layout](Image())))
        with namespace(node):
            canonical = f"python3 {PROGRAM} archive canonical {TARBALL} {ARGUMENT}"
            importing = f"{canonical} | {' '.join(CTR)} images import -"
            node.run("bash", "-o", "pipefail", "-c", importing)
            names = names_in(node)
            assert list(names) == [REFERENCE], node.name
            manifest = json.loads(node.run(*CTR, "content", "get", names[REFERENCE]).stdout)
            assert manifest["config"]["digest"] == Image().image_id, node.name
            checked = node.run(*CTR, "images", "check", f"name=={REFERENCE}").stdout
            row = checked.splitlines()[1].split()
            assert (row[0], row[3], row[-1]) == (REFERENCE, "complete", "true"), node.name


def test_every_containerd_refuses_a_stream_that_breaks_off_and_names_nothing(
    fresh: Environment, tmp_path: Path
) -> None:
    """At every header, and in the middle of every file."""
    (tmp_path / "infra-ci-0a1b2c3d.tar.gz").write_bytes(archives.tarball())
    data = subprocess.run(
        script(
            *("archive", "canonical", tmp_path / "infra-ci-0a1b2c3d.tar.gz"),
            ARGUMENT,
        ),
        capture_output=True,
        timeout=60,
        check=True,
    ).stdout
    ends, position = [], 0
    for content in list(read_strictly(data).values())[:-2]:
        ends += [position, position + 512 + len(content) // 2]
        position += 512 + len(content) + -len(content) % 512
    for node in fresh.nodes.values():
        with namespace(node):
            for end in ends:
                node.write(CUT, data[:end])
                ended = node.run(*CTR, "images", "import", CUT, check=False)
                assert ended.returncode != 0, (node.name, end)
                assert names_in(node) == {}, (node.name, end)


def test_docker_loads_it_as_well(fresh: Environment) -> None:
    for layout in LAYOUTS.values():
        lay(fresh.vm, archives.tarball(layout(Image())))
        canonical = f"python3 {PROGRAM} archive canonical {TARBALL} {ARGUMENT}"
        fresh.vm.run("bash", "-o", "pipefail", "-c", f"{canonical} | docker load")
        said = fresh.vm.run("docker", "image", "inspect", "--format", "{{.Id}}", REFERENCE)
        assert said.stdout.strip() == Image().image_id
        fresh.vm.run("docker", "image", "rm", REFERENCE)
