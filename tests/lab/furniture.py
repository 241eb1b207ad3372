"""The files that make a host what it is: the registry VM, the NAS, a node, the API server, the
operator's machine.
"""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

from . import docker, pki, seed, systemd
from .disk import Disk
from .host import ENVIRONMENT
from .operator_host import REPOSITORY_ROOT
from .roles import (
    ADDRESSES,
    CONTAINERD_SOCKET,
    LAB,
    MASTER,
    NAS_DIRECTORY,
    NODES,
    OPERATORS,
    OTHER_API,
    SSH_HOSTS,
    SYSTEMD,
    VM_DIRECTORY,
    Node,
    daemons,
    data_directories,
)

EXAMPLE = REPOSITORY_ROOT / "breakglass.example.yaml"
PKI_OF_AN_API_SERVER = (
    "ca.crt",
    "api.crt",
    "api.key",
    "kubernetes-ca.crt",
    "service-accounts.key",
    "service-accounts.pub",
    "admin.crt",
    "admin.key",
)
NAS_COMMANDS = ("cat", "ls", "wc", "tail", "readlink")
REGISTRY_HOSTS = ("registry.viktorbarzin.me:5050", "forgejo.viktorbarzin.me")


def furnish(name: str) -> None:
    """Make a host's disks and lay its files."""
    disk = Disk(name)
    disk.make()
    for directory in data_directories(name):
        (disk.data / directory.strip("/").replace("/", "-")).mkdir(mode=0o711)
    if name == "synology":
        furnish_nas(disk)
        return
    seed.lay_common(name, disk)
    if name in SYSTEMD:
        systemd.lay(disk, daemons(name), ENVIRONMENT)
    if name in NODES:
        furnish_node(name, disk)
    if name in (MASTER, OTHER_API):
        for file in PKI_OF_AN_API_SERVER:
            disk.write(f"/etc/lab/pki/{file}", pki.text(file), mode=0o600)
    if name == "registry-vm":
        furnish_vm(disk)
    elif name == "forgejo":
        lay_registry(name, disk, 443)
    elif name in OPERATORS:
        seed.lay_identity(disk, "operator", SSH_HOSTS)
        disk.write("/root/.kube/admin.config", kubeconfig("admin"), mode=0o600)
        disk.write("/root/.kube/other-admin.config", kubeconfig("admin", OTHER_API), mode=0o600)
        disk.write("/root/.kube/config", kubeconfig("breakglass"), mode=0o600)
        disk.write("/root/breakglass.yaml", EXAMPLE.read_text())


def furnish_vm(disk: Disk) -> None:
    seed.lay_sshd("registry-vm", disk)
    seed.lay_login(disk, "operator", "node-root")
    lay_registry("registry-vm", disk, 5050)
    disk.write(docker.CONFIGURATION, docker.configuration(docker.DEFAULT))
    disk.write(
        "/etc/containerd/config.toml",
        'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n',
    )
    disk.directory(VM_DIRECTORY)


def lay_registry(name: str, disk: Disk, port: int) -> None:
    """docker-registry with TLS; deletions are seen at once, for nothing is cached in memory."""
    for kind in ("crt", "key"):
        disk.write(f"/etc/lab/registry.{kind}", pki.text(f"{name}.{kind}"), mode=0o600)
    disk.write(
        "/etc/lab/registry.yml",
        json.dumps(
            {
                "version": "0.1",
                "log": {"level": "info", "accesslog": {"disabled": False}},
                "storage": {
                    "filesystem": {"rootdirectory": "/var/lib/registry"},
                    "delete": {"enabled": True},
                },
                "http": {
                    "addr": f":{port}",
                    "tls": {"certificate": "/etc/lab/registry.crt", "key": "/etc/lab/registry.key"},
                },
            }
        ),
    )


