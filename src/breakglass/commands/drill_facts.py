"""What drill reads: the node, the sources, and what an earlier drill has left."""

from dataclasses import dataclass, replace

from breakglass.commands import fetch_facts, readiness
from breakglass.commands.environment import Environment, Unread
from breakglass.commands.fetch_options import designated
from breakglass.commands.target import Target
from breakglass.errors import Refused, Unreachable, look_first
from breakglass.observe.containerd import Ctr, read_disk_of_content
from breakglass.observe.containerd_namespace import Namespace, read_namespace
from breakglass.observe.machine import Disk, Machine, read_machine
from breakglass.observe.shelf import Shelf
from breakglass.plan import Host
from breakglass.ports import said
from breakglass.text import inert

NAMESPACE = "breakglass-drill"
"""Neither kubelet nor its image garbage collection looks into it."""
SCRATCH = ".drill"
ENDINGS = (".tar.gz", ".tar.gz.sha256", ".json", ".json.sig")

_LISTING = """
if [ -h "$1" ]; then echo link
elif [ -d "$1" ]; then echo directory; ls -A "$1"
elif [ -e "$1" ]; then echo file
else echo absent; fi
"""


@dataclass(frozen=True)
class Facts:
    reach: fetch_facts.Facts
    """The node, with the scratch directory as its shelf, and the sources."""
    has_directory: bool
    """Whether nodes.directory is there."""
    namespace: Namespace | None
    """What an earlier drill that was killed has left in containerd."""
    disk: Disk | None
    """The disk of containerd's content; None: not known."""
    ctr: Ctr
    readings: readiness.Readings

    @property
    def node(self) -> Host:
        return self.reach.node


def observe(
    environment: Environment, target: Target, *, known: tuple[Shelf | Unread, ...] = ()
) -> Facts:
    """`known`: sources that were read already. Raises Unreachable for the node."""
    nodes = environment.config.nodes
    if nodes.namespace == NAMESPACE:
        raise Refused(
            f"nodes.namespace is {NAMESPACE}, which drill empties",
            next_step="set it to the namespace of kubelet's images, k8s.io",
        )
    node = target.host
    environment.note(f"looking at {node} ({node.ssh})")
    machine, scratch = _read_node(environment, node, f"{nodes.directory}/{SCRATCH}")
    sources = fetch_facts.read_sources(
        environment, node, machine, environment.sources, via="auto", known=known
    )
    reach = fetch_facts.Facts(
        node, target.how, machine, scratch, sources.shelves, sources.unread, sources.logins
    )
    offered = (designated(shelf, None) for shelf in sources.shelves)
    newest = next((tarball.tag for tarball in offered if tarball is not None), "latest")
    readings = readiness.observe(environment, machine, environment.config.image.names(newest))
    facts = Facts(
        reach,
        has_directory=False,
        namespace=None,
        disk=None,
        ctr=Ctr(nodes.ctr, NAMESPACE, readings.unpacking),
        readings=readings,
    )
    return _with_containerd(environment, facts)


def observe_again(environment: Environment, facts: Facts) -> Facts:
    """The node read anew; the sources are not asked again."""
    reach = facts.reach
    machine, scratch = _read_node(environment, reach.node, reach.shelf.directory)
    facts = replace(facts, reach=replace(reach, machine=machine, shelf=scratch))
    return _with_containerd(environment, facts)


def tidied(facts: Facts) -> Facts:
    """The facts after a drill: nothing of it is left."""
    shelf = facts.reach.shelf
    empty = Shelf(shelf.host, shelf.directory, shelf.name, present=False)
    reach = replace(facts.reach, shelf=empty)
    return replace(facts, reach=reach, has_directory=True, namespace=None)


def _read_node(environment: Environment, node: Host, scratch: str) -> tuple[Machine, Shelf]:
    """The node and the scratch directory. Raises Refused where there is anything in it that is not
    of a drill: a drill empties it.
    """
    programs = (*readiness.programs(environment.config.nodes), "ssh")
    directories = (scratch, environment.config.nodes.registry_config)
    machine = read_machine(environment.hosts, node, directories, programs)
    try:
        return machine, _read_scratch(environment, node, scratch)
    except Refused:
        # Files that come and go meanwhile are those of a drill that runs now; its lock will be
        # reported.
        return machine, _read_scratch(environment, node, scratch)


def _read_scratch(environment: Environment, node: Host, directory: str) -> Shelf:
    shelf = environment.shelf(node, directory)
    listing = environment.hosts.ask(node, ("sh", "-c", _LISTING, "scratch", directory))
    look = node.by_hand("ls", "-la", directory)
    if not listing.ok:
        raise Unreachable(
            f"{node}: {directory} could not be looked at: {said(listing)}",
            where=node.name,
            next_step=look_first(look),
        )
    kind, *names = listing.stdout.decode("utf-8", "replace").splitlines()
    foreign = [inert(name) for name in names if not _is_of_a_drill(name, shelf)]
    if kind not in ("absent", "directory"):
        fault = f"{directory} on {node} is a {kind}, no directory"
    elif foreign:
        fault = f"{directory} on {node} holds {foreign[0]}, which is not of a drill"
    else:
        return shelf
    raise Refused(
        f"{fault}; a drill empties that directory",
        next_step=look_first(look, advice="see what it is, move it away, then try again"),
    )


def _is_of_a_drill(name: str, shelf: Shelf) -> bool:
    """A tarball with its record, what is left of one, or a hidden file of a copy that was cut
    short.
    """
    stems = [_stem(tarball.file) for tarball in shelf.tarballs if tarball.record]
    if name in {f"{stem}{end}" for stem in stems for end in ENDINGS}:
        return True
    if name in shelf.orphans:
        return True
    return any(name.startswith(f".{_stem(partial.file)}.") for partial in shelf.partials)


def _stem(file: str) -> str:
    return file.removesuffix(".tar.gz")


def _with_containerd(environment: Environment, facts: Facts) -> Facts:
    """Containerd is asked only where the node has every program for it."""
    nodes = environment.config.nodes
    directory = environment.shelf(facts.node, nodes.directory)
    facts = replace(facts, has_directory=directory.present)
    if readiness.unusable(facts.reach.machine, nodes):
        return facts
    disk = read_disk_of_content(environment.hosts, facts.node, facts.ctr)
    namespace = read_namespace(environment.hosts, facts.node, facts.ctr)
    return replace(facts, namespace=namespace, disk=disk)
