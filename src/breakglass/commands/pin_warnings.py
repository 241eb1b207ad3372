"""The pods that a pin does not help."""

from collections.abc import Sequence

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
