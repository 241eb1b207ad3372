"""Nodes and pods as the API has them, as frozen facts."""

import json
import re
from dataclasses import dataclass
from typing import Any

from breakglass.errors import Refused, Usage, then
from breakglass.grammar import check_node_name
from breakglass.marks import ANNOTATION, HOLDS, Mark
from breakglass.observe.managers import UNKNOWN, Cordon, read_cordon
from breakglass.ports import ReadsCluster
from breakglass.shape import parse_json
from breakglass.text import inert

KEEPING_AWAY = ("DiskPressure", "MemoryPressure", "PIDPressure", "NetworkUnavailable")
"""Conditions under which a node takes no new pods: the node controller adds a taint for each."""
CORDON_TAINT = "node.kubernetes.io/unschedulable"
"""The node controller's taint for a cordon, ours or somebody else's."""

_COUNT = re.compile("[0-9]{1,9}")
_PIN_KEYS = ("run", "target", "by", "at", "reason")


@dataclass(frozen=True)
class Node:
    """A Node object, as far as it matters here."""

    name: str
    addresses: tuple[str, ...]
    """Every InternalIP, in the order of the API: a node may have one for IPv4 and one for IPv6."""
    architecture: str
    ready: bool
    conditions: tuple[str, ...]
    """Those of KEEPING_AWAY that hold."""
    mark: Mark
    resource_version: str
    kubelet: str = ""
    """Its version, as `v1.30.2`."""
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[str, ...] = ()
    """Keys of the taints that keep pods away: NoSchedule and NoExecute. A cordon's taint is not
    among them: `mark` has the cordon.
    """
    operating_system: str = ""
    runtime: str = ""
    """What kubelet runs containers with, as `containerd://2.1.4`."""
    pods: int | None = None
    """How many pods it may hold; None: the API does not say."""
    is_being_deleted: bool = False
    boot_id: str = ""
    """As its kubelet has reported it; so too the machine-id."""
    machine_id: str = ""
    cordon: Cordon = UNKNOWN
    """Who cordoned it."""


@dataclass(frozen=True)
class Pin:
    """Our annotation on a node: who cordoned it, for which target, when and why."""

    run: str
    target: str
    by: str
    at: str
    reason: str
    had_pods: bool = False
    """Whether pods of a Deployment or StatefulSet ran on the node when it was cordoned. Where they
    are gone, somebody has drained it since; `kubectl drain` writes nothing on a cordoned node.
    """

    def text(self) -> str:
        fields: dict[str, object] = {key: getattr(self, key) for key in _PIN_KEYS}
        if self.had_pods:
            fields["had_pods"] = True
        return json.dumps(fields, separators=(",", ":"))


@dataclass(frozen=True)
class Pod:
    """A Pod that is not finished."""

    namespace: str
    name: str
    node: str | None
    images: tuple[str, ...]
    waiting_for_image: bool
    pending: bool = False
    """Not all of its containers have started yet."""
    claims: tuple[str, ...] = ()
    """The PersistentVolumeClaims of its namespace that it uses."""
    owner: str = ""
    """The kind of its controller: `ReplicaSet`, `DaemonSet`; `Node` for a static pod."""
    leaving: bool = False
    """It has been deleted, and is ending."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def read_nodes(cluster: ReadsCluster) -> tuple[Node, ...]:
    return tuple(sorted((parse_node(item) for item in cluster.nodes()), key=lambda node: node.name))


def read_pods(cluster: ReadsCluster) -> tuple[Pod, ...]:
    return tuple(parse_pod(item) for item in cluster.pods())


def parse_node(item: dict[str, Any]) -> Node:
    metadata, spec, status = (mapping(item.get(key)) for key in ("metadata", "spec", "status"))
    conditions = {
        text(condition.get("type")): condition.get("status")
        for condition in list_of(status.get("conditions"))
    }
    addresses = [
        text(address.get("address"))
        for address in list_of(status.get("addresses"))
        if address.get("type") == "InternalIP"
    ]
    system = mapping(status.get("nodeInfo"))
    return Node(
        name=text(metadata.get("name")),
        addresses=tuple(filter(None, addresses)),
        architecture=text(system.get("architecture")),
        ready=conditions.get("Ready") == "True",
        conditions=tuple(kind for kind in KEEPING_AWAY if conditions.get(kind) == "True"),
        mark=_mark(metadata, spec),
        resource_version=text(metadata.get("resourceVersion")),
        kubelet=text(system.get("kubeletVersion")),
        taints=_taints(spec),
        operating_system=text(system.get("operatingSystem")),
        runtime=text(system.get("containerRuntimeVersion")),
        pods=_count(mapping(status.get("allocatable")).get("pods")),
        is_being_deleted="deletionTimestamp" in metadata,
        boot_id=text(system.get("bootID")).lower(),
        machine_id=text(system.get("machineID")).lower(),
        cordon=read_cordon(metadata),
        labels=tuple(
            sorted(
                (name, value)
                for name, value in mapping(metadata.get("labels")).items()
                if isinstance(value, str)
            )
        ),
    )


def _mark(metadata: dict[str, Any], spec: dict[str, Any]) -> Mark:
    annotations = mapping(metadata.get("annotations"))
    annotation, holds = annotations.get(ANNOTATION), annotations.get(HOLDS)
    return Mark(
        unschedulable=spec.get("unschedulable") is True,
        annotation=annotation if isinstance(annotation, str) else None,
        holds=holds if isinstance(holds, str) else None,
    )


def _taints(spec: dict[str, Any]) -> tuple[str, ...]:
    """The keys of the taints that keep pods away, without a cordon's."""
    keys = (
        text(taint.get("key"))
        for taint in list_of(spec.get("taints"))
        if taint.get("effect") in ("NoSchedule", "NoExecute")
    )
    return tuple(dict.fromkeys(key for key in keys if key != CORDON_TAINT))


