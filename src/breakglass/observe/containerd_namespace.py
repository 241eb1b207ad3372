"""What there is in a namespace of containerd that is ours alone: the drill's."""

from dataclasses import dataclass

from breakglass.observe.containerd import REFERENCE, Ctr, not_known
from breakglass.plan import Argv, Host
from breakglass.ports import Reads


@dataclass(frozen=True)
class Namespace:
    """What a namespace that is ours alone holds."""

    images: tuple[str, ...]
    leases: tuple[str, ...]
    """They keep content that no image refers to: an import that was killed leaves one, for 24
    hours.
    """


def read_namespace(reads: Reads, host: Host, ctr: Ctr) -> Namespace | None:
    """None: there is no such namespace."""
    if ctr.namespace not in _names(reads, host, (*ctr.command, "namespaces", "ls", "-q")):
        return None
    images, leases = (
        _names(reads, host, ctr.line(kind, "ls", "-q")) for kind in ("images", "leases")
    )
    return Namespace(images, leases)


def _names(reads: Reads, host: Host, argv: Argv) -> tuple[str, ...]:
    listing = reads.ask(host, argv)
    if not listing.ok:
        raise not_known(host, argv, listing)
    return tuple(
        line
        for line in listing.stdout.decode("utf-8", "replace").splitlines()
        if REFERENCE.fullmatch(line)
    )
