"""The world of today in the lab: Kubernetes, containerd, docker and systemd as people run them, and
what of it a test can choose.
"""

import json

import pytest

from . import docker
from .components import CRANE, CRICTL, KUBELET_OLD, KUBERNETES
from .docker import VARIANTS, Docker
from .environment import Environment
from .furniture import EXAMPLE
from .operator_host import CONFIGURATION
from .roles import CONTAINERD_SOCKET, LAB, MASTER, NODES, SYSTEMD
from .runs import run, stop_registries

TAG = "0a1b2c3d"
JOURNAL = "/root/.local/state/breakglass/journal.jsonl"


def test_each_node_has_a_machine_id_and_a_boot_id_of_its_own_and_its_kubelet_reports_them(
    fresh: Environment,
) -> None:
    reported = {name: node["status"]["nodeInfo"] for name, node in fresh.cluster.nodes().items()}
    for kind, path in {
        "machineID": "/etc/machine-id",
        "bootID": "/proc/sys/kernel/random/boot_id",
    }.items():
        found = {name: node.run("cat", path).stdout.strip() for name, node in fresh.nodes.items()}
        assert {name: info[kind] for name, info in reported.items()} == found
        assert len(set(found.values())) == len(NODES)


def test_kubelets_have_the_versions_that_the_modules_name(fresh: Environment) -> None:
    reported = {
        name: node["status"]["nodeInfo"]["kubeletVersion"]
        for name, node in fresh.cluster.nodes().items()
    }
    new, old = (directory.rpartition("-")[2] for directory in (KUBERNETES, KUBELET_OLD))
    assert reported == {name: f"v{old if name == 'k8s-node10' else new}" for name in NODES}
    assert (
        json.loads(fresh.cluster.kubectl("version", "-o", "json").stdout)["serverVersion"][
            "gitVersion"
        ]
        == f"v{new}"
    )


def test_the_control_plane_sorts_first_and_takes_no_pods(fresh: Environment) -> None:
    assert min(fresh.cluster.nodes()) == MASTER
    # A node that is not Ready for a moment has one more.
    taints = fresh.cluster.nodes()[MASTER]["spec"]["taints"]
    effects = {taint["key"]: taint["effect"] for taint in taints}
    assert effects["node-role.kubernetes.io/control-plane"] == "NoSchedule"


@pytest.mark.parametrize("name", SYSTEMD)
def test_systemd_runs_the_host_and_its_daemons(fresh: Environment, name: str) -> None:
    host = fresh.host(name)
    assert host.run("ps", "-p", "1", "-o", "comm=").stdout.strip() == "systemd"
    assert host.run("systemctl", "is-system-running", check=False).stdout.strip() == "running", (
        host.run("systemctl", "--failed").stdout
    )
    for daemon in host.daemons:
        assert (
            host.run("systemctl", "is-active", daemon.unit_name, check=False).stdout.strip()
            == "active"
        ), daemon.name


def test_a_node_under_systemd_can_be_rebooted_and_is_ready_again(fresh: Environment) -> None:
    node = fresh.nodes["k8s-node3"]
    before = node.read("/proc/sys/kernel/random/boot_id")
    machine = node.read("/etc/machine-id")
    node.reboot()
    assert node.run("cat", "/proc/sys/kernel/random/boot_id").stdout != before
    assert node.read("/etc/machine-id") == machine
    fresh.cluster.await_boot(
        "k8s-node3", node.run("cat", "/proc/sys/kernel/random/boot_id").stdout.strip()
    )
    fresh.cluster.await_ready()


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_the_registry_vm_runs_the_docker_that_a_test_chooses(
    fresh: Environment, variant: Docker
) -> None:
    docker.use(fresh.vm, variant)
    info = json.loads(fresh.vm.run("docker", "info", "--format", "{{json .}}").stdout)
    assert info["ServerVersion"].startswith("20.10") == (variant is docker.OLD)
    assert (info["Driver"] == "overlayfs") == variant.containerd_store
    image = fresh.small(TAG)
    fresh.vm.run("docker", "pull", "--quiet", image.references[0])
    said = fresh.vm.run(
        "docker", "image", "inspect", "--format", "{{.Id}}", image.references[0]
    ).stdout.strip()
    assert said == (image.digest if variant.containerd_store else image.image_id)


