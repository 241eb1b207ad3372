"""Another cluster whose nodes have the same names: what a kubeconfig of the wrong context leads to.
It is off until a test asks for it.
"""

import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import furniture, reset
from .cluster import Cluster, node_object
from .components import CONTAINERD_VERSION, KUBERNETES_VERSION
from .host import Host
from .roles import NODES, OTHER_API

ADMIN = "/root/.kube/other-admin.config"


@dataclass(frozen=True)
class OtherCluster:
    """An API server with Node objects that a test finds Ready, with machine-ids, boot IDs and
    addresses that no host has.
    """

    operator: Host
    host: Host

    @contextlib.contextmanager
    def running(self) -> Iterator[Cluster]:
        """Raise it, and take it away again."""
        with self.empty() as cluster:
            nodes = [
                node_object(name, ready_status(f"10.0.20.{151 + number}"))
                for number, name in enumerate(NODES)
            ]
            cluster.kubectl(
                "create",
                "-f",
                "-",
                input=json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes}),
            )
            for name in NODES:
                # The API server gives each new node a taint, and no controller is there to take it
                # away.
                cluster.kubectl(
                    "patch", "node", name, "--type=merge", "-p", '{"spec":{"taints":null}}'
                )
            yield cluster

    @contextlib.contextmanager
    def empty(self) -> Iterator[Cluster]:
        """The same without any object of the time before, and without controllers: nobody else
        changes what is put into it.
        """
        self.take_away()
        reset.empty(self.host.disk.data / "var-lib-etcd")
        try:
            self.host.plug()
            cluster = Cluster(self.operator, ADMIN)
            cluster.grant()
            yield cluster
        finally:
            self.take_away()

    def take_away(self) -> None:
        if self.host.running:
            self.host.unplug()

    def kubeconfig(self) -> str:
        """The tool's identity, for this cluster."""
        return furniture.kubeconfig("breakglass", OTHER_API)


def ready_status(address: str) -> dict[str, Any]:
    """The status of a node that its kubelet would keep Ready."""
    stamp = "2026-01-01T00:00:00Z"
    times = {"lastHeartbeatTime": stamp, "lastTransitionTime": stamp}
    room = {"cpu": "2", "memory": "8Gi", "pods": "50"}
    return {
        "addresses": [{"type": "InternalIP", "address": address}],
        "capacity": room,
        "allocatable": room,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "KubeletReady",
                "message": "kept by the lab",
            }
            | times
        ],
        "nodeInfo": {
            "architecture": "amd64",
            "operatingSystem": "linux",
            "osImage": "Debian GNU/Linux 12 (bookworm)",
            "kernelVersion": "6.1.0",
            "kubeletVersion": f"v{KUBERNETES_VERSION}",
            "kubeProxyVersion": "",
            "containerRuntimeVersion": f"containerd://{CONTAINERD_VERSION}",
            "machineID": uuid.uuid4().hex,
            "systemUUID": str(uuid.uuid4()),
            "bootID": str(uuid.uuid4()),
        },
    }
