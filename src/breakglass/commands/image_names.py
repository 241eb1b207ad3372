"""Whether a node has the image under every name that pods use."""

from dataclasses import replace
from functools import partial

from breakglass.commands.environment import Environment
from breakglass.observe.answering import read_unpacking
from breakglass.observe.containerd import Containerd, read_containerd, read_targets
from breakglass.observe.machine import Machine
from breakglass.observe.record import Record
from breakglass.observe.shelf import Shelf
from breakglass.plan import Host


def missing_names(environment: Environment, machine: Machine, shelf: Shelf) -> tuple[str, ...]:
    """The names that pods use and from which no pod starts on the node: they do not resolve, the
    image is not unpacked, or kubelet does not see it. Empty: the node has the image.

    With a tarball on the node these are the names of its tag, and that tag must be the recorded
    image; else the names that have no tag in the configuration.
    """
    tarball = shelf.find(shelf.latest) if shelf.latest else None
    record = tarball.record if tarball else None
    names = _names(environment, machine.host, record)
    containerd = _read_containerd(environment, machine, names)
    missing = [
        name
        for name in names
        if not containerd.image_ids.get(name)
        or name not in containerd.unpacked
        or name in containerd.unseen
    ]
    is_other_image = record and containerd.image_ids.get(names[0]) != record.image_id
    if is_other_image and names[0] not in missing:
        missing.append(names[0])
    return tuple(missing)


def _read_containerd(
    environment: Environment, machine: Machine, names: tuple[str, ...]
) -> Containerd:
    """The CRI plugin may unpack with another snapshotter than ctr does by itself: that is asked
    only where something seems not to be unpacked.
    """
    hosts, host, ctr = environment.hosts, machine.host, environment.ctr
    read = partial(read_containerd, hosts, host, names=names, architecture=machine.architecture)
    containerd = read(ctr)
    if set(containerd.image_ids) <= containerd.unpacked:
        return containerd
    nodes = environment.config.nodes
    _, unpacking = read_unpacking(
        hosts, host, nodes.directory, certs=nodes.registry_config, ctr=ctr
    )
    return read(replace(ctr, unpacking=unpacking)) if unpacking.snapshotter else containerd


def _names(environment: Environment, node: Host, record: Record | None) -> tuple[str, ...]:
    image = environment.config.image
    if record:
        return image.names(record.tag)
    without_tag = tuple(name for name in image.also_known_as if "{tag}" not in name)
    if without_tag:
        return without_tag
    # Any tag of the repository will do.
    targets = read_targets(environment.hosts, node, environment.ctr)
    held = [name for name in targets if repository_of(name) == image.repository]
    return (held[0] if held else image.repository,)


def repository_of(reference: str) -> str:
    """`host:port/path:tag` without its tag or digest."""
    reference = reference.partition("@")[0]
    head, slash, last = reference.rpartition("/")
    return head + slash + last.partition(":")[0]
