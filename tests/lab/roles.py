"""Who the hosts are: their names, addresses, roles and daemons."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .daemon import Daemon
from .disk import Disk
from .host import Host
from .operator_host import REPOSITORY_ROOT, Operator

CACHE = Path(os.environ.get("BREAKGLASS_LAB_CACHE") or Path.home() / ".cache/breakglass-lab")
KUBERNETES = "1.20.2"
LAB = "/opt/lab"  # where a host finds the cache

VM_DIRECTORY = "/opt/registry/data/private/_breakglass"
NAS_DIRECTORY = "/volume1/Backup/Viki/pve-backup/_forgejo-breakglass"
API_ADDRESS = "10.0.20.100"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"


@dataclass(frozen=True)
class Node:
    """A Kubernetes node: which containerd it runs (a directory of the cache, None for the machine's own), and whether it has a kubelet."""

    address: str
    containerd: str | None
    version: str
    kubelet: bool = True


NODES: Mapping[str, Node] = {
    "k8s-node1": Node("10.0.20.101", "containerd-1.7", "1.7.24"),
    "k8s-node2": Node("10.0.20.102", None, "1.6.20"),
    "k8s-node3": Node("10.0.20.103", "containerd-1.7", "1.7.24"),
    "k8s-node4": Node("10.0.20.104", "containerd-2", "2.", kubelet=False),
    "k8s-node10": Node("10.0.20.110", None, "1.6.20"),
}
ADDRESSES: Mapping[str, str] = {
    "operator": "10.0.20.5",
    "registry-vm": "10.0.20.10",
    "synology": "192.168.1.13",
    "forgejo": "10.0.20.30",
    "api": API_ADDRESS,
} | {name: node.address for name, node in NODES.items()}
NAMES: Mapping[str, tuple[str, ...]] = {"registry-vm": ("registry.viktorbarzin.me",), "forgejo": ("forgejo.viktorbarzin.me",)}
SSH_HOSTS = ("registry-vm", "synology", *NODES)
REGISTRIES: Mapping[str, str] = {"registry-private": "registry-vm", "forgejo": "forgejo"}  # name in the configuration -> host


def hosts() -> dict[str, Host]:
    """All hosts of the estate, by name."""
    return {name: operator() if name == "operator" else host(name) for name in ADDRESSES}


def host(name: str) -> Host:
    if name == "synology":
        return Host(name, ADDRESSES[name], ADDRESSES, kind="bare", init="/usr/libexec/lab-init", daemons=daemons(name))
    binds = [f"{CACHE}:{LAB}:ro"]
    for directory, option in data_directories(name).items():
        binds.append(f"{Disk(name).data}/{directory.strip('/').replace('/', '-')}:{directory}:{option}")
    return Host(name, ADDRESSES[name], ADDRESSES, binds=tuple(binds), daemons=daemons(name))


def operator() -> Operator:
    """The operator's machine sees the repository where the machine has it."""
    return Operator("operator", ADDRESSES["operator"], ADDRESSES, binds=(f"{CACHE}:{LAB}:ro", f"{REPOSITORY_ROOT}:{REPOSITORY_ROOT}:ro"))


def data_directories(name: str) -> dict[str, str]:
    """What of a host lies on its data disk, outside the overlay: directory -> how it is bound."""
    if name in NODES:
        return {"/var/lib/containerd": "rw", "/var/lib/kubelet": "shared", "/var/log/pods": "rw"}
    return {
        "registry-vm": {"/var/lib/containerd": "rw", "/var/lib/docker": "rw", "/var/lib/registry": "rw"},
        "forgejo": {"/var/lib/registry": "rw"},
        "api": {"/var/lib/etcd": "rw"},
    }.get(name, {})


def daemons(name: str) -> tuple[Daemon, ...]:
    """What runs on a host, in the order in which it starts."""
    sshd = Daemon("sshd", ("/usr/sbin/sshd", "-D", "-e"), port=22)
    containerd = Daemon("containerd", ("/usr/bin/containerd",), socket=CONTAINERD_SOCKET, probe=("ctr", "version"))
    dockerd = Daemon("dockerd", ("/usr/sbin/dockerd", f"--containerd={CONTAINERD_SOCKET}"), socket="/run/docker.sock", probe=("docker", "version"), leftover="/run/docker.pid")
    if name in NODES:
        return (sshd, containerd, kubelet(name) if NODES[name].kubelet else heartbeat(name))
    return {
        "registry-vm": (sshd, registry(5050), containerd, dockerd),
        "synology": (sshd,),
        "forgejo": (registry(443),),
        "api": control_plane(),
    }[name]


def registry(port: int) -> Daemon:
    return Daemon("registry", ("/usr/bin/docker-registry", "serve", "/etc/lab/registry.yml"), port=port, env={"OTEL_TRACES_EXPORTER": "none"})


def kubelet(name: str) -> Daemon:
    argv = (
        f"{LAB}/{KUBERNETES}/kubelet",
        "--config=/etc/lab/kubelet.yaml",
        "--kubeconfig=/etc/lab/kubeconfig",
        f"--hostname-override={name}",
        f"--node-ip={ADDRESSES[name]}",
        "--container-runtime=remote",
        f"--container-runtime-endpoint=unix://{CONTAINERD_SOCKET}",
        "--node-labels=breakglass-lab/kubelet=yes",
        "--v=1",
    )
    return Daemon("kubelet", argv, port=10250)


def heartbeat(name: str) -> Daemon:
    """Stands in for a kubelet: keeps the Node object of a node that has none."""
    return Daemon("heartbeat", ("/usr/bin/python3", "/etc/lab/heartbeat.py", name, ADDRESSES[name], f"https://{API_ADDRESS}:6443"))


def control_plane() -> tuple[Daemon, ...]:
    pki, client = "/etc/lab/pki", "/etc/lab/kubeconfig"
    apiserver = (
        f"{LAB}/{KUBERNETES}/kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        "--secure-port=6443",
        "--insecure-port=0",
        f"--advertise-address={API_ADDRESS}",
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
    controllers = "nodelifecycle,podgc,garbagecollector,namespace,job,deployment,replicaset,persistentvolume-binder"
    manager = (
        f"{LAB}/{KUBERNETES}/kube-controller-manager",
        f"--kubeconfig={client}",
        "--leader-elect=false",
        f"--controllers={controllers}",
        "--node-monitor-period=2s",
        "--node-monitor-grace-period=20s",
        "--port=0",
    )
    scheduler = (f"{LAB}/{KUBERNETES}/kube-scheduler", f"--kubeconfig={client}", "--leader-elect=false", "--port=0")
    etcd = ("/usr/bin/etcd", "--data-dir=/var/lib/etcd", "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380")
    ready = ("curl", "--silent", "--fail", "--max-time", "5", "--cacert", f"{pki}/ca.crt", "--cert", f"{pki}/admin.crt", "--key", f"{pki}/admin.key", "https://127.0.0.1:6443/readyz")
    return (
        Daemon("etcd", etcd, port=2379),
        Daemon("kube-apiserver", apiserver, port=6443, probe=ready),
        Daemon("kube-controller-manager", manager, port=10257),
        Daemon("kube-scheduler", scheduler, port=10259),
    )
