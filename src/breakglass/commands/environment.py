"""What a command may read, and who runs it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from breakglass.cluster_name import ClusterName
from breakglass.commands.sources import FIRST_BYTE_SECONDS, sources
from breakglass.config import Config
from breakglass.errors import BreakglassError, Refused, Unreachable
from breakglass.observe.cluster import Node, read_nodes
from breakglass.observe.containerd import Ctr
from breakglass.observe.shelf import Shelf, read_shelf
from breakglass.plan import Host
from breakglass.ports import Reads, ReadsCluster
from breakglass.registry import Found, ImageId


@dataclass(frozen=True)
class Identity:
    """Who runs this, and when: what goes into records, annotations and locks."""

    run: str
    by: str
    at: str
    version: str

    @property
    def holder(self) -> str:
        return f"{self.by}, run {self.run}"


@dataclass(frozen=True)
class Remembered:
    """What runs on this machine have changed and not undone, by its journal."""

    cordoned: frozenset[str] = frozenset()
    """Names of nodes."""
    hosts: frozenset[str] = frozenset()
    """Names of hosts with something to undo."""


@dataclass(frozen=True)
class Unread:
    """A part of the environment that could not be read, and why."""

    name: str
    error: BreakglassError

    def __str__(self) -> str:
        return self.error.named(self.name)


@dataclass(frozen=True)
class Environment:
    """Everything that a command may read."""

    config: Config
    hosts: Reads
    cluster: ReadsCluster
    identity: Identity
    look: Callable[[str], tuple[Found, ...]]
    """What each configured registry serves under a tag."""
    image_id: Callable[[str, str], ImageId]
    """(reference, platform) -> what the registry says the image ID is."""
    look_at: Callable[[str, str], Found]
    """(reference, platform) -> whether this machine, with its logins, could pull it."""
    may_patch: Callable[[], bool | None] = lambda: None
    """Whether the API lets us patch nodes; None: it would not say."""
    remembered: Callable[[], Remembered] = Remembered
    """What the journal of this machine says."""
    note: Callable[[str], None] = lambda _: None
    """Tells the operator what is being looked at, while it takes time."""
    cluster_name: Callable[[], ClusterName | None] = lambda: None
    """Which cluster the kubeconfig means; nothing is contacted for it."""
    signing_key: Callable[[], bytes | Refused | None] = lambda: None
    """The public key of image.sign_with, or why it cannot be used; None: none is configured."""
    warn: Callable[[str], None] = lambda _: None
    anyway: bool = False
    """The operator goes on with a node that does not fit, or whose host is not the machine that the
    API means.
    """
    reached: dict[str, str] = field(default_factory=dict)
    """Node with several addresses -> the address that it was reached by in this run."""
    noted: set[ClusterName] = field(default_factory=set)
    """Clusters whose name this run has shown."""

    @property
    def registry_vm(self) -> Host:
        return self.sources[0][0]

    @property
    def sources(self) -> tuple[tuple[Host, str], ...]:
        return sources(self.config)

    def shelf(self, host: Host, directory: str, *, quiet_seconds: float = 30.0) -> Shelf:
        """The tarballs in a directory of a host. Raises Unreachable."""
        image = self.config.image
        return read_shelf(
            self.hosts,
            host,
            directory,
            image.name,
            signers=image.signers,
            quiet_seconds=quiet_seconds,
        )

    def source(
        self, host: Host, directory: str, *, quiet_seconds: float = FIRST_BYTE_SECONDS
    ) -> Shelf | Unread:
        """The shelf of a source, or why it could not be read. The disks of a NAS may have to spin
        up.
        """
        try:
            return self.shelf(host, directory, quiet_seconds=quiet_seconds)
        except Unreachable as error:
            return Unread(host.name, error)

    @property
    def ctr(self) -> Ctr:
        return Ctr(self.config.nodes.ctr, self.config.nodes.namespace)

    def nodes(self) -> tuple[Node, ...]:
        """Every node, and once on the screen which cluster that is. Raises Unreachable."""
        name = self.cluster_name()
        if name and name not in self.noted:
            self.noted.add(name)
            self.note(f"asking cluster {name}")
        return read_nodes(self.cluster)

    def nodes_or_error(self) -> tuple[tuple[Node, ...], Unreachable | None]:
        """Every node; or none, and why the API was not reached."""
        try:
            return self.nodes(), None
        except Unreachable as error:
            return (), error
