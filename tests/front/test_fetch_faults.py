"""What may be wrong with the sources and on the way: another source, an older tarball or a clear
end, never a bad tarball on the node.
"""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from breakglass.sandbox.environment import NAS, TAG, VM
from tests.front.blocks import is_reported
from tests.front.rows import OTHER_TAG
from tests.front.world import World, flip_a_bit

NODE = "k8s-node1"
FILE, OTHER_FILE = (f"infra-ci-{tag}.tar.gz" for tag in (TAG, OTHER_TAG))


def _publish_two(world: World) -> None:
    """TAG, and after it OTHER_TAG, on both sources."""
    world.publish()
    world.environment.push(OTHER_TAG)
    world.done("snapshot", "--tag", OTHER_TAG)
    world.environment.mirror()


@pytest.fixture
def two(world: World) -> World:
    world.arrive("two published", lambda: _publish_two(world))
    return world


def _truncate(path: Path) -> None:
    """So that `gzip -t` is content: whole compression, half an archive."""
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:1_000_000], 1))


@pytest.mark.parametrize(
    "damage", [flip_a_bit, _truncate], ids=["a bit flipped", "truncated, and gzip is content"]
)
def test_a_bad_copy_is_reported_and_the_next_source_is_used(
    two: World, damage: Callable[[Path], None]
) -> None:
    damage(two.environment.vm_directory / OTHER_FILE)
    ended = two.run("fetch", NODE, "--via", "operator", "--json")
    assert (ended.status, ended.reported["result"]["source"], ended.reported["result"]["tag"]) == (
        0,
        NAS,
        OTHER_TAG,
    ), ended.stderr
    assert "warning: " in ended.stderr
    assert (two.shelf(NODE) / OTHER_FILE).read_bytes() == (
        two.environment.nas_directory / OTHER_FILE
    ).read_bytes()


def test_when_every_copy_of_the_newest_is_bad_an_older_good_one_is_used(two: World) -> None:
    for directory in (two.environment.vm_directory, two.environment.nas_directory):
        flip_a_bit(directory / OTHER_FILE)
    ended = two.run("fetch", NODE, "--via", "operator", "--json")
    assert (ended.status, ended.reported["result"]["tag"]) == (0, TAG), ended.stderr
    assert sorted(path.name for path in two.shelf(NODE).glob("infra-ci-*.tar.gz")) == [
        FILE,
        "infra-ci-latest.tar.gz",
    ]


@pytest.mark.parametrize("arguments", [(), ("--tag", TAG)], ids=["latest", "a tag"])
def test_when_every_copy_is_bad_nothing_is_kept_of_it(
    world: World, arguments: tuple[str, ...]
) -> None:
    world.publish()
    for directory in (world.environment.vm_directory, world.environment.nas_directory):
        flip_a_bit(directory / FILE)
    is_reported(world.run("fetch", NODE, "--via", "operator", *arguments), 6, "sha256")
    assert list(world.shelf(NODE).glob("*infra-ci*")) == []


def test_with_a_source_named_there_is_no_falling_back(two: World) -> None:
    flip_a_bit(two.environment.vm_directory / OTHER_FILE)
    ended = two.run("fetch", NODE, "--via", "operator", "--tag", OTHER_TAG, "--from", VM)
    is_reported(ended, 6, VM)
    assert NAS not in ended.stderr
    assert list(two.shelf(NODE).glob("*infra-ci*")) == []


def test_with_the_vm_down_the_next_source_is_used(world: World) -> None:
    world.publish()
    world.environment.stop(VM)
    ended = world.run("fetch", NODE, "--json")
    assert (ended.status, ended.reported["result"]["source"]) == (0, NAS)
    assert VM in ended.stderr


@pytest.mark.slow
def test_with_every_source_down_each_is_named_with_its_reason(world: World) -> None:
    world.publish()
    for source in (VM, NAS):
        world.environment.stop(source)
    is_reported(
        world.run("fetch", NODE),
        5,
        VM,
        NAS,
        "once one of them is back:",
        f"         breakglass fetch {NODE}\n",
    )
    is_reported(
        world.run("fetch", NODE, "--tag", TAG, "--from", NAS),
        5,
        NAS,
        "the other sources were not asked:",
        f"         breakglass fetch {NODE} --tag {TAG}\n",
    )


@pytest.mark.slow
def test_a_tarball_without_sidecars_is_accepted_with_a_warning_after_a_full_verification(
    world: World,
) -> None:
    world.publish()
    for directory in (world.environment.vm_directory, world.environment.nas_directory):
        (directory / f"{FILE}.sha256").unlink()
        (directory / f"infra-ci-{TAG}.json").unlink()
    ended = world.run("fetch", NODE, "--json")
    assert ended.status == 0, ended.stderr
    assert "has no sidecars" in ended.stderr
    assert json.loads((world.shelf(NODE) / f"infra-ci-{TAG}.json").read_text())["tag"] == TAG
    assert world.done("import", NODE)["changed"] is True


def test_a_bad_tarball_without_sidecars_is_not_accepted(world: World) -> None:
    world.publish()
    for directory in (world.environment.vm_directory, world.environment.nas_directory):
        (directory / f"{FILE}.sha256").unlink()
        (directory / f"infra-ci-{TAG}.json").unlink()
        _truncate(directory / FILE)
    is_reported(world.run("fetch", NODE), 6)
    assert list(world.shelf(NODE).glob("*infra-ci*")) == []


