"""The faults of fetch: what lies at the sources, and what an earlier run has left on the node.
Nothing here is slow: the sources answer.
"""

import gzip
import json
from collections.abc import Callable

import pytest

from ..environment import Environment
from ..host import Host
from ..roles import NAS_DIRECTORY, VM_DIRECTORY
from .arrangements import TAG, published
from .invariants import NODE_DIRECTORY, sha256_of
from .rows import row
from .trial import Trial

NODE = "k8s-node1"
OLD, NEW = "00000001", "00000002"


def file_of(tag: str) -> str:
    return f"{VM_DIRECTORY}/infra-ci-{tag}.tar.gz"


def damage(host: Host, path: str, change: Callable[[bytes], bytes]) -> None:
    """Another content under the same name; the sidecars say what they said."""
    host.path(path).write_bytes(change(host.path(path).read_bytes()))


def flipped(content: bytes) -> bytes:
    return (
        content[: len(content) // 2]
        + bytes([content[len(content) // 2] ^ 1])
        + content[len(content) // 2 + 1 :]
    )


def cut(content: bytes) -> bytes:
    return content[: len(content) // 3]


def cut_before_it_was_compressed(content: bytes) -> bytes:
    """`gzip -t` has nothing to say."""
    whole = gzip.decompress(content)
    return gzip.compress(whole[: len(whole) // 3 // 512 * 512], 1)


def without_sidecars(host: Host, directory: str, tag: str) -> None:
    host.path(f"{directory}/infra-ci-{tag}.tar.gz.sha256").unlink()
    host.path(f"{directory}/infra-ci-{tag}.json").unlink()


def holds(environment: Environment, tag: str) -> bool:
    """The node's latest is what the VM's undamaged tarball of this tag was recorded to be."""
    directory = environment.nodes[NODE].path(NODE_DIRECTORY)
    link = (directory / "infra-ci-latest.tar.gz").readlink()
    record = json.loads((directory / f"infra-ci-{tag}.json").read_text())
    return str(link) == f"infra-ci-{tag}.tar.gz" and sha256_of(directory / link) == record["sha256"]


DAMAGES = [
    pytest.param(
        flipped,
        marks=row(
            "fetch",
            "the source's tarball is corrupt at rest",
            "never published; the next source",
            exit_code=0,
        ),
    ),
    pytest.param(
        cut,
        marks=row(
            "fetch",
            "the source's tarball is cut short",
            "never published; the next source",
            exit_code=0,
        ),
    ),
    pytest.param(
        cut_before_it_was_compressed,
        marks=row(
            "fetch",
            "the source's tarball is truncated but `gzip -t`-clean",
            "never published; the next source",
            exit_code=0,
        ),
    ),
]


@pytest.mark.parametrize("change", DAMAGES)
def test_a_damaged_source_is_passed_over_for_the_next_one(
    trial: Trial, change: Callable[[bytes], bytes]
) -> None:
    environment = trial.environment
    published(environment, OLD, NEW)
    environment.mirror()
    damage(environment.vm, file_of(NEW), change)
    trial.arranged()
    ran = trial.run("fetch", NODE)
    assert (ran.result["source"], ran.result["tag"]) == ("synology", NEW)
    assert any(
        f"infra-ci-{NEW}.tar.gz" in line and "registry-vm" in line
        for line in ran.stderr.splitlines()
        if line.strip().startswith("warning")
    ), ran.stderr
    trial.recovers(NODE, "registry-vm", goal=lambda: holds(environment, NEW))


OLDER = [
    pytest.param(
        flipped,
        False,
        marks=row(
            "fetch",
            "corrupt at rest at the only source",
            "its next good tarball; the newest once it is mended",
            exit_code=0,
        ),
    ),
    pytest.param(
        cut_before_it_was_compressed,
        True,
        marks=row(
            "fetch",
            "truncated, `gzip -t`-clean, without sidecars at the only source",
            "its next good tarball",
            exit_code=0,
        ),
    ),
]


@pytest.mark.parametrize(("change", "bare"), OLDER)
def test_where_the_only_source_has_a_damaged_latest_its_next_good_tarball_comes(
    trial: Trial, change: Callable[[bytes], bytes], bare: bool
) -> None:
    environment = trial.environment
    published(environment, OLD, NEW)
    damage(environment.vm, file_of(NEW), change)
    if bare:
        without_sidecars(environment.vm, VM_DIRECTORY, NEW)
    trial.arranged()
    ran = trial.run("fetch", NODE)
    assert ran.result["tag"] == OLD
    assert f"infra-ci-{NEW}.tar.gz" in ran.stderr
    assert holds(environment, OLD)
    published(environment, OLD, NEW)
    trial.recovers(NODE, "registry-vm", goal=lambda: holds(environment, NEW))


@row(
    "fetch",
    "corrupt at rest at every source",
    "exit 6 with each reason, nothing published",
    exit_code=6,
)
def test_where_every_source_is_damaged_nothing_is_published(trial: Trial) -> None:
    environment = trial.environment
    published(environment)
    environment.mirror()
    damage(environment.vm, file_of(TAG), flipped)
    damage(
        environment.nas,
        f"{NAS_DIRECTORY}/infra-ci-{TAG}.tar.gz",
        lambda content: flipped(content[:-4096] + bytes(4096)),
    )
    trial.arranged()
    error = trial.run("fetch", NODE).error
    assert error["message"].count("sha256") >= 2
    assert "no verified tarball" in error["state"]
    assert list(environment.nodes[NODE].path(NODE_DIRECTORY).iterdir()) == []
    published(environment)
    trial.recovers(NODE, "registry-vm", "synology", goal=lambda: holds(environment, TAG))


@row(
    "fetch",
    "sidecar missing",
    "verified by content on the node, which gives it a sidecar",
    exit_code=0,
)
def test_a_tarball_without_sidecars_is_verified_by_its_content(trial: Trial) -> None:
    environment = trial.environment
    published(environment)
    without_sidecars(environment.vm, VM_DIRECTORY, TAG)
    trial.arranged()
    ran = trial.run("fetch", NODE)
    assert "no sidecars" in ran.stderr
    assert sha256_of(
        environment.nodes[NODE].path(f"{NODE_DIRECTORY}/infra-ci-{TAG}.tar.gz")
    ) == sha256_of(environment.vm.path(file_of(TAG)))
    trial.recovers(NODE, "registry-vm", goal=lambda: holds(environment, TAG))


LINKS = [
    pytest.param(
        "infra-ci-99999999.tar.gz",
        marks=row("fetch", "`latest` dangling", "the newest verified tarball", exit_code=0),
    ),
    pytest.param(
        "infra-ci-latest.tar.gz",
        marks=row("fetch", "`latest` looping", "the newest verified tarball", exit_code=0),
    ),
    pytest.param(
        "/root/elsewhere/infra-ci-00000003.tar.gz",
        marks=row(
            "fetch", "`latest` absolute", "never followed; the newest verified tarball", exit_code=0
        ),
    ),
    pytest.param(
        "../elsewhere/infra-ci-00000003.tar.gz",
        marks=row(
            "fetch",
            "`latest` outside the directory",
            "never followed; the newest verified tarball",
            exit_code=0,
        ),
    ),
]


@pytest.mark.parametrize("target", LINKS)
def test_a_latest_that_means_nothing_here_is_not_followed(trial: Trial, target: str) -> None:
    environment = trial.environment
    published(environment, OLD, NEW)
    for directory in ("/root/elsewhere", f"{VM_DIRECTORY}/../elsewhere"):
        environment.vm.write(
            f"{directory}/infra-ci-00000003.tar.gz", environment.vm.path(file_of(OLD)).read_bytes()
        )
    link = environment.vm.path(f"{VM_DIRECTORY}/infra-ci-latest.tar.gz")
    link.unlink()
    link.symlink_to(target)
    trial.arranged()
    ran = trial.run("fetch", NODE)
    assert ran.result["tag"] == NEW
    assert any(
        "infra-ci-latest.tar.gz" in line
        for line in ran.stderr.splitlines()
        if line.strip().startswith("warning")
    ), ran.stderr
    assert "elsewhere" not in "".join(ran.lines)
    trial.recovers(NODE, "registry-vm", goal=lambda: holds(environment, NEW))


def third(whole: bytes) -> bytes:
    return whole[: len(whole) // 3]


def another_third(whole: bytes) -> bytes:
    return flipped(third(whole))


def more_than_all(whole: bytes) -> bytes:
    return bytes(len(whole) + 5)


ANOTHER = "0" * 64
PARTIALS = [
    pytest.param(
        OLD,
        third,
        None,
        marks=row("fetch", "a left-over partial of another tag", "removed", exit_code=0),
    ),
    pytest.param(
        TAG,
        another_third,
        ANOTHER,
        marks=row(
            "fetch",
            "a left-over partial of another tarball under this name",
            "never spliced: from the start",
            exit_code=0,
        ),
    ),
    pytest.param(
        TAG,
        another_third,
        None,
        marks=row(
            "fetch",
            "a left-over partial whose bytes do not match its note",
            "never spliced: detected by sha256, then from the start",
            exit_code=0,
        ),
    ),
    pytest.param(
        TAG,
        more_than_all,
        "",
        marks=row(
            "fetch",
            "a left-over partial without a note, longer than the tarball",
            "never spliced: from the start",
            exit_code=0,
        ),
    ),
]


@pytest.mark.parametrize(("tag", "content", "noted"), PARTIALS)
def test_a_partial_of_something_else_is_never_spliced(
    trial: Trial, tag: str, content: Callable[[bytes], bytes], noted: str | None
) -> None:
    """`noted`: what the note beside the partial says it is the beginning of; None: the tarball at
    the source.
    """
    environment = trial.environment
    published(environment)
    whole = environment.vm.path(file_of(TAG))
    left = f"{NODE_DIRECTORY}/.infra-ci-{tag}.tar.gz.partial"
    environment.nodes[NODE].write(left, content(whole.read_bytes()))
    if noted != "":
        environment.nodes[NODE].write(f"{left}.sha256", f"{noted or sha256_of(whole)}\n")
    trial.arranged()
    trial.run("fetch", NODE)
    assert holds(environment, TAG)
    assert [
        path.name
        for path in environment.nodes[NODE].path(NODE_DIRECTORY).iterdir()
        if path.name.startswith(".")
    ] == []
    trial.recovers(NODE, "registry-vm")