def _count(quantity: object) -> int | None:
    """A number of pods. Kubernetes writes it as text, in full; what is written otherwise is not
    known here.
    """
    return int(quantity) if isinstance(quantity, str) and _COUNT.fullmatch(quantity) else None


def parse_pod(item: dict[str, Any]) -> Pod:
    metadata, spec, status = (mapping(item.get(key)) for key in ("metadata", "spec", "status"))
    containers = [*list_of(spec.get("initContainers")), *list_of(spec.get("containers"))]
    states = [
        *list_of(status.get("initContainerStatuses")),
        *list_of(status.get("containerStatuses")),
    ]
    reasons = {
        text(mapping(mapping(state.get("state")).get("waiting")).get("reason")) for state in states
    }
    return Pod(
        namespace=text(metadata.get("namespace")),
        name=text(metadata.get("name")),
        node=text(spec.get("nodeName")) or None,
        images=tuple(filter(None, (text(container.get("image")) for container in containers))),
        pending=status.get("phase") == "Pending",
        claims=tuple(_claims(text(metadata.get("name")), list_of(spec.get("volumes")))),
        owner=next(
            (
                text(owner.get("kind"))
                for owner in list_of(metadata.get("ownerReferences"))
                if owner.get("controller") is True
            ),
            "",
        ),
        leaving="deletionTimestamp" in metadata,
        waiting_for_image=bool(
            reasons
            & {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable"}
        ),
    )


def _claims(pod: str, volumes: list[dict[str, Any]]) -> list[str]:
    """A volume of the kind `ephemeral` has a claim that is called after the pod."""
    named = [
        text(mapping(volume.get("persistentVolumeClaim")).get("claimName")) for volume in volumes
    ]
    return [
        *filter(None, named),
        *(f"{pod}-{text(volume.get('name'))}" for volume in volumes if "ephemeral" in volume),
    ]


def parse_pin(annotation: str) -> Pin:
    """Raises Refused for an annotation under our name that is not ours to read."""
    try:
        data = parse_json(annotation)
        fields = {key: str(data[key]) for key in _PIN_KEYS}
        pin = Pin(**fields, had_pods=data.get("had_pods") is True)
        check_node_name(pin.target)  # it appears in lines to type
        return pin
    except (ValueError, KeyError, TypeError, Usage) as error:
        raise Refused(
            f"the annotation {ANNOTATION} cannot be read: {annotation[:100]!r}",
            next_step=then(
                "kubectl get nodes -o yaml",
                "breakglass restore",
                advice="look at it, then undo all pins",
            ),
        ) from error


def text(value: object) -> str:
    """What is of another kind counts as not said."""
    return inert(value) if isinstance(value, str) else ""


def mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
