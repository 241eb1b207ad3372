"""Nobody has a tarball: a node whose containerd still has the image is taken as it is, on each
containerd; and images are unpacked with the snapshotter of the CRI plugin.
"""

import json

import pytest

from .answering import (
    FORGEJO,
    NAMES,
    PRIVATE,
    TAG,
    is_taken_back,
    keep_tags,
    outage,
    pulls_all,
    traces,
)
from .cri import Cri
from .environment import Environment
from .host import Host
from .images import Image
from .roles import NODES, WORKERS
from .runs import image_ids, run, stop_registries
from .test_always import POLICIES, run_to_the_end

PULLED = (f"{FORGEJO}/viktor/infra-ci:{TAG}", f"{FORGEJO}/viktor/infra-ci:latest")
STORE = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
NATIVE = {
    False: '[plugins."io.containerd.grpc.v1.cri".containerd]\n  snapshotter = "native"\n',
    # Its CRI plugin pulls by the transfer service, which wants the snapshotter by itself.
    True: """[plugins."io.containerd.cri.v1.images"]
  snapshotter = "native"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/amd64"
  snapshotter = "native"
""",
}


def pulled(environment: Environment, *nodes: str) -> Image:
    """These nodes have pulled the image through their CRI; then the registries stop."""
    image = environment.small(TAG)
    for node in nodes:
        cri = Cri(environment.nodes[node])
        assert {cri.pull(name) for name in PULLED} == {image.image_id}
    stop_registries(environment)
    return image


def layer(node: Host, name: str = PULLED[0]) -> str:
    """The digest of the first layer of an image in containerd."""
    listed = node.run("ctr", "-n", "k8s.io", "images", "ls", f"name=={name}").stdout
    digest = listed.splitlines()[1].split()[2]
    while True:
        text = node.run("ctr", "-n", "k8s.io", "content", "get", digest).stdout
        document = json.loads(text)
        if "layers" in document:
            return str(document["layers"][0]["digest"])
        (digest,) = (
            child["digest"]
            for child in document["manifests"]
            if child.get("platform", {}).get("architecture") in ("amd64", "arm64")
            and node.path(f"{STORE}/{child['digest'].partition(':')[2]}").exists()
        )


@pytest.mark.parametrize("node", WORKERS)
def test_without_a_tarball_eight_pods_of_eight_start_from_the_image_that_the_node_has(
    fresh: Environment, node: str
) -> None:
    host, image = fresh.nodes[node], pulled(fresh, node)
    before = traces(host)
    shown = run(fresh, "import", node, "--tag", TAG, "--dry-run")
    brought = run(fresh, "import", node, "--tag", TAG)
    assert shown.lines == brought.lines
    assert (brought.result["adopted"], brought.result["image_id"]) == (True, image.image_id)
    assert {name: image_ids(fresh, node).get(name) for name in NAMES} == dict.fromkeys(
        NAMES, image.image_id
    )
    assert Cri(host).pinned(image.image_id) or not brought.result["kept"]
    pulls_all(fresh, node, image)
    wanted = [(name, policy) for name in NAMES for policy in POLICIES]
    pods = run_to_the_end(fresh, wanted, node=node)
    assert {pod.phase for pod in pods.values()} == {"Succeeded"}, pods
    assert run(fresh, "import", node, "--tag", TAG).reported["steps"] == []
    run(fresh, "restore", node, "--yes")
    assert keep_tags(host) == {}
    assert traces(host)["process"] == before["process"]


@pytest.mark.parametrize("node", WORKERS)
def test_a_damaged_or_a_discarded_layer_is_found_by_each_version_of_ctr(
    fresh: Environment, node: str
) -> None:
    host = fresh.nodes[node]
    pulled(fresh, node)
    digest = layer(host)
    path = host.path(f"{STORE}/{digest.partition(':')[2]}")
    whole = path.read_bytes()
    mode = path.stat().st_mode
    path.chmod(0o600)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    names, before = image_ids(fresh, node), traces(host)
    error = run(fresh, "import", node, "--tag", TAG, expect=6).error
    assert digest in error["message"]
    after = traces(host)
    assert image_ids(fresh, node) == names
    # An empty directory for the lock is all that stays.
    assert [after[kind] for kind in ("image", "port", "process")] == [
        before[kind] for kind in ("image", "port", "process")
    ]
    path.write_bytes(whole)
    path.chmod(mode)
    assert image_ids(fresh, node).keys() >= set(PULLED)
    host.run("ctr", "-n", "k8s.io", "content", "rm", digest)
    error = run(fresh, "import", node, "--tag", TAG, expect=3).error
    assert "not whole" in error["message"]
    # What is unpacked needs no layers: the pods of what was pulled start.
    pods = run_to_the_end(fresh, [(PULLED[0], "IfNotPresent")], node=node)
    assert {pod.phase for pod in pods.values()} == {"Succeeded"}, pods


def test_recover_chooses_the_node_that_has_the_image_and_gives_everything_back(
    fresh: Environment,
) -> None:
    image = pulled(fresh, "k8s-node3", "k8s-node2")
    damaged = fresh.nodes["k8s-node2"]
    path = damaged.path(f"{STORE}/{layer(damaged).partition(':')[2]}")
    path.chmod(0o600)
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    ended = run(fresh, "recover", "--yes", "--", "true")
    assert (ended.result["node"], ended.result["fetch"]) == ("k8s-node3", None)
    assert ended.result["import"]["image_id"] == image.image_id
    assert keep_tags(fresh.nodes["k8s-node3"]) == {}


@pytest.mark.parametrize("node", WORKERS)
def test_an_image_is_unpacked_with_the_snapshotter_of_the_cri_plugin(
    fresh: Environment, node: str
) -> None:
    image = outage(fresh, node)
    host = fresh.nodes[node]
    file = "/etc/containerd/config.toml"
    host.write(file, host.read(file) + NATIVE[NODES[node].containerd_2])
    host.stop("containerd")
    host.start("containerd")
    before = traces(host)
    brought = run(fresh, "import", node)
    assert any("--snapshotter native -" in line for line in brought.lines)
    check = ("ctr", "-n", "k8s.io", "images", "check", "--snapshotter", "native")
    listed = host.run(*check, f"name=={NAMES[0]}").stdout.splitlines()[1]
    assert listed.split()[-1] == "true"
    assert run(fresh, "import", node).reported["steps"] == []
    pods = run_to_the_end(fresh, [(f"{PRIVATE}/infra-ci:{TAG}", "Always")], node=node)
    assert {pod.phase for pod in pods.values()} == {"Succeeded"}, pods
    assert Cri(host).pull(NAMES[0]) == image.image_id
    run(fresh, "restore", node, "--yes")
    is_taken_back(host, before)
