"""Whether a host is the node that the API means, and whether a list of nodes can be whole."""

from dataclasses import replace

import pytest

from breakglass.cli.on_cluster import plan_on
from breakglass.cluster_name import ClusterName, kubectl_line
from breakglass.commands.right_host import Facts, Match, fault, judge, none_fits
from breakglass.commands.target import node_of
from breakglass.commands.whole_cluster import another_context, doubt
from breakglass.marks import Mark
from breakglass.observe.machine_ids import MachineIds
from breakglass.plan import PatchNode, Plan
from tests.facts import NODE, node

HERE, ANEW = "5c4d419d-c6a3-4271-9939-8a08758c6978", "9178a7b0-7cd1-4b40-923c-e07feea2ce25"
OURS, OTHERS = "a" * 32, "b" * 32
HOME = ClusterName("home", "https://10.0.20.100:6443")


@pytest.mark.parametrize(
    ("in_the_api", "on_the_host", "match"),
    [
        ((HERE, OURS), (HERE, OURS), Match.SAME),
        ((HERE, OURS), (ANEW, OTHERS), Match.OTHER),
        ((HERE, OURS), (ANEW, OURS), Match.REBOOTED),
        ((HERE, OURS), (HERE, OTHERS), Match.REGENERATED),
        # A machine-id that one of them lacks decides nothing.
        ((HERE, OURS), (HERE, ""), Match.SAME),
        ((HERE, ""), (HERE, OURS), Match.SAME),
        ((HERE, ""), (ANEW, ""), Match.OTHER),
        ((HERE, ""), (ANEW, OURS), Match.OTHER),
        # No kubelet has reported this node.
        (("", ""), (HERE, OURS), Match.NOT_KNOWN),
        (("", OURS), (HERE, OTHERS), Match.NOT_KNOWN),
    ],
)
def test_boot_id_and_machine_id_together_tell_which_machine_it_is(
    in_the_api: tuple[str, str], on_the_host: tuple[str, str], match: Match
) -> None:
    boot_id, machine_id = in_the_api
    known = replace(node("k8s-node1"), boot_id=boot_id, machine_id=machine_id)
    assert judge(known, MachineIds(*on_the_host)) is match


def facts(boot_id: str, machine_id: str, *, is_configured: bool = True) -> Facts:
    known = replace(node("k8s-node1"), boot_id=HERE, machine_id=OURS)
    clone = replace(node("k8s-node2"), boot_id=ANEW, machine_id=OURS)
    ids = MachineIds(boot_id, machine_id)
    return Facts(NODE, known, ids, (known, clone), HOME, is_configured)


@pytest.mark.parametrize(
    ("found", "message", "next_step"),
    [
        (
            facts(ANEW, OURS),
            "wizard@10.0.20.101 is not k8s-node1: its boot ID and machine-id are those of "
            "k8s-node2",
            "correct nodes.hosts in the configuration; the API has other addresses:\n"
            "kubectl --context home get nodes -o wide",
        ),
        (
            facts(ANEW, OURS, is_configured=False),
            "those of k8s-node2",
            "set nodes.hosts in the configuration; the API's are wrong:\nkubectl --context home",
        ),
        (
            facts(ANEW, OTHERS),
            "is not the node k8s-node1 of cluster home (https://10.0.20.100:6443): the boot IDs "
            f"and the machine-ids differ (the boot ID is {ANEW} there and {HERE} in the API)",
            "choose another context",
        ),
        (
            facts("00000000-c6a3-4271-9939-8a08758c6978", OURS),
            "was rebooted and kubelet has not reported that yet, or it is a clone of k8s-node1",
            "or restart kubelet; then try again:\nssh wizard@10.0.20.101 sudo systemctl restart",
        ),
        (
            facts(HERE, OTHERS),
            "generated anew after kubelet started",
            "restart kubelet, then try again:\nssh wizard@10.0.20.101 sudo systemctl",
        ),
    ],
    ids=["another node", "by its InternalIP", "another machine", "a reboot or a clone", "machine"],
)
def test_what_differs_is_reported_with_why_that_can_be(
    found: Facts, message: str, next_step: str
) -> None:
    wrong = fault(found)
    assert wrong is not None
    assert message in wrong.message
    assert next_step in str(wrong.next_step)
    assert wrong.exit_code == 3


def test_the_right_host_has_no_fault() -> None:
    assert fault(facts(HERE, OURS)) is None


def test_an_address_is_a_node_only_where_exactly_one_node_has_it() -> None:
    one = replace(node("k8s-node1"), addresses=("10.0.20.101",))
    two = replace(node("k8s-node2"), addresses=("10.0.20.102",))
    named = replace(node("10.0.20.102"), addresses=("10.0.20.103",))
    assert node_of("k8s-node2", (one, two)) == two
    assert node_of("10.0.20.101", (one, two)) == one
    assert node_of("10.0.20.101", (one, replace(two, addresses=("10.0.20.101",)))) is None
    assert node_of("10.0.20.102", (one, two, named)) == named
    assert node_of("10.0.20.99", (one, two)) is None
    assert node_of("k8s-node1", ()) is None


def test_where_no_host_is_its_node_the_cluster_is_in_question() -> None:
    refused = none_fits(["k8s-node1", "k8s-node2"], HOME)
    assert "not the nodes of cluster home (https://10.0.20.100:6443)" in refused.message
    assert "k8s-node1, k8s-node2" in refused.message
    assert "kubectl config get-contexts" in str(refused.next_step)


@pytest.mark.parametrize(
    ("nodes", "configured", "reported"),
    [
        ((), (), "cluster home (https://10.0.20.100:6443) lists no nodes"),
        ((), ("k8s-node1",), "lists no nodes"),
        (("a", "b"), ("k8s-node1", "k8s-node2"), "no name in nodes.hosts is a node of cluster"),
        (("k8s-node1", "b"), ("k8s-node1", "k8s-node2"), ""),
        (("a",), (), ""),
    ],
)
def test_a_list_of_nodes_that_is_empty_or_of_others_is_doubted(
    nodes: tuple[str, ...], configured: tuple[str, ...], reported: str
) -> None:
    found = doubt(nodes, configured, HOME)
    assert reported in found
    assert bool(found) is bool(reported)


def test_a_kubectl_line_names_the_cluster_and_is_quoted_once() -> None:
    hostile = ClusterName("two words;\x1b[2J\nx", "https://a\x1b[2J", "/home/x/kube config")
    line = kubectl_line(hostile, "get", "nodes")
    assert line == (
        "kubectl --kubeconfig '/home/x/kube config' --context 'two words;?[2J x' get nodes"
    )
    assert str(hostile).isprintable()
    assert kubectl_line(None, "get", "nodes") == "kubectl get nodes"
    assert another_context(hostile).commands[0] == (
        "kubectl --kubeconfig '/home/x/kube config' config get-contexts"
    )


def test_the_patches_of_a_plan_name_the_cluster_and_are_the_same_patches() -> None:
    patch = PatchNode("k8s-node1", Mark(False, None), Mark(True, "x"), "1")
    (named,) = plan_on(Plan("", (patch,)), lambda: HOME).steps
    assert str(named).startswith("operator$ kubectl --context home patch node k8s-node1 ")
    assert named == patch
