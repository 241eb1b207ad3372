"""Deciding: for each command a file of its name, and others beside it that begin with that name.

`observe` reads the facts, `plan` is a pure function of them, `result` is what was reached.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from breakglass.cluster_name import ClusterName
from breakglass.config import REGISTRY_VM, Config
from breakglass.errors import BreakglassError, Refused, Unreachable
from breakglass.observe.cluster import Node, read_nodes
from breakglass.observe.containerd import Ctr
from breakglass.observe.shelf import Shelf, Tarball, read_shelf
from breakglass.plan import Argv, Host, Lock, Purpose, Run, Step, script, title
from breakglass.ports import Reads, ReadsCluster
from breakglass.registry import Found, ImageId

FIRST_BYTE_SECONDS = 60.0
"""What a source may take for its first byte."""


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
class Target:
    """NODE, resolved."""

    host: Host
    how: str
    """The line that says how it was found."""
    nodes: tuple[Node, ...] | None = None
    """The cluster, where it was read on the way."""


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
    warn: Callable[[str], None] = lambda _: None
    anyway: bool = False
    """The operator goes on with a node that does not fit, or whose host is not the machine that the
    API means.
    """
    reached: dict[str, str] = field(default_factory=dict)
    """Node with several addresses -> the address that it was reached by in this run."""

    @property
    def registry_vm(self) -> Host:
        return self.sources[0][0]

    @property
    def sources(self) -> tuple[tuple[Host, str], ...]:
        return sources(self.config)

    def source(self, host: Host, directory: str) -> "Shelf | Unread":
        """The shelf of a source, or why it could not be read. The disks of a NAS may have to spin
        up.
        """
        try:
            return read_shelf(
                self.hosts,
                host,
                directory,
                self.config.image.name,
                quiet_seconds=FIRST_BYTE_SECONDS,
            )
        except Unreachable as error:
            return Unread(host.name, error)

    @property
    def ctr(self) -> Ctr:
        return Ctr(self.config.nodes.ctr, self.config.nodes.namespace)

    def nodes(self) -> tuple[Node, ...]:
        """Every node, and on the screen which cluster that is. Raises Unreachable."""
        if name := self.cluster_name():
            self.note(f"asking cluster {name}")
        return read_nodes(self.cluster)

    def resolve(self, name: str, nodes: tuple[Node, ...] | None = None) -> Target:
        """The host behind NODE. `nodes.hosts` wins over the API; a name in neither is the SSH host
        itself. `nodes`: the cluster, where it was read already.

        Raises Refused for a name that no node has and no host answers to.
        """
        hosts = self.config.nodes.hosts
        if name in hosts:
            how = f"{name} is {hosts[name]} (nodes.hosts)"
            return Target(self._node_host(name, hosts[name]), how, nodes)
        try:
            known = self.nodes() if nodes is None else nodes
        except Unreachable as error:
            return Target(
                self._node_host(name, name),
                f"{name} is used as the SSH host: it is not in nodes.hosts, and the API was "
                f"not reached ({error.message})",
            )
        found = next((node for node in known if name == node.name), None)
        if found is None:
            # An address that several nodes have is none of them.
            addressed = [node for node in known if name in node.addresses]
            found = addressed[0] if len(addressed) == 1 else None
        if found is not None:
            return replace(self.target_of(found), nodes=known)
        host = self._node_host(name, name)
        try:
            self.hosts.ask(host, ("true",))
        except Unreachable as error:
            raise Refused(
                (
                    f"there is no node {name} in the cluster, and none in nodes.hosts; as an SSH "
                    f"host it was not reached either: {error.message}"
                ),
                next_step="one of: "
                + (", ".join(node.name for node in known) or "(the cluster has no nodes)"),
            ) from error
        return Target(
            host,
            f"{name} is used as the SSH host: it is neither in nodes.hosts nor a node of the "
            f"cluster",
            known,
        )

    def target_of(self, node: Node) -> Target:
        """A node that the API knows. Of several addresses the first by which it is reached: there
        may be no route for IPv6 from here, or none for IPv4.
        """
        hosts = self.config.nodes.hosts
        address = hosts.get(node.name) or self._address_of(node)
        where = "nodes.hosts" if node.name in hosts else "InternalIP"
        return Target(self._node_host(node.name, address), f"{node.name} is {address} ({where})")

    def _address_of(self, node: Node) -> str:
        first = next(iter(node.addresses), node.name)
        if len(node.addresses) < 2:
            return first
        if node.name not in self.reached:
            answering = (each for each in node.addresses if self._answers(node.name, each))
            self.reached[node.name] = next(answering, first)
        return self.reached[node.name]

    def _answers(self, name: str, address: str) -> bool:
        try:
            self.hosts.ask(self._node_host(name, address), ("true",))
        except Unreachable:
            return False
        return True

    def _node_host(self, name: str, address: str) -> Host:
        user = self.config.nodes.ssh_user
        return Host(
            name,
            address if user is None or "@" in address else f"{user}@{address}",
            sudo=self.config.nodes.sudo,
        )


def sources(config: Config) -> tuple[tuple[Host, str], ...]:
    """(host, directory) of each source of tarballs, in the order in which they are tried."""
    vm = Host(REGISTRY_VM, config.registry_vm.ssh, sudo=config.registry_vm.sudo)
    return (
        (vm, config.registry_vm.directory),
        *((Host(fallback.name, fallback.ssh), fallback.directory) for fallback in config.fallbacks),
    )


@dataclass(frozen=True)
class Unread:
    """A part of the environment that could not be read, and why."""

    name: str
    error: BreakglassError

    def __str__(self) -> str:
        return self.error.named(self.name)


def enter(host: Host, directory: str, identity: Identity, *, present: bool) -> tuple[Step, ...]:
    """The first steps of everything that writes into a directory: it exists, and its lock is
    ours.
    """
    lock = Lock(
        host,
        f"{directory}/.breakglass.lock",
        identity.holder,
        title=title("lock", directory),
    )
    return (lock,) if present else (create(host, directory), lock)


def create(host: Host, directory: str) -> Run:
    return Run(
        host,
        (("mkdir", "-p", directory),),
        title=title("create", directory),
        purpose=Purpose.PREPARES,
    )


def repoint(host: Host, directory: str, name: str, file: str) -> tuple[Step, ...]:
    """`latest` means this file: in one rename, on the disk before the next step."""
    link = f"{directory}/{name}-latest.tar.gz"
    hidden = f"{directory}/.{name}-latest.tar.gz.partial"
    return (
        Run(host, (("ln", "-sfnT", file, hidden),), title=title("link the new latest to", file)),
        Run(host, (("mv", "-fT", hidden, link),), title=title("point latest at", file)),
        Run(host, (("sync", directory),), title=title("flush", directory, " to disk")),
    )


def removal(shelf: Shelf, tarball: Tarball) -> Run:
    """The tarball goes before its proof: nothing that is there is ever without it."""
    path = shelf.path(tarball)
    return Run(
        shelf.host,
        (("rm", "-f", "--", path, path + ".sha256", path.removesuffix(".tar.gz") + ".json"),),
        title=title("remove", tarball.file),
    )


def tidying(shelf: Shelf, *, but: str | None) -> tuple[Step, ...]:
    """Removes what runs that were cut short have left; `but` is the tarball that is about to be
    written, whose partial is dealt with there.
    """
    discards = tuple(
        discard(shelf.host, shelf.directory, partial.file)
        for partial in shelf.partials
        if partial.file != but
    )
    orphans = tuple(
        f"{shelf.directory}/{orphan}"
        for orphan in shelf.orphans
        if but is None or not orphan.startswith((but + ".", but.removesuffix(".tar.gz") + ".json"))
    )
    if not orphans:
        return discards
    count = f"{len(orphans)} sidecar{'' if len(orphans) == 1 else 's'}"
    line = ("rm", "-f", "--", *orphans)
    return (*discards, Run(shelf.host, (line,), title=f"remove {count} without a tarball"))


def discard(host: Host, directory: str, file: str) -> Run:
    """Removes the hidden files of a tarball that has not arrived whole."""
    return Run(
        host,
        (archive("discard", directory, file),),
        title=title("discard the partial", file),
    )


def publish(host: Host, directory: str, file: str) -> Run:
    """The partial gets its name, and its sidecars are there before it."""
    return Run(host, (archive("publish", directory, file),), title=title("publish", file))


def verify(host: Host, path: str, *, total_bytes: int, repair: str = "") -> Run:
    """Reads a tarball to its end and compares it with its record."""
    return Run(
        host,
        (archive("verify", path),),
        total_bytes=total_bytes,
        title=title("verify", path.rpartition("/")[2]),
        purpose=Purpose.LOOKS,
        repair=repair,
    )


def archive(*arguments: str) -> Argv:
    return script("archive", *arguments)
