"""Whether a node has the image under every name that pods use."""

from breakglass.commands import Estate
from breakglass.observe.containerd import read_containerd, read_targets
from breakglass.observe.machine import Machine
from breakglass.observe.record import Record
from breakglass.observe.shelf import Shelf
from breakglass.plan import Host


def missing_names(estate: Estate, machine: Machine, shelf: Shelf) -> tuple[str, ...]:
    """The names that pods use and that do not resolve to a whole, unpacked image on the node;
    empty: it has the image.

    With a tarball on the node these are the names of its tag, and that tag must be the recorded
    image; else the names without a tag of their own.
    """
    tarball = shelf.find(shelf.latest) if shelf.latest else None
    record = tarball.record if tarball else None
    names = _names(estate, machine.host, record)
    containerd = read_containerd(
        estate.hosts, machine.host, estate.ctr, names=names, architecture=machine.architecture
    )
    missing = [
        name
        for name in names
        if not containerd.image_ids.get(name) or name not in containerd.unpacked
    ]
    is_other_image = record and containerd.image_ids.get(names[0]) != record.image_id
    if is_other_image and names[0] not in missing:
        missing.append(names[0])
    return tuple(missing)


def _names(estate: Estate, node: Host, record: Record | None) -> tuple[str, ...]:
    image = estate.config.image
    if record:
        return image.names(record.tag)
    without_tag = tuple(name for name in image.also_known_as if "{tag}" not in name)
    if without_tag:
        return without_tag
    # Any tag of the repository will do.
    targets = read_targets(estate.hosts, node, estate.ctr)
    held = [name for name in targets if repository_of(name) == image.repository]
    return (held[0] if held else image.repository,)


def repository_of(reference: str) -> str:
    """`host:port/path:tag` without its tag or digest."""
    reference = reference.partition("@")[0]
    head, slash, last = reference.rpartition("/")
    return head + slash + last.partition(":")[0]
