"""The pods that a pin does not help."""

from collections.abc import Iterable, Sequence

from breakglass.cluster_name import ClusterName, kubectl_line
from breakglass.commands.image_names import repository_of
from breakglass.observe.cluster import Pod


def waiting_elsewhere(
    pods: tuple[Pod, ...], repositories: frozenset[str], target: str
) -> list[str]:
    """A warning for each pod that waits for the image on another node than the target."""
    return [
        f"{pod} is bound to {pod.node} and waits there for the image; it will not move: "
        f"delete it, so that it is scheduled anew"
        for pod in pods
        if pod.node not in (None, target)
        and pod.waiting_for_image
        and any(repository_of(image) in repositories for image in pod.images)
    ]


def queued_pulls(pods: Iterable[Pod], repositories: frozenset[str], target: str) -> list[str]:
    """A warning where pods of the target wait for other images: a pod of the image waits behind
    them, for kubelet pulls one image after another (kubernetes#43915).
    """
    failing = [
        pod
        for pod in pods
        if pod.node == target
        and pod.waiting_for_image
        and not any(repository_of(image) in repositories for image in pod.images)
    ]
    if not failing:
        return []
    count = f"{len(failing)} pod{'' if len(failing) == 1 else 's'} on {target}"
    return [
        f"{count} cannot pull other images ({failing[0]}): kubelet pulls one after another unless "
        f"serializeImagePulls is false, so pods with Always may wait 30 s for each"
    ]


def reacting_to_cordons(pods: Iterable[Pod]) -> list[str]:
    """A warning for each program in the cluster that does more to a cordoned node than not to
    schedule pods there, or that uncordons it.
    """
    images = {repository_of(image).lower() for pod in pods for image in pod.images}
    return [
        warning
        for name, warning in _REACTING.items()
        if any(f"/{image}".endswith(name) for image in images)
    ]


_REACTING = {
    "metallb/speaker": "MetalLB stops announcing addresses from cordoned nodes (0.14.9 and newer): "
    "they move, or are gone",
    "/descheduler": "the descheduler may evict pods from cordoned nodes",
    "/kured": "kured may reboot a cordoned node, and uncordons it after that",
    "/system-upgrade-controller": "the system-upgrade-controller may uncordon nodes",
}
"""By the end of the name of their image, which a mirror keeps."""


def tied_to_others(
    tied: Sequence[tuple[Pod, Sequence[str]]], cluster: ClusterName | None = None
) -> list[str]:
    """Warnings for pods whose volumes only other nodes can serve. `tied`: (pod, those nodes)."""
    warnings = [
        f"{pod} has a volume that only {', '.join(nodes)} can serve: while this is pinned it "
        f"cannot start anew; to let it: {kubectl_line(cluster, 'uncordon', nodes[0])}"
        for pod, nodes in tied[:5]
    ]
    if len(tied) > 5:
        warnings.append(
            f"and {len(tied) - 5} more pods have volumes that only other nodes can serve"
        )
    return warnings
