"""A kubeconfig of another cluster with the same node names, and an address that leads to another
node: nothing is changed, and it is reported which machine and which cluster that is.
"""

import pytest

from .answering import outage
from .environment import Environment
from .faults.rows import row
from .runs import run

NODE, OTHER = "k8s-node1", "k8s-node3"


@row(
    "fetch, import, pin and recover",
    "the kubeconfig means another cluster with the same node names",
    "refused: context and server are named, neither cluster is changed",
    exit_code=3,
)
@pytest.mark.parametrize(
    "argv", [("fetch", NODE), ("import", NODE), ("pin", NODE, "--yes"), ("recover", "--yes")]
)
def test_another_cluster_with_the_same_node_names_is_left_alone(
    fresh: Environment, argv: tuple[str, ...]
) -> None:
    outage(fresh, NODE)
    hosts = ", ".join(f"{name}: {host.address}" for name, host in fresh.nodes.items())
    settings = fresh.operator.read("/root/breakglass.yaml")
    fresh.operator.write(
        "/root/breakglass.yaml", settings.replace("hosts: {}", f"hosts: {{{hosts}}}")
    )
    with fresh.other.running() as other:
        fresh.operator.write("/root/.kube/config", fresh.other.kubeconfig(), mode=0o600)
        before = {name: node["spec"] for name, node in other.nodes().items()}
        refused = run(fresh, *argv, expect=3)
        assert {name: node["spec"] for name, node in other.nodes().items()} == before
    assert refused.error["state"] == "Nothing was changed."
    assert refused.reported["cluster"]["server"] in refused.error["message"]


@row(
    "fetch, import and drill",
    "nodes.hosts gives a node the address of another one",
    "refused: the node that answers there is named, nothing is changed",
    exit_code=3,
)
def test_an_address_of_another_node_is_refused_before_anything_is_changed(
    fresh: Environment,
) -> None:
    outage(fresh, NODE)
    settings = fresh.operator.read("/root/breakglass.yaml")
    hosts = f"hosts: {{{OTHER}: {fresh.nodes[NODE].address}}}"
    fresh.operator.write("/root/breakglass.yaml", settings.replace("hosts: {}", hosts))
    before = fresh.listing()
    for command in ("fetch", "import", "drill"):
        refused = run(fresh, command, OTHER, expect=3)
        assert f"its boot ID and machine-id are those of {NODE}" in refused.error["message"]
    assert fresh.listing() == before


@row(
    "import",
    "the node was rebooted, and kubelet has not reported the new boot ID yet",
    "refused with this reason; once kubelet has reported it, the same command works",
    exit_code=3,
)
def test_a_reboot_is_reported_until_kubelet_has_reported_it(fresh: Environment) -> None:
    outage(fresh, NODE)
    node = fresh.nodes[NODE]
    node.stop("kubelet")
    node.unplug()
    node.plug(start=False)
    for daemon in node.daemons:
        if daemon.name != "kubelet":
            node.start(daemon.name)
    refused = run(fresh, "import", NODE, expect=3)
    assert "kubelet has not reported that yet" in refused.error["message"]
    node.start("kubelet")
    fresh.cluster.await_boots([node])
    run(fresh, "import", NODE)
    run(fresh, "restore", "--yes")
