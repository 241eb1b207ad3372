"""Which node fits, on a real cluster: the taint of the control plane, and a disk that is full."""

from .environment import Environment
from .faults.arrangements import fetched, published
from .faults.rows import row
from .roles import MASTER, WORKERS
from .runs import run, stop_registries

NODE = "k8s-node1"
TAINT = "node-role.kubernetes.io/control-plane"


@row(
    "recover",
    "only the control plane is not cordoned, and it has the taint of kubeadm",
    "refused: the taint is named, no node is cordoned; `--anyway` is named",
    exit_code=3,
)
def test_the_control_plane_is_never_chosen_though_no_other_node_fits(fresh: Environment) -> None:
    published(fresh)
    stop_registries(fresh)
    for name in WORKERS:
        fresh.cluster.cordon(name)
    before = fresh.cluster.nodes()
    message = run(fresh, "recover", "--yes", expect=3).error["message"]
    assert f"{MASTER}: has the taint {TAINT}" in message
    named = run(fresh, "recover", MASTER, "--yes", expect=3).error
    assert f"{MASTER} does not fit: has the taint {TAINT}" in named["message"]
    assert f"breakglass recover {MASTER} --anyway" in named["next"]
    cordoned = {name: node["spec"].get("unschedulable") for name, node in before.items()}
    assert cordoned == {
        name: node["spec"].get("unschedulable") for name, node in fresh.cluster.nodes().items()
    }


@row(
    "import",
    "an import would fill containerd's disk so far that kubelet deletes images",
    "refused; with room again it works",
    exit_code=3,
)
def test_an_import_that_would_make_kubelet_delete_images_is_refused(fresh: Environment) -> None:
    fetched(fresh, NODE)
    with fresh.nodes[NODE].room("data", free_megabytes=2):
        error = run(fresh, "import", NODE, expect=3).error
        assert "kubelet deletes images" in error["message"]
        assert "df -h" in error["next"]
    run(fresh, "import", NODE)
