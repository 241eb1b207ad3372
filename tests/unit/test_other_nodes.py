"""Other nodes as sources: each is compared with the cluster before it is asked as root."""

from dataclasses import replace
from typing import Any

import pytest

from breakglass.commands.adoption import nodes_with_image
from breakglass.commands.environment import Environment
from breakglass.commands.fetch_facts import read_other_nodes
from breakglass.commands.node_sources import named_source
from breakglass.commands.right_host import WrongHost
from breakglass.plan import Argv, Host
from breakglass.ports import Result
from tests.facts import NODE
from tests.unit.test_addresses import environment

BOOT, OTHER_BOOT = "5c4d419d-c6a3-4271-9939-8a08758c6978", "9178a7b0-7cd1-4b40-923c-e07feea2ce25"


class Hosts:
    """ports.Reads: every host is the same other machine."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:  # noqa: ARG002 (the protocol has them)
        self.asked.append((host.name, host.sudo))
        return Result(0, f"{OTHER_BOOT}\n{'b' * 32}\nend\n".encode(), b"")


class Cluster:
    """ports.ReadsCluster: two nodes, of which the second is cordoned."""

    def nodes(self) -> list[dict[str, Any]]:
        info = {"bootID": BOOT, "machineID": "a" * 32, "architecture": "amd64"}
        status = {
            "nodeInfo": info,
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
        }
        return [
            {
                "metadata": {"name": name, "resourceVersion": "1"},
                "spec": {"unschedulable": True} if name == "c" else {},
                "status": status,
            }
            for name in ("b", "c")
        ]

    def pods(self) -> list[dict[str, Any]]:
        return []

    volumes = pods


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


@pytest.fixture
def asking(hosts: Hosts) -> Environment:
    known: Any = hosts
    made = environment(known)
    nodes = replace(made.config.nodes, sudo=True)
    return replace(made, cluster=Cluster(), config=replace(made.config, nodes=nodes), anyway=True)


def test_nothing_is_run_as_root_on_another_machine_also_with_anyway(
    hosts: Hosts, asking: Environment
) -> None:
    assert read_other_nodes(asking, NODE) == ()
    with pytest.raises(WrongHost):
        named_source(asking, "b", NODE)
    assert {name for name, _ in hosts.asked} == {"b", "c"}
    assert not any(sudo for _, sudo in hosts.asked)


def test_a_node_that_does_not_fit_is_not_asked_for_its_image(
    hosts: Hosts, asking: Environment
) -> None:
    assert nodes_with_image(asking, None, None) == ()
    assert hosts.asked == [("b", False)]
