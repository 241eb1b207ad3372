"""No tarball anywhere, and a node whose containerd still has the image: it is taken as it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from breakglass.sandbox.environment import NAS, TAG, VM
from breakglass.sandbox.image import build
from tests.front.blocks import is_reported
from tests.front.rows import REGISTRIES
from tests.front.world import World, flip_a_bit

NODE, OTHER = "k8s-node2", "k8s-node10"
IMAGE_ID = build(f"infra-ci {TAG}\n").image_id


@pytest.fixture
def pulled(world: World) -> World:
    """A node has pulled `latest` and TAG; the registries, the VM and the NAS are gone, and nobody
    has taken a snapshot.
    """
    world.environment.pull(NODE, TAG)
    world.environment.pull(NODE, "latest")
    for name in (*REGISTRIES, VM, NAS):
        world.environment.stop(name)
    return world


def layers(world: World, node: str) -> list[Path]:
    """The files of the image's layers in the node's content store."""
    blobs = world.root(node) / "var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
    documents = [json.loads(path.read_bytes()) for path in blobs.iterdir() if is_json(path)]
    (manifest,) = (document for document in documents if "layers" in document)
    return [blobs / layer["digest"].partition(":")[2] for layer in manifest["layers"]]


def is_json(path: Path) -> bool:
    return path.read_bytes()[:1] == b"{"


def on_the_node(reported: dict[str, Any]) -> list[str]:
    """The lines of the steps, but for the mark in the cluster, which has the time in it."""
    return [step["line"] for step in reported["steps"] if "kubectl" not in step["line"]]


def discard_layers(world: World, node: str) -> None:
    """As containerd with discard_unpacked_layers."""
    digests = [f"sha256:{layer.name}" for layer in layers(world, node)]
    line = ["ctr", "-n", "k8s.io", "content", "rm", *digests]
    assert world.environment.run(node, line)[0] == 0


def test_import_takes_the_image_that_the_node_has_as_the_dry_run_says(pulled: World) -> None:
    before = pulled.names(NODE)
    shown = pulled.run("import", NODE, "--dry-run", "--json").reported
    assert pulled.names(NODE) == before
    done = pulled.done("import", NODE)
    assert on_the_node(shown) == on_the_node(done)
    assert "kubectl" in done["steps"][-1]["line"]
    assert not any("images import" in line for line in on_the_node(done))
    result = done["result"]
    assert (result["tag"], result["image_id"], result["adopted"]) == ("latest", IMAGE_ID, True)
    assert result["answers_pulls"] is True
    names = pulled.names(NODE)
    assert {name: names[name] for name in before} == before
    # Every configured name means it, and the registry's own digest is kept.
    assert {names[name] for name in result["names"]} == {build(f"infra-ci {TAG}\n").index}
    assert len(result["names"]) == 2
    assert any(name.startswith("breakglass.local/keep/") for name in names)
    assert pulled.done("import", NODE)["steps"] == []


def test_a_tag_that_is_asked_for_is_taken_under_every_name_of_that_tag(pulled: World) -> None:
    ended = pulled.run("import", NODE, "--tag", TAG)
    assert ended.status == 0, ended.stderr
    assert "no host that answered has a tarball" in ended.stdout
    assert f"{VM} was not reached on port" in ended.stderr
    assert f"{NAS} was not reached on port" in ended.stderr
    forgejo = pulled.environment.registries["forgejo"].authority
    assert f"  {forgejo}/viktor/infra-ci:{TAG}: IfNotPresent, Always" in ended.stdout
    assert len([name for name in pulled.names(NODE) if name.endswith(f":{TAG}")]) == 2


def test_restore_undoes_what_an_adoption_took_and_leaves_the_image(pulled: World) -> None:
    before = pulled.names(NODE)
    pulled.done("import", NODE)
    pulled.done("restore", NODE, "--yes")
    names = pulled.names(NODE)
    assert {name: names[name] for name in before} == before
    assert not any(name.startswith("breakglass.local/") for name in names)
    assert not pulled.responders()


@pytest.mark.parametrize("place", [VM, NAS, OTHER])
def test_where_a_tarball_is_to_be_had_the_image_is_not_taken(world: World, place: str) -> None:
    world.publish()
    world.environment.pull(NODE, "latest")
    if place == OTHER:
        world.done("fetch", OTHER)
        for name in (VM, NAS):
            world.environment.stop(name)
    elif place == NAS:
        world.environment.stop(VM)
    before = world.names(NODE)
    ended = world.run("import", NODE)
    is_reported(ended, 3, f"{place} has one", f"breakglass fetch {NODE}")
    assert world.names(NODE) == before
    assert world.run("fetch", NODE).status == 0
    assert world.done("import", NODE)["result"]["adopted"] is False


def test_where_the_only_tarball_is_bad_fetch_and_recover_lead_to_the_image_of_a_node(
    world: World,
) -> None:
    world.publish()
    world.environment.pull(NODE, TAG)
    for name in (*REGISTRIES, NAS):
        world.environment.stop(name)
    flip_a_bit(world.environment.vm_directory / f"infra-ci-{TAG}.tar.gz")
    command = ("import", NODE, "--tag", TAG, "--anyway")
    for typed in (("fetch", NODE), ("fetch", OTHER), ("recover", NODE, "--yes")):
        is_reported(world.run(*typed, "--tag", TAG), 6, f"breakglass {' '.join(command)}")
    is_reported(world.run("import", NODE, "--tag", TAG), 3, f"{VM} has one")
    ended = world.run(*command)
    assert ended.status == 0, ended.stderr
    assert f"{VM} has a tarball: the image that containerd on {NODE} has is" in ended.stderr


def test_import_goes_on_anyway_with_a_node_that_does_not_fit_and_warns(pulled: World) -> None:
    pulled.environment.api.patch_node(NODE, {"spec": {"unschedulable": True}})
    is_reported(pulled.run("import", NODE), 3, f"breakglass import {NODE} --anyway")
    ended = pulled.run("import", NODE, "--anyway")
    assert ended.status == 0, ended.stderr
    assert f"{NODE} does not fit, so pods may not start: cordoned" in ended.stderr


def test_a_damaged_layer_is_found_before_anything_is_changed(pulled: World) -> None:
    before = pulled.names(NODE)
    layer = layers(pulled, NODE)[1]
    flip_a_bit(layer)
    ended = pulled.run("import", NODE)
    is_reported(ended, 6, f"sha256:{layer.name}", "breakglass fetch")
    assert pulled.names(NODE) == before
    assert not pulled.responders()


def test_an_image_whose_layers_were_discarded_is_named_and_not_taken(pulled: World) -> None:
    discard_layers(pulled, NODE)
    before = pulled.names(NODE)
    ended = pulled.run("import", NODE)
    is_reported(ended, 3, "not whole", "3 of its 4 blobs", "discard_unpacked_layers")
    assert pulled.names(NODE) == before


def test_where_the_tag_is_not_there_the_tags_that_are_there_are_named(world: World) -> None:
    world.environment.pull(NODE, TAG)
    for name in (VM, NAS):
        world.environment.stop(name)
    ended = world.run("import", NODE)
    is_reported(ended, 3, f"breakglass import {NODE} --tag {TAG}")
    assert world.done("import", NODE, "--tag", TAG)["result"]["adopted"] is True


def test_a_name_that_means_another_image_is_moved_with_a_warning(world: World) -> None:
    world.environment.pull(NODE, "latest")
    world.environment.push("1b2c3d4e")
    other = world.environment.pull(NODE, "latest", "forgejo")
    for name in (*REGISTRIES, VM, NAS):
        world.environment.stop(name)
    ended = world.run("import", NODE)
    assert ended.status == 0, ended.stderr
    assert f"on {NODE}, {other} points to " in ended.stderr
    assert world.names(NODE)[other] == build(f"infra-ci {TAG}\n").index


def test_on_a_node_with_another_snapshotter_the_image_is_unpacked_with_that(world: World) -> None:
    world.fetch(NODE)
    (world.root(NODE) / "etc/containerd/snapshotter").write_text("zfs\n")
    lines = [step["line"] for step in world.done("import", NODE)["steps"]]
    assert any("images import --local --snapshotter zfs -" in line for line in lines)
    assert world.done("import", NODE)["steps"] == []
    assert world.run("pin", NODE, "--yes").status == 0
    world.done("restore", "--yes")
    assert world.run("import", NODE, "--no-answer-pulls").status == 0
    assert world.run("drill", NODE).status == 0


def test_recover_chooses_the_node_whose_image_is_whole_and_fetches_nothing(pulled: World) -> None:
    pulled.environment.start(VM)
    shown = pulled.run("recover", "--dry-run", "--json").reported
    ended = pulled.run("recover", "--yes")
    assert ended.status == 0, ended.stderr
    assert f"chose {NODE}: no tarball was found, and its containerd still has the" in ended.stdout
    assert any("content verify" in line for line in on_the_node(shown))
    assert not any("archive receive" in line for line in on_the_node(shown))
    assert sorted(pulled.cordoned()) == sorted({"k8s-node1", OTHER, "k8s-node3"})
    pulled.done("restore", "--yes")
    assert pulled.cordoned() == []


def test_recover_passes_over_a_node_with_a_damaged_layer(world: World) -> None:
    for node in (OTHER, NODE):
        world.environment.pull(node, "latest")
    for name in (*REGISTRIES, VM, NAS):
        world.environment.stop(name)
    # By number this node comes first.
    flip_a_bit(layers(world, NODE)[0])
    ended = world.run("recover", "--yes", "--json", "--", "true")
    assert ended.status == 0, ended.stderr
    result = ended.reported["result"]
    assert (result["node"], result["fetch"], result["import"]["adopted"]) == (OTHER, None, True)


def test_fetch_and_recover_name_the_node_that_has_the_image_where_nobody_has_a_tarball(
    pulled: World,
) -> None:
    for node in (NODE, OTHER):
        is_reported(pulled.run("fetch", node), 5, f"breakglass import {NODE}")
    is_reported(pulled.run("recover", OTHER, "--yes"), 5, f"breakglass recover {NODE}")
    is_reported(pulled.run("fetch", NODE, "--tag", "ffffffff"), 5)


def test_import_without_a_node_chooses_one_whose_image_is_whole(pulled: World) -> None:
    done = pulled.done("import", "--tag", TAG)
    assert (done["result"]["node"], done["result"]["tag"]) == (NODE, TAG)


def test_status_and_check_lead_to_the_node_that_has_the_image_where_nobody_has_a_tarball(
    pulled: World,
) -> None:
    checked = pulled.run("check")
    assert checked.status == 0
    assert f"no tarball was found, but containerd on {NODE} has the image" in checked.stdout
    assert "breakglass recover\n" in checked.stdout
    page = pulled.run("status").stdout
    assert f"containerd has the image whole on {NODE}\n" in page
    assert f"containerd on {NODE} has the image whole:\n" in page
    assert f"breakglass import {NODE}\n" in page
    nodes = pulled.done("status")["result"]["nodes"]
    assert {node["name"]: node["whole"] for node in nodes} == {
        "k8s-node1": False,
        OTHER: False,
        NODE: True,
        "k8s-node3": False,
    }
