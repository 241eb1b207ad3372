"""Which nodes have pods that a drain moves away: remembered at `pin`, compared at `restore`."""

from collections.abc import Iterable

from breakglass.observe.cluster import Pod

MOVED = frozenset({"ReplicaSet", "StatefulSet", "ReplicationController"})
"""Controllers that start a pod elsewhere when it is evicted. A pod of a Job, as CI has them, ends
by itself, and proves nothing by being gone.
"""
STAYING = frozenset({"DaemonSet", "Node"})
"""What a drain leaves: pods of DaemonSets, and static pods."""


def nodes_with_pods(pods: Iterable[Pod]) -> frozenset[str]:
    """Nodes with pods that only a drain, or their end, takes away."""
    return frozenset(
        pod.node for pod in pods if pod.node and pod.owner in MOVED and not pod.leaving
    )


def nodes_without_pods(nodes: Iterable[str], pods: Iterable[Pod]) -> frozenset[str]:
    """Those of the nodes that have nothing but what a drain leaves."""
    occupied = {
        pod.node for pod in pods if pod.node and pod.owner not in STAYING and not pod.leaving
    }
    return frozenset(nodes) - occupied