def test_another_cluster_has_the_same_node_names_and_nothing_else_in_common(
    fresh: Environment,
) -> None:
    ours = fresh.cluster.nodes()
    with fresh.other.running() as other:
        theirs = other.nodes()
        assert theirs.keys() == ours.keys()
        assert other.ready() == set(NODES)
        for name in NODES:
            for key in ("machineID", "bootID"):
                assert (
                    theirs[name]["status"]["nodeInfo"][key] != ours[name]["status"]["nodeInfo"][key]
                )
            assert theirs[name]["status"]["addresses"][0] != ours[name]["status"]["addresses"][0]


def test_a_second_operator_has_the_same_rights_and_a_journal_of_its_own(fresh: Environment) -> None:
    operators = (fresh.operator, fresh.operator2)
    for operator in operators:
        operator.path(JOURNAL).unlink(missing_ok=True)
    fresh.small(TAG)
    run(fresh, "snapshot", "--tag", TAG)
    ended = fresh.operator2.breakglass("--json", "fetch", "k8s-node1")
    assert ended.returncode == 0, ended.stderr
    seen = [operator.breakglass("--json", "status") for operator in operators]
    assert [
        {node["name"] for node in json.loads(status.stdout)["result"]["nodes"]} for status in seen
    ] == [set(NODES)] * 2
    commands = [
        {line["command"] for line in map(json.loads, operator.read(JOURNAL).splitlines())}
        for operator in operators
    ]
    assert commands == [{"snapshot"}, {"fetch"}]


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.thorough)])
def test_node_objects_come_and_go_by_the_thousand(fresh: Environment, count: int) -> None:
    fresh.cluster.add_nodes(f"extra-{number:04}" for number in range(count))
    assert len(fresh.cluster.nodes()) == count + len(NODES)
    fresh.cluster.remove_added_nodes()
    assert fresh.cluster.nodes().keys() == NODES.keys()


BY_DOCKER = ("snapshot", "--tag", TAG, "--via", "docker")


@pytest.mark.parametrize(
    "variant",
    [pytest.param(docker.OLD, marks=pytest.mark.thorough), docker.CLASSIC, docker.STORE],
    ids=lambda variant: variant.name,
)
def test_snapshot_works_with_each_docker(fresh: Environment, variant: Docker) -> None:
    docker.use(fresh.vm, variant)
    image = fresh.small(TAG)
    assert run(fresh, *BY_DOCKER).result["image_id"] == image.image_id
    stop_registries(fresh)
    run(fresh, "fetch", "k8s-node1")
    assert run(fresh, "import", "k8s-node1").result["image_id"] == image.image_id


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_snapshot_of_an_index_works_where_only_the_vm_can_ask_the_registry(
    fresh: Environment, variant: Docker
) -> None:
    docker.use(fresh.vm, variant)
    image = fresh.small(TAG)
    fresh.private.put_index(TAG, children={"amd64": image.digest})
    text = EXAMPLE.read_text()
    asked = "url: https://registry.viktorbarzin.me:5050"
    assert asked in text
    # The registry speaks TLS there, so this machine gets no answer; docker on the VM does.
    fresh.operator.write(CONFIGURATION, text.replace(asked, asked.replace("https", "http")))
    assert run(fresh, *BY_DOCKER).result["image_id"] == image.image_id


def test_crane_and_crictl_see_what_the_registries_and_the_nodes_have(fresh: Environment) -> None:
    image = fresh.small(TAG)
    for reference in image.references:
        said = fresh.operator.run(f"{LAB}/{CRANE}/usr/bin/crane", "digest", reference)
        assert said.stdout.strip() == image.digest
    crictl = (f"{LAB}/{CRICTL}/usr/bin/crictl", "--runtime-endpoint", f"unix://{CONTAINERD_SOCKET}")
    for node in fresh.nodes.values():
        node.run(*crictl, "pull", image.references[0])
        listed = json.loads(node.run(*crictl, "images", "--output", "json").stdout)["images"]
        assert image.image_id in {
            each["id"] for each in listed if image.references[0] in each["repoTags"]
        }