@pytest.mark.parametrize(
    "target",
    [
        "infra-ci-gone.tar.gz",
        "infra-ci-latest.tar.gz",
        "/etc/passwd",
        "../../infra-ci-0a1b2c3d.tar.gz",
    ],
    ids=["dangling", "looping", "absolute", "outside"],
)
@pytest.mark.slow
def test_a_link_that_means_no_tarball_of_its_directory_is_reported_and_not_followed(
    two: World, target: str
) -> None:
    link = two.environment.vm_directory / "infra-ci-latest.tar.gz"
    link.unlink()
    link.symlink_to(target)
    ended = two.run("fetch", NODE, "--json")
    assert (ended.status, ended.reported["result"]["tag"]) == (0, OTHER_TAG), ended.stderr
    assert "infra-ci-latest.tar.gz" in ended.stderr
    assert (two.shelf(NODE) / OTHER_FILE).read_bytes() == (
        two.environment.vm_directory / OTHER_FILE
    ).read_bytes()


@pytest.mark.parametrize(
    "note",
    [None, "f" * 64],
    ids=["of it is not known what", "of something else under the same name"],
)
def test_a_left_over_partial_of_another_tarball_is_never_spliced(
    world: World, note: str | None
) -> None:
    world.publish()
    (world.shelf(NODE) / f".{FILE}.partial").write_bytes(b"x" * 100_000)
    if note:
        (world.shelf(NODE) / f".{FILE}.partial.sha256").write_text(note + "\n")
    (world.shelf(NODE) / ".infra-ci-ffffffff.tar.gz.partial").write_bytes(b"x" * 100_000)
    world.done("fetch", NODE)
    assert (world.shelf(NODE) / FILE).read_bytes() == (
        world.environment.vm_directory / FILE
    ).read_bytes()
    assert list(world.shelf(NODE).glob(".infra-ci*")) == []


def test_a_link_cut_in_the_middle_is_resumed_by_the_next_run(world: World) -> None:
    world.publish()
    third = (world.environment.vm_directory / FILE).stat().st_size // 3
    # The source stops in the middle and waits, as a dead link does; then the link is cut.
    with world.program(
        VM,
        "cat",
        (
            f'case "$1" in *.tar.gz) head -c {third} "$1"; touch "$HOME/third"; sleep 20;; *) '
            f'exec $REAL "$@";; esac'
        ),
    ):
        cut = world.start("fetch", NODE, "--via", "operator", "--from", VM)
        partial = world.shelf(NODE) / f".{FILE}.partial"
        world.wait_until(lambda: partial.exists() and partial.stat().st_size == third)
        world.environment.cut(VM)
        ended = cut.end()
    assert ended.status in (4, 5)
    is_reported(ended, ended.status, f"breakglass fetch {NODE} --via operator --from {VM}")
    assert partial.stat().st_size == third
    reported = world.done("fetch", NODE, "--via", "operator")
    assert any(f"--offset {third} " in step["line"] for step in reported["steps"])
    assert (world.shelf(NODE) / FILE).read_bytes() == (
        world.environment.vm_directory / FILE
    ).read_bytes()


@pytest.fixture
def only_a_node_has_it(world: World) -> World:
    """The VM and the NAS are gone; k8s-node2 has kept the tarball."""
    world.fetch("k8s-node2")
    for source in (VM, NAS):
        world.environment.stop(source)
    return world


@pytest.mark.slow
def test_where_the_sources_are_gone_another_nodes_tarball_is_taken(
    only_a_node_has_it: World,
) -> None:
    world = only_a_node_has_it
    done = world.done("fetch", NODE)
    assert (done["result"]["source"], done["result"]["tag"]) == ("k8s-node2", TAG)
    assert world.done("import", NODE)["result"]["tag"] == TAG


def test_a_node_can_be_named_as_the_source(only_a_node_has_it: World) -> None:
    world = only_a_node_has_it
    done = world.done("fetch", NODE, "--from", "k8s-node2", "--via", "operator")
    assert done["result"]["source"] == "k8s-node2"
    assert world.done("fetch", NODE, "--from", "k8s-node2")["steps"] == []


@pytest.mark.slow
def test_where_no_node_has_it_either_the_sources_reasons_are_reported(world: World) -> None:
    world.environment.stop(VM)
    ended = world.run("fetch", NODE)
    is_reported(ended, 5, "no source has a usable tarball", f"{VM} was not reached")
    assert "looking at the other nodes: k8s-" in ended.stderr


def test_a_source_whose_login_shell_prints_is_not_piped_into_a_node_but_through_this_machine(
    world: World,
) -> None:
    world.publish()
    with world.program(NODE, "ssh", 'echo "Welcome to the VM"; exec $REAL "$@"'):
        is_reported(
            world.run("fetch", NODE, "--via", "node"), 5, "prints on every command: Welcome to the"
        )
        world.done("fetch", NODE)
    assert (world.shelf(NODE) / FILE).read_bytes() == (
        world.environment.vm_directory / FILE
    ).read_bytes()
