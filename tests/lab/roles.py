"""Who the hosts are: their names, addresses, roles and daemons."""

from collections.abc import Mapping
from dataclasses import dataclass

from . import systemd
from .components import CACHE, CONTAINERD, CONTAINERD_VERSION, KUBELET_OLD, KUBERNETES
from .daemon import Daemon
from .disk import Disk
from .host import Host
from .operator_host import REPOSITORY_ROOT, Operator

LAB = "/opt/lab"  # where a host finds the cache

VM_DIRECTORY = "/opt/registry/data/private/_breakglass"
NAS_DIRECTORY = "/volume1/Backup/Viki/pve-backup/_forgejo-breakglass"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"


@dataclass(frozen=True)
class Node:
    """A Kubernetes node: containerd and kubelet as directories of the cache (None: the machine's
    own containerd).
    """

    address: str
    containerd: str | None
    version: str
    """What containerd's version begins with."""
    kubelet: str = KUBERNETES
    taint: str | None = None

    @property
    def containerd_2(self) -> bool:
        """Whether its configuration is of version 3."""
        return self.version.startswith("2.")


MASTER = "k8s-master"
NODES: Mapping[str, Node] = {
    MASTER: Node(
        "10.0.20.100", CONTAINERD, CONTAINERD_VERSION, taint="node-role.kubernetes.io/control-plane"
    ),
    "k8s-node1": Node("10.0.20.101", CONTAINERD, CONTAINERD_VERSION),
    "k8s-node2": Node("10.0.20.102", "containerd-1.7", "1.7."),
    "k8s-node3": Node("10.0.20.103", "containerd-sid", "2.1."),
    "k8s-node10": Node("10.0.20.110", None, "1.6.20", kubelet=KUBELET_OLD),
}
WORKERS = tuple(name for name, node in NODES.items() if not node.taint)
"""The nodes that take pods."""
OTHER_API = "other-api"
"""The API server of another cluster, whose nodes have the same names; it is off until a test asks
for it.
"""
ADDRESSES: Mapping[str, str] = {
    "operator": "10.0.20.5",
    "operator2": "10.0.20.6",
    "registry-vm": "10.0.20.10",
    "synology": "192.168.1.13",
    "forgejo": "10.0.20.30",
    OTHER_API: "10.0.20.200",
} | {name: node.address for name, node in NODES.items()}
OPERATORS = ("operator", "operator2")
SYSTEMD = ("registry-vm", "k8s-node3")
"""The hosts whose PID 1 is systemd."""
NAMES: Mapping[str, tuple[str, ...]] = {
    "registry-vm": ("registry.viktorbarzin.me",),
    "forgejo": ("forgejo.viktorbarzin.me",),
}
SSH_HOSTS = ("registry-vm", "synology", *NODES)
REGISTRIES: Mapping[str, str] = {
    "registry-private": "registry-vm",
    "forgejo": "forgejo",
}  # name in the configuration -> host


def hosts() -> dict[str, Host]:
    """All hosts of the environment, by name."""
    return {name: operator(name) if name in OPERATORS else host(name) for name in ADDRESSES}


def host(name: str) -> Host:
    if name == "synology":
        return Host(
            name,
            ADDRESSES[name],
            ADDRESSES,
            kind="bare",
            init="/usr/libexec/lab-init",
            daemons=daemons(name),
        )
    binds = [f"{CACHE}:{LAB}:ro"]
    for directory, option in data_directories(name).items():
        binds.append(
            f"{Disk(name).data}/{directory.strip('/').replace('/', '-')}:{directory}:{option}"
        )
    init = systemd.INIT if name in SYSTEMD else "/bin/bash"
    return Host(
        name, ADDRESSES[name], ADDRESSES, init=init, binds=tuple(binds), daemons=daemons(name)
    )


def operator(name: str = "operator") -> Operator:
    """An operator's machine sees the repository where the machine has it."""
    return Operator(
        name,
        ADDRESSES[name],
        ADDRESSES,
        binds=(f"{CACHE}:{LAB}:ro", f"{REPOSITORY_ROOT}:{REPOSITORY_ROOT}:ro"),
    )


def data_directories(name: str) -> dict[str, str]:
    """What of a host lies on its data disk, outside the overlay: directory -> how it is bound."""
    if name in NODES:
        etcd = {"/var/lib/etcd": "rw"} if name == MASTER else {}
        return {
            "/var/lib/containerd": "rw",
            "/var/lib/kubelet": "shared",
            "/var/log/pods": "rw",
        } | etcd
    return {
        "registry-vm": {
            "/var/lib/containerd": "rw",
            "/var/lib/docker": "rw",
            "/var/lib/registry": "rw",
        },
        "forgejo": {"/var/lib/registry": "rw"},
        OTHER_API: {"/var/lib/etcd": "rw"},
    }.get(name, {})


