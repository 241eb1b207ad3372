"""The configuration as frozen values. breakglass.example.yaml explains every key."""

from dataclasses import dataclass, field
from pathlib import Path

from breakglass.errors import AGAIN, Refused, then
from breakglass.signatures.allowed_signers import Signer

REGISTRY_VM = "registry-vm"


@dataclass(frozen=True)
class Image:
    repository: str
    name: str
    also_known_as: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    """Each of which the registries have to serve; empty: those of the nodes."""
    sign_with: Path | None = None
    """The key that `snapshot` signs records with: private, or the public part of the agent's."""
    signers: tuple[Signer, ...] | None = None
    """Who may sign records; None: records need no signature."""

    def names(self, tag: str) -> tuple[str, ...]:
        """Every reference under which pods use the image with this tag. The first is the reference
        that it is pulled by. Raises Refused.
        """
        aliases = (name.replace("{tag}", tag) for name in self.also_known_as)
        names = tuple(dict.fromkeys((f"{self.repository}:{tag}", *aliases)))
        for name in names:
            if len(name.rpartition(":")[2]) > 128:
                raise Refused(
                    f"{name} is no name of an image: a tag has at most 128 characters",
                    next_step=then(
                        AGAIN, advice="shorten what stands around {tag} in image.also_known_as"
                    ),
                )
        return names

    def tarball(self, tag: str) -> str:
        """The name of the tarball with this tag, or of the link for the tag `latest`."""
        return f"{self.name}-{tag}.tar.gz"


@dataclass(frozen=True)
class RegistryVm:
    ssh: str
    directory: str
    keep: int = 5
    sudo: bool = False


@dataclass(frozen=True)
class Fallback:
    name: str
    ssh: str
    directory: str


@dataclass(frozen=True)
class Nodes:
    ssh_user: str | None = None
    hosts: dict[str, str] = field(default_factory=dict)
    directory: str = "/var/breakglass"
    sudo: bool = True
    ctr: tuple[str, ...] = ("ctr",)
    namespace: str = "k8s.io"
    registry_config: str = "/etc/containerd/certs.d"
    answer_pulls: bool = True
    tolerates: tuple[str, ...] = ()
    selector: dict[str, str] = field(default_factory=dict)
    kubelet_directory: str | None = None
    """None: what the running kubelet was started with."""


@dataclass(frozen=True)
class Registry:
    name: str
    url: str
    repository: str
    ca: Path | None = None
    names: tuple[str, ...] = ()
    """The repositories, as pods name them, that are pulled from here."""


@dataclass(frozen=True)
class Ssh:
    config: Path
    known_hosts: Path
    connect_timeout_seconds: float = 5.0


@dataclass(frozen=True)
class Kubernetes:
    kubeconfig: Path | None = None
    context: str | None = None


@dataclass(frozen=True)
class Status:
    max_age_hours: float = 192.0


@dataclass(frozen=True)
class Config:
    image: Image
    registry_vm: RegistryVm
    fallbacks: tuple[Fallback, ...]
    nodes: Nodes
    registries: tuple[Registry, ...]
    """Every registry to ask, also those that are not configured: see registries_of."""
    ssh: Ssh
    kubernetes: Kubernetes
    status: Status
    source: Path
    """The file that the configuration was read from."""
