"""The objects of the sandbox's cluster, in memory."""

import copy
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from breakglass.sandbox import machine_ids
from breakglass.sandbox.managers import managed_fields
from breakglass.sandbox.rules import Declined, Object, is_selected, merged, validate
from breakglass.sandbox.tables import KINDS

Entry = tuple[tuple[str, str], Object]
"""Namespace and name of an object, and the object."""

SINCE = "2026-01-01T00:00:00Z"


class Objects:
    """Nodes, pods and persistent volumes; thread-safe. A stored object is never changed: it is
    replaced.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._objects: dict[str, dict[tuple[str, str], Object]] = {
            "nodes": {},
            "pods": {},
            "persistentvolumes": {},
        }
        self._version = 1000

    def take_over(self, other: "Objects") -> None:
        """Share the objects of another server, which has stopped."""
        self._lock, self._objects, self._version = other._lock, other._objects, other._version

    def add_node(
        self,
        name: str,
        *,
        internal_ip: str,
        architecture: str = "amd64",
        ready: bool = True,
        unschedulable: bool = False,
        taints: Sequence[Mapping[str, str]] = (),
        disk_pressure: bool = False,
        labels: Mapping[str, str] | None = None,
        machine: str | None = None,
    ) -> None:
        """`machine`: the machine that it is, where that has another name."""
        spec: Object = {}
        if unschedulable:
            spec["unschedulable"] = True
        if taints:
            spec["taints"] = [dict(taint) for taint in taints]
        status = {
            "addresses": [
                {"type": "InternalIP", "address": internal_ip},
                {"type": "Hostname", "address": name},
            ],
            "conditions": _conditions(ready=ready, disk_pressure=disk_pressure),
            "nodeInfo": _node_info(machine or name, architecture),
        }
        all_labels = {
            "kubernetes.io/arch": architecture,
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            **(labels or {}),
        }
        metadata = {"name": name, "labels": all_labels}
        self._put("nodes", {"metadata": metadata, "spec": spec, "status": status})

    def add_pod(
        self,
        name: str,
        *,
        image: str,
        namespace: str = "default",
        node: str | None = None,
        phase: str = "Running",
        waiting: str | None = None,
        pull_policy: str = "IfNotPresent",
        volumes: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """A pod with one container. `waiting` is the reason why it does not run, such as
        `ImagePullBackOff`.
        """
        container = {"name": "main", "image": image, "imagePullPolicy": pull_policy}
        spec: Object = {"containers": [container]}
        if node:
            spec["nodeName"] = node
        if volumes:
            spec["volumes"] = [dict(volume) for volume in volumes]
        state = {"waiting": {"reason": waiting}} if waiting else {"running": {"startedAt": SINCE}}
        status = {
            "phase": phase,
            "containerStatuses": [
                {
                    "name": "main",
                    "image": image,
                    "ready": not waiting,
                    "restartCount": 0,
                    "state": state,
                }
            ],
        }
        self._put(
            "pods",
            {"metadata": {"name": name, "namespace": namespace}, "spec": spec, "status": status},
        )

    def add_volume(
        self, name: str, *, claim: str, namespace: str = "default", nodes: Sequence[str] = ()
    ) -> None:
        """A bound PersistentVolume. With `nodes` only these nodes can mount it."""
        spec: Object = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": f"/var/lib/{name}"},
            "claimRef": {"namespace": namespace, "name": claim},
        }
        if nodes:
            hostname = {"key": "kubernetes.io/hostname", "operator": "In", "values": list(nodes)}
            terms = [{"matchExpressions": [hostname]}]
            spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": terms}}
        item = {"metadata": {"name": name}, "spec": spec, "status": {"phase": "Bound"}}
        self._put("persistentvolumes", item)

    def remove_node(self, name: str) -> None:
        with self._lock:
            del self._objects["nodes"]["", name]

    def remove_pod(self, name: str, *, namespace: str = "default") -> None:
        with self._lock:
            del self._objects["pods"][namespace, name]

    def node(self, name: str) -> Object:
        """A copy of a Node as it is now."""
        with self._lock:
            return copy.deepcopy(self.find("nodes", "", name))

    def patch_node(
        self,
        name: str,
        patch: Mapping[str, Any],
        *,
        dry_run: bool = False,
        manager: str = "kubectl",
    ) -> Object:
        """Merge a patch (RFC 7396) into a node. As with a real server, a patch that changes nothing
        makes no new resourceVersion, and `managedFields` says which client set what. Raises
        Declined.
        """
        with self._lock:
            before = self.find("nodes", "", name)
            metadata = patch.get("metadata")
            metadata = metadata if isinstance(metadata, dict) else {}
            wanted = metadata.get("resourceVersion") or before["metadata"]["resourceVersion"]
            if wanted != before["metadata"]["resourceVersion"]:
                raise Declined(
                    409,
                    "Conflict",
                    f'Operation cannot be fulfilled on nodes "{name}": the object has been '
                    f"modified; please apply your changes to the latest version and try again",
                )
            if metadata.get("name", name) != name:
                raise Declined(
                    400, "BadRequest", "the name of the object does not match the name on the URL"
                )
            after = merged(before, patch)
            validate(after)
            if after == before or dry_run:
                return copy.deepcopy(after)
            self._version += 1
            # A new object, since another thread may still read the old one.
            after["metadata"] = after["metadata"] | {"resourceVersion": str(self._version)}
            after["metadata"].pop("managedFields", None)
            if managed := managed_fields(before, after, manager):
                after["metadata"]["managedFields"] = managed
            self._objects["nodes"]["", name] = after
            return copy.deepcopy(after)

    def find(self, kind: str, namespace: str, name: str) -> Object:
        """One object, which must not be changed. Raises Declined."""
        with self._lock:
            if (namespace, name) not in self._objects[kind]:
                raise Declined(404, "NotFound", f'{kind} "{name}" not found')
            return self._objects[kind][namespace, name]

    def select(self, kind: str, namespace: str | None, selector: str) -> tuple[str, list[Entry]]:
        """The current resourceVersion, and the objects that a field selector selects, in order.
        They must not be changed.
        """
        with self._lock:
            entries = [
                (key, item)
                for key, item in self._objects[kind].items()
                if namespace in (None, key[0]) and is_selected(item, selector)
            ]
            return str(self._version), sorted(entries, key=lambda entry: entry[0])

    def _put(self, kind: str, item: Object) -> None:
        with self._lock:
            self._version += 1
            metadata = item["metadata"]
            metadata |= {
                "uid": f"00000000-0000-4000-8000-{self._version:012d}",
                "resourceVersion": str(self._version),
                "creationTimestamp": SINCE,
            }
            self._objects[kind][metadata.get("namespace", ""), metadata["name"]] = {
                "kind": KINDS[kind],
                "apiVersion": "v1",
            } | item


def _conditions(*, ready: bool, disk_pressure: bool) -> list[Object]:
    pressure = "KubeletHasDiskPressure" if disk_pressure else "KubeletHasNoDiskPressure"
    return [
        _condition("DiskPressure", disk_pressure, reason=pressure),
        _condition("Ready", ready, reason="KubeletReady" if ready else "KubeletNotReady"),
    ]


def _node_info(machine: str, architecture: str) -> Object:
    return {
        "machineID": machine_ids.machine_id(machine),
        "bootID": machine_ids.boot_id(machine),
        "architecture": architecture,
        "operatingSystem": "linux",
        "kubeletVersion": "v1.34.0",
        "containerRuntimeVersion": "containerd://2.4.2",
    }


def _condition(kind: str, holds: bool, *, reason: str) -> Object:
    return {
        "type": kind,
        "status": str(holds),
        "reason": reason,
        "lastHeartbeatTime": SINCE,
        "lastTransitionTime": SINCE,
    }
