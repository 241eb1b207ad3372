"""Whether a node has the image under every name that pods use."""

from breakglass.commands.environment import Environment
from breakglass.observe.containerd import read_containerd, read_targets
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
    containerd = read_containerd(
        environment.hosts,
        machine.host,
        environment.ctr,
        names=names,
        architecture=machine.architecture,
    )
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
