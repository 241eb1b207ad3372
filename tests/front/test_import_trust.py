"""Whoever may write where the tarballs lie: no name that the configuration does not give is set on
a node, and no other name there is changed.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from breakglass.sandbox.environment import TAG
from tests import archives
from tests.archives import Image
from tests.front.blocks import is_reported
from tests.front.rows import OTHER_TAG, over_another_image
from tests.front.world import World

NODE = "k8s-node1"
EVIL = "evil.example/pause:3.9"
BESIDE = "beside.example/pause:3.9"


def rewrite(shelf: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the record of the node's tarball, as somebody with an editor would."""
    path = next(shelf.glob("*.json"))
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another companion": lambda record: record["companions"].update({EVIL: record["image_id"]}),
    "another reference": lambda record: record["references"].append(EVIL),
    "an option of ctr": lambda record: record["companions"].update({"--all": record["image_id"]}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_record_with_a_foreign_name_is_an_integrity_failure_and_sets_no_name(
    world: World, change: str
) -> None:
    world.fetch(NODE)
    before = world.names(NODE)
    rewrite(world.shelf(NODE), CHANGES[change])
    is_reported(world.run("import", NODE), 6, "in the configuration does not give")
    assert world.names(NODE) == before
    assert not world.responders()


def test_a_fetch_replaces_a_tarball_whose_record_has_a_foreign_name(world: World) -> None:
    world.fetch(NODE)
    rewrite(world.shelf(NODE), CHANGES["another companion"])
    assert world.run("fetch", NODE).status == 0
    assert EVIL not in next(world.shelf(NODE).glob("*.json")).read_text()
    assert world.done("import", NODE)["result"]["names"]


def test_an_archive_with_a_name_more_than_its_record_says_sets_no_name(world: World) -> None:
    """Record and checksum vouch for these very bytes."""
    world.fetch(NODE)
    before = world.names(NODE)
    shelf = world.shelf(NODE)
    reference = json.loads(next(shelf.glob("*.json")).read_text())["references"][0]
    image, evil = Image(references=(reference,)), Image(references=(EVIL,), command="/bin/evil")
    data = archives.tarball(archives.classic(image, evil))
    file = f"infra-ci-{TAG}.tar.gz"
    (shelf / file).write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    (shelf / f"{file}.sha256").write_text(f"{sha256}  {file}\n")
    rewrite(
        shelf,
        lambda record: record.update(
            image_id=image.image_id, sha256=sha256, size_bytes=len(data), companions={}
        ),
    )
    is_reported(world.run("import", NODE), 6, EVIL)
    assert world.names(NODE) == before


def test_names_that_an_import_was_not_to_change_are_restored_and_named(world: World) -> None:
    """A containerd that reads more out of an archive than is in it."""
    world.arrive("over another image", lambda: over_another_image(world))
    kept = next(name for name in world.names(NODE) if name.endswith("infra-ci:latest"))
    ctr = ["ctr", "-n", "k8s.io", "images"]
    assert world.environment.run(NODE, [*ctr, "tag", kept, BESIDE])[0] == 0
    before = world.names(NODE)
    name = f"$($REAL -n k8s.io images ls -q | grep ':{OTHER_TAG}$' | head -n 1)"
    script = (
        'case "$*" in *"images import"*) $REAL "$@" && '
        f"for name in {EVIL} {BESIDE}; do "
        f'$REAL -n k8s.io images tag --force "{name}" $name; done; exit;; esac; exec $REAL "$@"'
    )
    with world.program(NODE, "ctr", script):
        block = is_reported(world.run("import", NODE), 6, EVIL, BESIDE, "were restored")
    assert world.names(NODE) == before, block
    assert world.done("import", NODE)["result"]["tag"] == OTHER_TAG
