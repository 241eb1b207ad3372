"""A node with an address for IPv4 and one for IPv6: the one that answers is used."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from breakglass.commands.environment import Environment
from breakglass.commands.target import resolve, target_of
from breakglass.config import Config, Kubernetes, Nodes, Ssh, Status
from breakglass.errors import Unreachable
from breakglass.observe.cluster import parse_node
from breakglass.plan import Argv, Host
from breakglass.ports import Result
from tests.facts import IDENTITY, IMAGE, SETTINGS, node

BOTH = ("fd00::1", "10.0.20.101")


class Hosts:
    """ports.Reads, of hosts that answer under these addresses only."""

    def __init__(self, *answering: str) -> None:
        self.answering, self.asked = answering, list[str]()

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:  # noqa: ARG002 (the protocol has them)
        self.asked.append(host.ssh)
        if host.ssh.rpartition("@")[2] not in self.answering:
            raise Unreachable(f"{host} was not reached", where=host.name)
        return Result(0, b"", b"")


class NoCluster:
    """ports.ReadsCluster: the nodes were read already."""

    def nodes(self) -> list[dict[str, Any]]:
        raise AssertionError("nobody asks the API again")

    pods = volumes = nodes


def environment(hosts: Hosts, **known: str) -> Environment:
    config = Config(
        IMAGE,
        SETTINGS,
        (),
        Nodes("wizard", known),
        (),
        Ssh(Path("c"), Path("k")),
        Kubernetes(),
        Status(),
        Path("f"),
    )

    def nobody(*_: str) -> Any:
        raise AssertionError("no registry is asked")

    return Environment(config, hosts, NoCluster(), IDENTITY, nobody, nobody, nobody)


@pytest.mark.parametrize(
    ("answering", "used"),
    [
        (BOTH, "fd00::1"),
        (("10.0.20.101",), "10.0.20.101"),
        ((), "fd00::1"),
    ],
    ids=["both answer", "no route for IPv6", "the node is down"],
)
def test_of_several_addresses_the_first_that_answers_is_used_and_asked_for_once(
    answering: tuple[str, ...], used: str
) -> None:
    hosts = Hosts(*answering)
    dual = replace(node("n1"), addresses=BOTH)
    asking = environment(hosts)
    for name in ("n1", *BOTH):
        assert resolve(asking, name, (dual,)).host.ssh == f"wizard@{used}"
    assert len(hosts.asked) == (1 if answering == BOTH else 2)


def test_a_node_with_one_address_or_one_in_the_configuration_is_not_tried_beforehand() -> None:
    hosts = Hosts()
    dual = replace(node("n1"), addresses=BOTH)
    assert target_of(environment(hosts), node("n1")).host.ssh == "wizard@10.0.20.1"
    assert target_of(environment(hosts, n1="10.9.9.9"), dual).host.ssh == "wizard@10.9.9.9"
    assert hosts.asked == []


def test_every_internal_address_of_a_node_is_read() -> None:
    addresses = [
        {"type": "Hostname", "address": "n1"},
        *({"type": "InternalIP", "address": each} for each in BOTH),
        {"type": "ExternalIP", "address": "192.0.2.1"},
    ]
    assert parse_node({"status": {"addresses": addresses}}).addresses == BOTH
