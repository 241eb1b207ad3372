"""The cluster, asked and changed as its administrator from the operator's machine; and pods that
use an image, as a pipeline's do.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from subprocess import CompletedProcess
from typing import Any

from .host import Host
from .roles import NODES

ADDED = "breakglass-lab.added"
"""A label without a slash: it stands in a URL as it is."""
ADMIN = "/root/.kube/admin.config"
RIGHTS = {"nodes": ("get", "list", "patch"), "pods": ("list",), "persistentvolumes": ("list",)}
WAITING_IN_VAIN = (
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
)


@dataclass(frozen=True)
class Pod:
    """What became of a test pod: `reason` and `message` say why its container waits, empty when it
    does not.
    """

    name: str
    phase: str
    node: str
    reason: str
    message: str
    image_id: str

    @property
    def started(self) -> bool:
        return self.phase in ("Running", "Succeeded")


@dataclass(frozen=True)
class Cluster:
    """kubectl on the operator's machine."""

    operator: Host
    kubeconfig: str = ADMIN

    def kubectl(
        self, *argv: str, input: str | None = None, timeout: float = 60, check: bool = True
    ) -> CompletedProcess[str]:
        return self.operator.run(
            "kubectl",
            "--kubeconfig",
            self.kubeconfig,
            *argv,
            input=input,
            timeout=timeout,
            check=check,
        )

    def get(self, *argv: str) -> Any:
        return json.loads(self.kubectl("get", *argv, "-o", "json").stdout)

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl(
            "apply",
            "-f",
            "-",
            input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}),
        )

    # rights

    def grant(self, rights: dict[str, tuple[str, ...]] | None = None) -> None:
        """Give the tool's identity exactly these rights; None: what it normally has."""
        role, binding = {"name": "breakglass"}, {"apiGroup": "rbac.authorization.k8s.io"}
        rules = [
            {"apiGroups": [""], "resources": [resource], "verbs": list(verbs)}
            for resource, verbs in (RIGHTS if rights is None else rights).items()
            if verbs
        ]
        self.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": role,
                "rules": rules,
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": role,
                "roleRef": binding | {"kind": "ClusterRole", "name": "breakglass"},
                "subjects": [binding | {"kind": "User", "name": "breakglass"}],
            },
        )

    # nodes

    def nodes(self) -> dict[str, Any]:
        return {node["metadata"]["name"]: node for node in self.get("nodes")["items"]}

    def ready(self) -> set[str]:
        """Names of the nodes that report Ready."""
        return {
            name
            for name, node in self.nodes().items()
            if any(
                condition["type"] == "Ready" and condition["status"] == "True"
                for condition in node.get("status", {}).get("conditions", [])
            )
        }

    def await_ready(self, names: Iterable[str] = tuple(NODES), *, timeout: float = 180) -> None:
        wanted = set(names)
        wait(
            lambda: wanted <= self.ready(),
            timeout,
            lambda: f"not Ready: {sorted(wanted - self.ready())}",
        )

    def await_reports(self, since: Mapping[str, datetime], *, timeout: float = 180) -> None:
        """Wait until the kubelets of these nodes have reported Ready after a moment: what stands
        there may be older.
        """

        def silent() -> set[str]:
            nodes = self.nodes() if since else {}
            return {name for name, moment in since.items() if not has_reported(nodes[name], moment)}

        wait(lambda: not silent(), timeout, lambda: f"no report of {sorted(silent())}")

    def await_boot(self, node: str, boot_id: str, *, timeout: float = 180) -> None:
        """Wait until a node's kubelet reports this boot: until then the node object tells of the
        boot before.
        """

        def reported() -> str:
            return str(self.nodes()[node]["status"]["nodeInfo"]["bootID"])

        wait(
            lambda: reported() == boot_id, timeout, lambda: f"{node} reports the boot {reported()}"
        )

    def await_boots(self, nodes: Iterable[Host]) -> None:
        """Wait until the kubelets of these nodes report the boot that is: the tool leaves a host
        alone that has another boot ID than its Node object.
        """
        for node in nodes:
            self.await_boot(node.name, node.read("/proc/sys/kernel/random/boot_id").strip())

    def cordon(self, node: str) -> None:
        self.kubectl("cordon", node)

    def uncordon(self, node: str) -> None:
        self.kubectl("uncordon", node)

    def add_nodes(self, names: Iterable[str]) -> None:
        """Make Node objects of nodes that are not there, by the thousand if need be; they are not
        Ready.
        """
        objects = [node_object(name) for name in names]
        for each in objects:
            each["metadata"]["labels"][ADDED] = "yes"
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("create", "-f", "-", input=listed, timeout=300)

    def remove_added_nodes(self) -> None:
        """Remove what `add_nodes` has made, in one request."""
        self.kubectl("delete", "--raw", f"/api/v1/nodes?labelSelector={ADDED}", timeout=300)

    def reset_nodes(self) -> None:
        """Uncordon all, drop the tool's annotations, remove nodes that the lab does not have."""
        self.remove_added_nodes()
        for name, node in self.nodes().items():
            if name not in NODES:
                self.kubectl("delete", "node", name)
                continue
            marks = [
                key
                for key in node["metadata"].get("annotations", {})
                if key.startswith("breakglass")
            ]
            if marks or node["spec"].get("unschedulable"):
                self.kubectl(
                    "patch",
                    "node",
                    name,
                    "--type=merge",
                    "-p",
                    json.dumps(
                        {
                            "metadata": {"annotations": dict.fromkeys(marks)},
                            "spec": {"unschedulable": None},
                        }
                    ),
                )

    # pods

    def start_pod(
        self,
        name: str,
        image: str,
        *,
        pull_policy: str | None = None,
        node: str | None = None,
        command: tuple[str, ...] = ("/bin/sh", "-c", "exec sleep 3600"),
        secret: str | None = None,
    ) -> None:
        """Make a pod; without `node` the scheduler chooses. `secret`: its only imagePullSecret."""
        container: dict[str, Any] = {"name": "main", "image": image, "command": list(command)}
        if pull_policy:
            container["imagePullPolicy"] = pull_policy
        spec: dict[str, Any] = {
            "containers": [container],
            "hostNetwork": True,
            "dnsPolicy": "Default",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "restartPolicy": "Never",
        }
        if secret:
            spec["imagePullSecrets"] = [{"name": secret}]
        if node:
            spec["nodeSelector"] = {"kubernetes.io/hostname": node}
            spec["tolerations"] = [
                {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}
            ]
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "default"},
                "spec": spec,
            }
        )

    def pod(self, name: str) -> Pod:
        found = self.get("pod", name)
        status = (found["status"].get("containerStatuses") or [{}])[0]
        waiting = status.get("state", {}).get("waiting", {})
        return Pod(
            name,
            found["status"]["phase"],
            found["spec"].get("nodeName", ""),
            waiting.get("reason", ""),
            waiting.get("message", ""),
            status.get("imageID", ""),
        )

    def settle(self, name: str, *, timeout: float = 60) -> Pod:
        """Wait until a pod runs, has ended, or waits in vain for its image."""
        wait(
            lambda: (
                self.pod(name).phase not in ("Pending", "Unknown")
                or self.pod(name).reason in WAITING_IN_VAIN
            ),
            timeout,
            lambda: f"undecided: {self.pod(name)}",
        )
        return self.pod(name)

    def ended(self, *names: str, timeout: float = 60) -> list[Pod]:
        """Wait until each of these pods has ended, or waits in vain for its image."""
        wait(
            lambda: all(
                pod.phase in ("Succeeded", "Failed") or pod.reason in WAITING_IN_VAIN
                for pod in map(self.pod, names)
            ),
            timeout,
            lambda: f"undecided: {[self.pod(name) for name in names]}",
        )
        return [self.pod(name) for name in names]

    def run_pod(
        self,
        name: str,
        image: str,
        *,
        pull_policy: str | None = None,
        node: str | None = None,
        timeout: float = 60,
    ) -> Pod:
        """start_pod, settle, delete_pods: what became of it."""
        self.start_pod(name, image, pull_policy=pull_policy, node=node)
        try:
            return self.settle(name, timeout=timeout)
        finally:
            self.delete_pods(name)

    def delete_pods(self, *names: str) -> None:
        """Delete these pods, or all."""
        self.kubectl(
            "delete",
            "pod",
            *(names or ("--all",)),
            "--grace-period=0",
            "--force",
            "--ignore-not-found",
            "--wait=true",
        )


def has_reported(node: dict[str, Any], moment: datetime) -> bool:
    """Whether the node was reported Ready at that moment or later; the API counts whole seconds."""
    (ready,) = [each for each in node["status"]["conditions"] if each["type"] == "Ready"]
    return bool(
        ready["status"] == "True"
        and ready["lastHeartbeatTime"] >= moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    )


def node_object(name: str, status: dict[str, Any] | None = None) -> dict[str, Any]:
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": status or {},
    }


def wait(until: Callable[[], bool], timeout: float, otherwise: Callable[[], str]) -> None:
    """Ask until it is so; TimeoutError with `otherwise` when it does not come to it."""
    deadline = time.monotonic() + timeout
    while not until():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise())
        time.sleep(0.2)
