"""The steps that bring a tarball into containerd and confirm what a name means there."""

from breakglass.observe.containerd import Ctr
from breakglass.observe.machine import Machine
from breakglass.observe.shelf import Shelf, Tarball
from breakglass.plan import Confirm, Run, title

IMPORT_QUIET_SECONDS = 600.0
"""`ctr images import` prints nothing until it has unpacked everything; how far it has read is shown
meanwhile.
"""


def load(shelf: Shelf, tarball: Tarball, ctr: Ctr, *, into: str) -> Run:
    path = shelf.path(tarball)
    return Run(
        shelf.host,
        (("gzip", "-dc", path), ctr.line_of_import),
        IMPORT_QUIET_SECONDS,
        total_bytes=tarball.size_bytes,
        watch=path,
        title=title("import", tarball.file, f" into {into}"),
    )


def confirm(machine: Machine, ctr: Ctr, name: str, image_id: str) -> Confirm:
    return Confirm(
        machine.host,
        ctr.command,
        ctr.namespace,
        name,
        image_id,
        machine.architecture,
        ctr.unpacking.snapshotter,
        title=title("confirm", name),
    )