def daemons(name: str) -> tuple[Daemon, ...]:
    """What runs on a host, in the order in which it starts."""
    sshd = Daemon("sshd", ("/usr/sbin/sshd", "-D", "-e"), unit="ssh", port=22)
    containerd = Daemon(
        "containerd", ("/usr/bin/containerd",), socket=CONTAINERD_SOCKET, probe=("ctr", "version")
    )
    if name in NODES:
        return (sshd, *(control_plane() if name == MASTER else ()), containerd, kubelet(name))
    return {
        "registry-vm": (sshd, registry(5050), docker_containerd(), dockerd()),
        "synology": (sshd,),
        "forgejo": (registry(443),),
        OTHER_API: api_server(OTHER_API),
    }[name]


def registry(port: int) -> Daemon:
    argv = ("/usr/bin/docker-registry", "serve", "/etc/lab/registry.yml")
    return Daemon(
        "registry", argv, unit="docker-registry", port=port, env={"OTEL_TRACES_EXPORTER": "none"}
    )


def docker_containerd() -> Daemon:
    """The first containerd in PATH, so that another one can be put in front (docker.py); dockerd
    likewise.
    """
    argv = ("/bin/sh", "-c", "exec containerd")
    return Daemon("containerd", argv, socket=CONTAINERD_SOCKET, probe=("ctr", "version"))


def dockerd() -> Daemon:
    argv = ("/bin/sh", "-c", f"exec dockerd --containerd={CONTAINERD_SOCKET}")
    return Daemon(
        "dockerd",
        argv,
        unit="docker",
        socket="/run/docker.sock",
        probe=("docker", "version"),
        leftover="/run/docker.pid",
    )


def kubelet(name: str) -> Daemon:
    argv = (
        f"{LAB}/{NODES[name].kubelet}/usr/bin/kubelet",
        "--config=/etc/lab/kubelet.yaml",
        "--kubeconfig=/etc/lab/kubeconfig",
        f"--hostname-override={name}",
        f"--node-ip={ADDRESSES[name]}",
        "--v=1",
    )
    return Daemon("kubelet", argv, port=10250)


def api_server(name: str) -> tuple[Daemon, ...]:
    """etcd and the API server."""
    pki, client = "/etc/lab/pki", "http://127.0.0.1:2379"
    apiserver = (
        f"{LAB}/{KUBERNETES}/usr/bin/kube-apiserver",
        f"--etcd-servers={client}",
        "--secure-port=6443",
        f"--advertise-address={ADDRESSES[name]}",
        f"--tls-cert-file={pki}/api.crt",
        f"--tls-private-key-file={pki}/api.key",
        f"--client-ca-file={pki}/kubernetes-ca.crt",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        f"--service-account-key-file={pki}/service-accounts.pub",
        "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount",
        "--service-cluster-ip-range=10.96.0.0/24",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
    )
    etcd = (
        f"{LAB}/etcd-sid/usr/bin/etcd",
        "--data-dir=/var/lib/etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        "--listen-peer-urls=http://127.0.0.1:2380",
    )
    login = ("--cacert", f"{pki}/ca.crt", "--cert", f"{pki}/admin.crt", "--key", f"{pki}/admin.key")
    ready = (
        "curl",
        "--silent",
        "--fail",
        "--max-time",
        "5",
        *login,
        "https://127.0.0.1:6443/readyz",
    )
    return (
        Daemon("etcd", etcd, port=2379),
        Daemon("kube-apiserver", apiserver, port=6443, probe=ready),
    )


CONTROLLERS = (
    "node-lifecycle-controller",
    "taint-eviction-controller",
    "pod-garbage-collector-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "job-controller",
    "daemonset-controller",
    "deployment-controller",
    "replicaset-controller",
    "persistentvolume-binder-controller",
)


def control_plane() -> tuple[Daemon, ...]:
    client = "--kubeconfig=/etc/lab/kubeconfig"
    manager = (
        f"{LAB}/{KUBERNETES}/usr/bin/kube-controller-manager",
        client,
        "--leader-elect=false",
        f"--controllers={','.join(CONTROLLERS)}",
        "--node-monitor-period=2s",
        "--node-monitor-grace-period=20s",
    )
    scheduler = (f"{LAB}/{KUBERNETES}/usr/bin/kube-scheduler", client, "--leader-elect=false")
    return (
        *api_server(MASTER),
        Daemon("kube-controller-manager", manager, port=10257),
        Daemon("kube-scheduler", scheduler, port=10259),
    )
