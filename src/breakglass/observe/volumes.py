"""Persistent volumes that not every node can serve, and the pods that use them.

The rules of a node selector: Kubernetes API reference, NodeSelectorTerm and VolumeNodeAffinity.
"""

import re
from dataclasses import dataclass
from typing import Any

from breakglass.observe.cluster import Node, Pod, list_of, mapping, text
from breakglass.ports import ReadsCluster

Requirement = tuple[str, str, tuple[str, ...]]
"""(label, operator, values); the label `metadata.name` is the node's name."""


@dataclass(frozen=True)
class Volume:
    """A bound PersistentVolume that is tied to some nodes."""

    namespace: str
    claim: str
    terms: tuple[tuple[Requirement, ...], ...]
    """A node can serve it when all requirements of one of these hold."""

    def is_served_by(self, node: Node) -> bool:
        return any(
            term and all(_holds(requirement, node) for requirement in term) for term in self.terms
        )


def read_volumes(cluster: ReadsCluster) -> tuple[Volume, ...]:
    """Those that are bound and tied to nodes. Raises Unreachable."""
    return tuple(volume for volume in map(parse_volume, cluster.volumes()) if volume is not None)


def parse_volume(item: dict[str, Any]) -> Volume | None:
    """None for one that is not bound, or that every node can serve."""
    spec = mapping(item.get("spec"))
    claim, required = (
        mapping(spec.get("claimRef")),
        mapping(mapping(spec.get("nodeAffinity")).get("required")),
    )
    terms = tuple(_term(term) for term in list_of(required.get("nodeSelectorTerms")))
    name = text(claim.get("name"))
    return Volume(text(claim.get("namespace")), name, terms) if name and terms else None


def tied_elsewhere(
    pods: tuple[Pod, ...], volumes: tuple[Volume, ...], nodes: tuple[Node, ...], target: str
) -> tuple[tuple[Pod, tuple[str, ...]], ...]:
    """Pods that could start anew on other nodes only, with these nodes."""
    by_claim = {(volume.namespace, volume.claim): volume for volume in volumes}
    found = []
    for pod in pods:
        its = [
            by_claim[pod.namespace, claim]
            for claim in pod.claims
            if (pod.namespace, claim) in by_claim
        ]
        serving = tuple(
            node.name for node in nodes if all(volume.is_served_by(node) for volume in its)
        )
        if its and serving and target not in serving:
            found.append((pod, serving))
    return tuple(found)


def _term(term: dict[str, Any]) -> tuple[Requirement, ...]:
    wanted = [*list_of(term.get("matchExpressions")), *list_of(term.get("matchFields"))]
    return tuple(
        (
            text(each.get("key")),
            text(each.get("operator")),
            tuple(map(str, each["values"])) if isinstance(each.get("values"), list) else (),
        )
        for each in wanted
    )


def _holds(requirement: Requirement, node: Node) -> bool:
    key, operator, values = requirement
    value = node.name if key == "metadata.name" else dict(node.labels).get(key)
    if operator in ("Gt", "Lt"):
        numbers = [
            int(number)
            for number in (value, *values)
            if number is not None and re.fullmatch("-?[0-9]{1,18}", number)
        ]
        return len(numbers) == 2 and (
            numbers[0] > numbers[1] if operator == "Gt" else numbers[0] < numbers[1]
        )
    # What Kubernetes does not know yet is no reason to warn.
    return {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }.get(operator, True)
