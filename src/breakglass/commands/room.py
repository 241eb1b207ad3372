"""What a tarball and its import take on a node's disks: one reckoning for all commands. Pure."""

from breakglass.errors import Refused, then
from breakglass.observe.machine import Disk
from breakglass.plan import Host

UNCOMPRESSED = 4
"""An image is 3.2 to 3.7 times as large as its tarball (777 MB from 243 and 209 MB, gzip -1 and
-6).
"""
IMPORTED = 2 * UNCOMPRESSED
"""containerd keeps the layers as the archive has them, uncompressed, and unpacks them beside
that.
"""
FREE_SHARE = 0.15
"""kubelet begins to delete unused images from 85 % of a disk on (imageGCHighThresholdPercent), and
then not ours but the node's, which nobody can pull again.
"""


def no_room_for_tarball(free_bytes: int, size_bytes: int) -> str:
    """Why a tarball of this size does not fit into its directory; empty: it fits."""
    if free_bytes >= size_bytes:
        return ""
    return f"{free_bytes / 1e6:.0f} MB free, {size_bytes / 1e6:.0f} MB needed"


def no_room_to_import(disk: Disk | None, size_bytes: int, *, with_tarball: bool) -> str:
    """Why importing a tarball of this size would make kubelet delete images; empty: it would not,
    or the disk is not known.

    `with_tarball`: the tarball itself is not there yet, and may come to lie on the same disk.
    """
    needed_bytes = size_bytes * (IMPORTED + with_tarball)
    if disk is None or disk.free_bytes - needed_bytes >= FREE_SHARE * disk.size_bytes:
        return ""
    return (
        f"{disk.free_bytes / 1e6:.0f} MB of {disk.size_bytes / 1e6:.0f} free on containerd's disk, "
        f"the import takes about {needed_bytes / 1e6:.0f}, and with less than {FREE_SHARE:.0%} "
        f"free kubelet deletes images"
    )


def check(
    node: Host,
    disk: Disk | None,
    size_bytes: int,
    *,
    with_tarball: bool,
    command: str,
    anyway: bool = False,
) -> tuple[str, ...]:
    """The same for `command`: raises Refused, or warns where the operator goes on."""
    reason = no_room_to_import(disk, size_bytes, with_tarball=with_tarball)
    if not reason:
        return ()
    message = f"no room on {node}: {reason}"
    if anyway:
        return (message,)
    look = node.by_hand("df", "-h", disk.directory if disk else "/")
    commands, advice = (
        [look, f"breakglass {command}"],
        "make room there, or breakglass chooses a node",
    )
    if command != "drill":
        commands.append(f"breakglass recover {node} --anyway")
        advice += "; --anyway, if kubelet may delete images"
    raise Refused(message, next_step=then(*commands, advice=advice))


def not_known(node: Host, ctr: tuple[str, ...]) -> str:
    """The warning where the disk is not known."""
    return (
        f"{node} does not report where containerd keeps its content "
        f"({' '.join(ctr)} plugins ls), so it is not known whether there is room for it"
    )
