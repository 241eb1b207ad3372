"""The steps that bring a tarball into containerd and confirm what a name means there."""

from collections.abc import Iterable, Mapping

from breakglass.commands.tarball_steps import canonical
from breakglass.observe.containerd import Ctr
from breakglass.observe.machine import Machine
from breakglass.observe.shelf import Shelf, Tarball
from breakglass.plan import Compare, Confirm, Host, Run, title

IMPORT_QUIET_SECONDS = 600.0
"""`ctr images import` prints nothing until it has unpacked everything."""


def load(shelf: Shelf, tarball: Tarball, ctr: Ctr, *, into: str) -> Run:
    return Run(
        shelf.host,
        (canonical(shelf, tarball), ctr.line_of_import),
        IMPORT_QUIET_SECONDS,
        total_bytes=tarball.size_bytes,
        title=title("import", tarball.file, f" into {into}"),
    )


def compare(host: Host, ctr: Ctr, names: Iterable[str], *, before: Mapping[str, str]) -> Compare:
    return Compare(
        host,
        ctr.command,
        ctr.namespace,
        tuple(dict.fromkeys(names)),
        before,
        title="check that no other name has changed",
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