def furnish_nas(disk: Disk) -> None:
    """A root of its own with sshd, a POSIX shell and five busybox applets, and nothing else: no
    sftp, bash, sha256sum, sudo, python.
    """
    programs = {
        "/usr/sbin/sshd": "/usr/sbin/sshd",
        "/usr/bin/dash": "/bin/sh",
        "/bin/bash": "/usr/libexec/lab-init",
        "/bin/busybox": "/usr/libexec/busybox",
    }
    for source, target in programs.items():
        disk.write(target, Path(source).read_bytes(), mode=0o755)
        listed = subprocess.run(["ldd", source], text=True, capture_output=True).stdout
        for library in [word for word in listed.split() if word.startswith("/")]:
            disk.write(library, Path(library).read_bytes(), mode=0o755)
    for command in NAS_COMMANDS:
        disk.link(f"/bin/{command}", "/usr/libexec/busybox")
    disk.directory("/usr/bin")
    disk.directory("/root", mode=0o700)
    disk.write(
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n",
    )
    disk.write("/etc/group", "root:x:0:\nnogroup:x:65534:\n")
    disk.write("/etc/shadow", "root:*:20000:0:99999:7:::\n", mode=0o640)
    disk.write("/etc/hosts", seed.hosts_file("synology"))
    disk.write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n")
    seed.lay_sshd("synology", disk, sftp=False)
    seed.lay_login(disk, "operator", "node-root")
    disk.directory(NAS_DIRECTORY)


def furnish_node(name: str, disk: Disk) -> None:
    node = NODES[name]
    seed.lay_sshd(name, disk)
    seed.lay_login(disk, "operator", home="/home/wizard", owner=seed.WIZARD)
    seed.lay_identity(disk, "node-root", ("registry-vm", "synology"))
    if node.containerd:
        for program in ("containerd", "ctr", "containerd-shim-runc-v2"):
            disk.link(f"/usr/bin/{program}", f"{LAB}/{node.containerd}/usr/bin/{program}")
    disk.write("/etc/containerd/config.toml", containerd_configuration(node))
    for registry in REGISTRY_HOSTS:
        disk.write(f"/etc/containerd/certs.d/{registry}/hosts.toml", hosts_toml(registry))
    disk.write(
        "/etc/cni/net.d/10-lab.conflist",
        json.dumps(
            {
                "cniVersion": "0.4.0",
                "name": "lab",
                "plugins": [
                    {
                        "type": "ptp",
                        "ipam": {
                            "type": "host-local",
                            "ranges": [
                                [{"subnet": f"10.244.{ADDRESSES[name].rpartition('.')[2]}.0/24"}]
                            ],
                        },
                    }
                ],
            }
        ),
    )
    disk.write("/etc/lab/kubelet.yaml", json.dumps(kubelet_configuration(node)))
    disk.write("/etc/lab/kubeconfig", kubeconfig("admin"), mode=0o600)


def kubelet_configuration(node: Node) -> dict[str, Any]:
    """What kubelets of three versions take; nothing is evicted or collected, because all hosts
    share one machine.
    """
    taints = [{"key": node.taint, "effect": "NoSchedule"}] if node.taint else []
    return {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "2s",
        "nodeStatusReportFrequency": "20s",
        "nodeLeaseDurationSeconds": 20,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "volumeStatsAggPeriod": "10m0s",
        "resolvConf": "/etc/resolv.conf",
        "maxPods": 50,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "registerWithTaints": taints,
    }


def hosts_toml(registry: str) -> str:
    """What the owner has in certs.d for a registry."""
    return (
        f'server = "https://{registry}"\n\n[host."https://{registry}"]\n  capabilities = '
        f'["pull", "resolve"]\n'
    )


def containerd_configuration(node: Node) -> str:
    """containerd's CRI settings; restrict_oom_score_adj because the machine may lack
    CAP_SYS_RESOURCE.
    """
    if node.containerd_2:
        return f"""version = 3
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "registry.k8s.io/pause:3.6"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
"""
    return f"""version = 2
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "registry.k8s.io/pause:3.6"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
"""


def kubeconfig(user: str, host: str = MASTER) -> str:
    """A kubeconfig with everything in it; YAML is a superset of JSON."""

    def data(file: str) -> str:
        return base64.b64encode(pki.text(file).encode()).decode()

    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "clusters": [
                {
                    "name": "lab",
                    "cluster": {
                        "server": f"https://{ADDRESSES[host]}:6443",
                        "certificate-authority-data": data("ca.crt"),
                    },
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate-data": data(f"{user}.crt"),
                        "client-key-data": data(f"{user}.key"),
                    },
                }
            ],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
        },
        indent=1,
    )
