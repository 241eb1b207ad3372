"""What a command reads of the cluster: every node, or why there is none."""

from dataclasses import replace
from typing import Any

from breakglass.cluster_name import ClusterName
from breakglass.errors import Unreachable
from tests.unit.test_addresses import Hosts, environment


class Cluster:
    """ports.ReadsCluster: an API server without nodes, or one that is down."""

    def __init__(self, error: Unreachable | None = None) -> None:
        self.error = error

    def nodes(self) -> list[dict[str, Any]]:
        if self.error:
            raise self.error
        return []

    pods = volumes = nodes


def test_the_cluster_that_is_asked_is_named_once_in_a_run() -> None:
    notes: list[str] = []
    name = ClusterName("production", "https://10.0.20.1:6443")
    asking = replace(
        environment(Hosts()), cluster=Cluster(), cluster_name=lambda: name, note=notes.append
    )
    asking.nodes()
    replace(asking, anyway=True).nodes()
    assert notes == [f"asking cluster {name}"]


def test_with_the_api_down_there_are_no_nodes_and_it_is_known_why() -> None:
    down = Unreachable("no answer")
    assert replace(environment(Hosts()), cluster=Cluster(down)).nodes_or_error() == ((), down)
    assert replace(environment(Hosts()), cluster=Cluster()).nodes_or_error() == ((), None)
