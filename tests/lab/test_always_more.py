"""What import does so that Always pods start is taken back whole: by restore, after reboots, after
runs cut short.
"""

import os

import pytest

from .answering import (
    CERTS,
    FORGEJO,
    PRIVATE,
    back,
    differences,
    is_taken_back,
    outage,
    pulls_all,
    registry_files,
    responder,
    traces,
)
from .cri import Cri, PullFailed
from .environment import Environment
from .runs import run, twice

NODE = "k8s-node1"
LATEST = f"{FORGEJO}/viktor/infra-ci:latest"


@pytest.mark.parametrize(
    "name",
    [
        "k8s-node1",
        *(pytest.param(name, marks=pytest.mark.thorough) for name in ("k8s-node2", "k8s-node3")),
    ],
)
def test_restore_leaves_nothing_of_ours_and_every_file_as_it_was(
    fresh: Environment, name: str
) -> None:
    image = outage(fresh, name)
    node = fresh.nodes[name]
    for path, mode, owner in ((f"{PRIVATE}/hosts.toml", 0o640, 2000), (FORGEJO, 0o750, 2000)):
        os.chown(node.path(f"{CERTS}/{path}"), owner, owner)
        node.path(f"{CERTS}/{path}").chmod(mode)
    before, listed = traces(node), fresh.listing()
    brought = twice(fresh, "import", name)
    assert brought.result["answers_pulls"] is True
    assert differences(before, traces(node)) != []
    pulls_all(fresh, name, image)
    restored = twice(fresh, "restore", yes=True)
    assert restored.result["cleaned"] == [name]
    assert restored.result["uncordoned"] == restored.result["unreached"] == []
    is_taken_back(node, before)
    assert {what: fresh.listing()[what] for what in listed if not what.startswith(name)} == {
        what: listed[what] for what in listed if not what.startswith(name)
    }
    with pytest.raises(PullFailed):
        Cri(node).pull(LATEST)
    newer = back(fresh, "two")
    assert Cri(node).pull(LATEST) == newer.image_id


def test_restore_restores_the_pin_and_the_node_together_and_warns_while_no_registry_answers(
    fresh: Environment,
) -> None:
    outage(fresh, NODE)
    before, listed = traces(fresh.nodes[NODE]), fresh.listing()["nodes"]
    run(fresh, "import", NODE)
    run(fresh, "pin", NODE, "--yes")
    restored = run(fresh, "restore", "--yes")
    assert "no registry serves" in restored.stderr
    assert restored.result["cleaned"] == [NODE]
    assert len(restored.result["uncordoned"]) == 4
    is_taken_back(fresh.nodes[NODE], before)
    assert fresh.listing()["nodes"] == listed


def test_import_without_answering_takes_away_the_answering_that_was_there_and_keeps_the_image(
    fresh: Environment,
) -> None:
    image = outage(fresh, NODE)
    node = fresh.nodes[NODE]
    files = registry_files(node)
    run(fresh, "import", NODE)
    assert registry_files(node) != files
    reported = twice(fresh, "import", NODE, "--no-answer-pulls").result
    assert (reported["answers_pulls"], reported["kept"]) == (False, True)
    assert registry_files(node) == files
    assert responder(node) is None
    assert Cri(node).pinned(image.image_id)
    run(fresh, "import", NODE)
    pulls_all(fresh, NODE, image)


def test_restore_of_a_named_node_needs_no_api_server(fresh: Environment) -> None:
    outage(fresh, NODE)
    before = traces(fresh.nodes[NODE])
    run(fresh, "import", NODE)
    fresh.api.kill("kube-apiserver")
    assert run(fresh, "restore", NODE, "--yes").result["cleaned"] == [NODE]
    is_taken_back(fresh.nodes[NODE], before)
    assert run(fresh, "restore", NODE, "--yes").reported["steps"] == []


def test_a_node_that_cannot_be_reached_is_listed_and_the_others_are_cleaned(
    fresh: Environment,
) -> None:
    """Only where it may have something of ours that is a failure."""
    outage(fresh, NODE)
    before = traces(fresh.nodes[NODE])
    run(fresh, "import", NODE)
    fresh.nodes["k8s-node3"].unplug()
    restored = run(fresh, "restore", "--yes")
    assert restored.result["cleaned"] == [NODE]
    assert restored.result["unreached"] == ["k8s-node3"]
    is_taken_back(fresh.nodes[NODE], before)
    mark = '{"run":"aaaa0000","by":"other@box","at":"2026-04-19T00:00:00Z"}'
    fresh.cluster.kubectl("annotate", "node", "k8s-node3", f"breakglass/holds={mark}")
    again = run(fresh, "restore", "--yes", expect=4)
    assert again.result["unreached"] == ["k8s-node3"]


@pytest.mark.parametrize("then", ["import", "restore"])
def test_after_a_reboot_import_heals_and_restore_takes_back(fresh: Environment, then: str) -> None:
    image = outage(fresh, NODE)
    node = fresh.nodes[NODE]
    before = traces(node)
    first = run(fresh, "import", NODE)
    node.unplug()
    node.plug()
    fresh.cluster.await_boots([node])
    fresh.cluster.await_ready([NODE])
    assert responder(node) is None
    assert fresh.cluster.run_pod("rebooted", LATEST, pull_policy="IfNotPresent", node=NODE).started
    with pytest.raises(PullFailed):
        Cri(node).pull(LATEST)
    if then == "import":
        healed = run(fresh, "import", NODE)
        assert 0 < len(healed.lines) < len(first.lines)
        assert not any("images import" in line for line in healed.lines)
        pulls_all(fresh, NODE, image)
    run(fresh, "restore", NODE, "--yes")
    after = traces(node)
    for reported in (before, after):
        reported["port"] = {
            port for port in reported["port"] if int(port) < 32768
        }  # kubelet and containerd take others at each boot
    assert differences(before, after) == []


def test_an_import_heals_a_responder_that_was_killed(fresh: Environment) -> None:
    image = outage(fresh, NODE)
    run(fresh, "import", NODE)
    found = responder(fresh.nodes[NODE])
    assert found, "no responder"
    os.kill(found[0], 9)
    run(fresh, "import", NODE)
    pulls_all(fresh, NODE, image)
