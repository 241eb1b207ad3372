"""`import` and `status` give the same verdict of each name. It follows from the records that the
node's kubelet keeps of images it has pulled itself.
"""

import hashlib
import json
from typing import Any

import pytest

from breakglass.sandbox.environment import TAG
from tests.front.world import World

NODE = "k8s-node1"
SECRET = {"uid": "u", "namespace": "ci", "name": "regcred", "credentialHash": "h"}


@pytest.fixture
def fetched(world: World) -> World:
    """The node has the tarball; its kubelet is one that remembers its pulls."""
    world.fetch(NODE)
    version = {"status": {"nodeInfo": {"kubeletVersion": "v1.37.2"}}}
    world.environment.api.patch_node(NODE, version)
    return world


def remembers(world: World, image_id: str, repository: str) -> None:
    """kubelet has pulled the image under this name, for a pod with the secret."""
    records = world.root(NODE) / "var/lib/kubelet/image_manager"
    for kind in ("pulled", "pulling"):
        (records / kind).mkdir(parents=True)
    record = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "ImagePulledRecord",
        "imageRef": image_id,
        "credentialMapping": {repository: {"kubernetesSecrets": [SECRET]}},
    }
    name = f"sha256-{hashlib.sha256(image_id.encode()).hexdigest()}"
    (records / "pulled" / name).write_text(json.dumps(record), encoding="utf-8")


def of_status(world: World) -> list[dict[str, Any]]:
    nodes = world.done("status")["result"]["nodes"]
    return next(list(node["verdicts"]) for node in nodes if node["name"] == NODE)


def test_the_verdict_of_each_name_follows_kubelets_records_in_import_and_in_status(
    fetched: World,
) -> None:
    forgejo = fetched.environment.registries["forgejo"].authority + "/viktor/infra-ci"
    assert of_status(fetched) == []
    planned = fetched.done("import", NODE, "--dry-run")["result"]
    assert planned["verdicts"] == []
    remembers(fetched, planned["image_id"], forgejo)
    verdicts = fetched.done("import", NODE, "--no-answer-pulls")["result"]["verdicts"]
    assert {each["name"] for each in verdicts} == {*planned["names"]}
    for each in verdicts:
        is_recorded = each["name"] in (f"{forgejo}:{TAG}", f"{forgejo}:latest")
        assert each == {
            "name": each["name"],
            "if_not_present": is_recorded,
            "always": False,
            "only_with": ["secret ci/regcred"] if is_recorded else [],
        }
    assert of_status(fetched) == verdicts


def test_a_node_that_serves_the_image_starts_every_pod_until_its_responder_is_gone(
    fetched: World,
) -> None:
    verdicts = fetched.done("import", NODE)["result"]["verdicts"]
    assert [(each["if_not_present"], each["always"]) for each in verdicts] == [(True, True)] * 4
    assert of_status(fetched) == verdicts
    fetched.end_responders()
    # kubelet's records lie elsewhere: what it would do is not known.
    assert [(each["if_not_present"], each["always"]) for each in of_status(fetched)] == [
        (None, False)
    ] * 4


def test_a_name_that_somebody_removed_starts_nothing(fetched: World) -> None:
    fetched.done("import", NODE, "--no-answer-pulls")
    name = next(name for name in fetched.names(NODE) if name.endswith(":latest"))
    fetched.environment.run(NODE, ["ctr", "-n", "k8s.io", "images", "rm", name])
    found = {each["name"]: each["if_not_present"] for each in of_status(fetched)}
    assert found.pop(name) is False
    assert set(found.values()) == {None}
