"""Another cluster whose nodes have the same names: what a kubeconfig of the wrong context leads to. It is off until a test asks for it."""

import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from . import furniture, reset
from .cluster import Cluster, node_object
from .host import Host
from .roles import NODES, OTHER_API

ADMIN = "/root/.kube/other-admin.config"


@dataclass(frozen=True)
class OtherCluster:
    """An API server with Node objects that a test finds Ready, with machine-ids, boot IDs and addresses that no host has."""

    operator: Host
    host: Host

    @contextlib.contextmanager
    def running(self) -> Iterator[Cluster]:
        """Raise it, and take it away again."""
        with self.empty() as cluster:
            for number, name in enumerate(NODES):
                cluster.kubectl("create", "-f", "-", input=json.dumps(node_object(name)))
                status = json.dumps({"status": ready_status(f"10.0.20.{151 + number}")})
                cluster.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", status)
            yield cluster

    @contextlib.contextmanager
    def empty(self) -> Iterator[Cluster]:
        """The same without any object of the time before, and without controllers: nobody else changes what is put into it."""
        reset.empty(self.host.disk.data / "var-lib-etcd")
        self.host.plug()
        cluster = Cluster(self.operator, ADMIN)
        try:
            cluster.grant()
            yield cluster
        finally:
            self.host.unplug()

    def kubeconfig(self) -> str:
        """The tool's identity, for this cluster."""
        return furniture.kubeconfig("breakglass", OTHER_API)


def ready_status(address: str) -> dict[str, object]:
    """The status of a node that its kubelet would keep Ready."""
    stamp = "2026-01-01T00:00:00Z"
    times = {"lastHeartbeatTime": stamp, "lastTransitionTime": stamp}
    room = {"cpu": "2", "memory": "8Gi", "pods": "50"}
    return {
        "addresses": [{"type": "InternalIP", "address": address}],
        "capacity": room,
        "allocatable": room,
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kept by the lab"} | times],
        "nodeInfo": {
            "architecture": "amd64",
            "operatingSystem": "linux",
            "osImage": "Debian GNU/Linux 12 (bookworm)",
            "kernelVersion": "6.1.0",
            "kubeletVersion": "v1.37.2",
            "kubeProxyVersion": "",
            "containerRuntimeVersion": "containerd://2.4.2",
            "machineID": uuid.uuid4().hex,
            "systemUUID": str(uuid.uuid4()),
            "bootID": str(uuid.uuid4()),
        },
    }
