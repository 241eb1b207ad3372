"""Which cluster a kubeconfig means: for screens, and for kubectl lines."""

from dataclasses import dataclass, replace

from breakglass.errors import look_first
from breakglass.quoting import join
from breakglass.text import inert

BIND_THE_ROLE = look_first(
    "kubectl auth can-i patch nodes",
    advice="bind the ClusterRole in docs/security.md to this identity",
)


@dataclass(frozen=True)
class ClusterName:
    """The context and the API server in force. Both are data: they are printed inert."""

    context: str | None
    """None in a pod, where no kubeconfig is in force."""
    server: str
    kubeconfig: str | None = None
    """The file, where kubectl by itself would read another."""

    def __str__(self) -> str:
        server = inert(self.server)
        return f"{inert(self.context)} ({server})" if self.context else server

    @property
    def without_context(self) -> "ClusterName":
        """The kubeconfig, for lines that are about all of its contexts."""
        return replace(self, context=None)

    @property
    def kubectl(self) -> tuple[str, ...]:
        """The first words of a kubectl line that reaches this cluster and no other."""
        file = ("--kubeconfig", self.kubeconfig) if self.kubeconfig else ()
        context = ("--context", inert(self.context)) if self.context else ()
        return ("kubectl", *file, *context)


def kubectl_line(cluster: ClusterName | None, *arguments: str) -> str:
    """A kubectl line to type; without a known cluster, kubectl's own choice of one."""
    return join((*(cluster.kubectl if cluster else ("kubectl",)), *arguments))
