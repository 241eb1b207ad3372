"""Whether the API's list of nodes can be the whole of the right cluster. Pure."""

from collections.abc import Collection

from breakglass.cluster_name import ClusterName, kubectl_line
from breakglass.errors import Next, look_first


def doubt(nodes: Collection[str], configured: Collection[str], cluster: ClusterName | None) -> str:
    """Why the list is not to be believed, empty where it is. `configured`: names of `nodes.hosts`.

    A kubeconfig of another cluster, or a proxy, may answer with a list that is too short.
    """
    name = f"cluster {cluster}" if cluster else "the API"
    if not nodes:
        return f"{name} lists no nodes, so it may be the wrong one"
    if configured and not set(configured) & set(nodes):
        return f"no name in nodes.hosts is a node of {name}, so it may be the wrong one"
    return ""


def another_context(cluster: ClusterName | None) -> Next:
    """What to type where the kubeconfig may mean the wrong cluster."""
    contexts = kubectl_line(cluster and cluster.without_context, "config", "get-contexts")
    return look_first(
        contexts,
        advice="choose another context (kubernetes.context, or the kubeconfig's), then try again",
    )
