"""The state of the sandbox's cluster: nodes and pods in memory, changed by the rules of a real API
server.
"""

import copy
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from breakglass.sandbox.tables import KINDS

Object = dict[str, Any]

SINCE = "2026-01-01T00:00:00Z"
ANNOTATIONS_BYTES = 256 << 10
"""Keys and values of an object's annotations together."""


class Declined(Exception):
    """An answer that is not 200, as the API's Status object."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class Objects:
    """Nodes, pods and persistent volumes, safe for threads. A stored object is never written to: a
    change replaces it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._objects: dict[str, dict[tuple[str, str], Object]] = {
            "nodes": {},
            "pods": {},
            "persistentvolumes": {},
        }
        self._version = 1000

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
    ) -> None:
        spec: Object = ({"unschedulable": True} if unschedulable else {}) | (
            {"taints": [dict(taint) for taint in taints]} if taints else {}
        )
        conditions = [
            {
                "type": "DiskPressure",
                "status": str(disk_pressure),
                "reason": "KubeletHasDiskPressure" if disk_pressure else "KubeletHasNoDiskPressure",
            },
            {
                "type": "Ready",
                "status": str(ready),
                "reason": "KubeletReady" if ready else "KubeletNotReady",
            },
        ]
        status = {
            "addresses": [
                {"type": "InternalIP", "address": internal_ip},
                {"type": "Hostname", "address": name},
            ],
            "conditions": [
                condition | {"lastHeartbeatTime": SINCE, "lastTransitionTime": SINCE}
                for condition in conditions
            ],
            "nodeInfo": {
                "architecture": architecture,
                "operatingSystem": "linux",
                "kubeletVersion": "v1.34.0",
                "containerRuntimeVersion": "containerd://2.4.2",
            },
        }
        own = {
            "kubernetes.io/arch": architecture,
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
        }
        self._put(
            "nodes",
            {
                "metadata": {"name": name, "labels": own | dict(labels or {})},
                "spec": spec,
                "status": status,
            },
        )

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
        """A pod with one container. `waiting` is the reason why it does not run, `ImagePullBackOff`
        say.
        """
        container = {"name": "main", "image": image, "imagePullPolicy": pull_policy}
        spec = (
            {"containers": [container]}
            | ({"nodeName": node} if node else {})
            | ({"volumes": [dict(volume) for volume in volumes]} if volumes else {})
        )
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
        """A bound PersistentVolume; with `nodes` one that only these can serve."""
        terms = [
            {
                "matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": list(nodes)}
                ]
            }
        ]
        affinity = {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}} if nodes else {}
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": f"/var/lib/{name}"},
            "claimRef": {"namespace": namespace, "name": claim},
        }
        item = {"metadata": {"name": name}, "spec": spec | affinity, "status": {"phase": "Bound"}}
        self._put("persistentvolumes", item)

    def remove_volume(self, name: str) -> None:
        with self._lock:
            del self._objects["persistentvolumes"]["", name]

    def remove_node(self, name: str) -> None:
        with self._lock:
            del self._objects["nodes"]["", name]

    def node(self, name: str) -> Object:
        """A copy of a Node as it is now."""
        with self._lock:
            return copy.deepcopy(self.find("nodes", "", name))

    def patch_node(self, name: str, patch: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Merge a patch (RFC 7396) into a node, as a real server does: nothing changed, no new
        resourceVersion. Raises Declined.
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
                    (
                        f'Operation cannot be fulfilled on nodes "{name}": the object has been '
                        f"modified; please apply your changes to the latest version and try again"
                    ),
                )
            if metadata.get("name", name) != name:
                raise Declined(
                    400, "BadRequest", "the name of the object does not match the name on the URL"
                )
            after = _merged(before, patch)
            _validate(after)
            if after == before or dry_run:
                return copy.deepcopy(after)
            self._version += 1
            # A new object: readers may still be busy with the old one.
            after["metadata"] = after["metadata"] | {"resourceVersion": str(self._version)}
            self._objects["nodes"]["", name] = after
            return copy.deepcopy(after)

    def find(self, kind: str, namespace: str, name: str) -> Object:
        """One object, not to be written to. Raises Declined."""
        with self._lock:
            if (namespace, name) not in self._objects[kind]:
                raise Declined(404, "NotFound", f'{kind} "{name}" not found')
            return self._objects[kind][namespace, name]

    def select(
        self, kind: str, namespace: str | None, selector: str
    ) -> tuple[str, list[tuple[tuple[str, str], Object]]]:
        """The resourceVersion of now, and the objects that a field selector means, in order, not to
        be written to.
        """
        with self._lock:
            found = [
                (key, item)
                for key, item in self._objects[kind].items()
                if namespace in (None, key[0])
            ]
            return str(self._version), sorted(
                ((key, item) for key, item in found if _selected(item, selector)),
                key=lambda pair: pair[0],
            )

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


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _validate(node: Object) -> None:
    """Refuse what a real server refuses in the fields that are patched here, and leave out what it
    leaves out.
    """
    metadata, spec = node.get("metadata"), node.get("spec")
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        raise Declined(422, "Invalid", "metadata and spec are objects")
    for field in ("annotations", "labels"):
        values = metadata.get(field, {})
        if not isinstance(values, dict) or not all(
            isinstance(value, str) for value in values.values()
        ):
            raise Declined(422, "Invalid", f"metadata.{field} holds strings only")
        if not values:
            metadata.pop(field, None)
    annotations: dict[str, str] = metadata.get("annotations", {})
    if sum(len((key + value).encode()) for key, value in annotations.items()) > ANNOTATIONS_BYTES:
        why = f"metadata.annotations: Too long: may not be more than {ANNOTATIONS_BYTES} bytes"
        raise Declined(422, "Invalid", f'Node "{metadata["name"]}" is invalid: {why}')
    if not isinstance(spec.get("unschedulable", False), bool):
        raise Declined(422, "Invalid", "spec.unschedulable is true or false")
    if not spec.get("unschedulable", False):
        spec.pop("unschedulable", None)


def needs_schema(patch: Object) -> bool:
    """Whether a strategic merge patch is more than a merge patch: directives, or lists that are
    merged by key.
    """
    return any(
        key.startswith("$")
        or key in ("addresses", "conditions", "ownerReferences")
        or (isinstance(value, dict) and needs_schema(value))
        for key, value in patch.items()
    )


def _selected(item: Object, selector: str) -> bool:
    for term in filter(None, selector.split(",")):
        path, operator, wanted = (
            term.partition("!=") if "!=" in term else term.replace("==", "=").partition("=")
        )
        value: Any = item
        for key in path.split("."):
            value = value.get(key, "") if isinstance(value, dict) else ""
        if (value == wanted) == (operator == "!="):
            return False
    return True
