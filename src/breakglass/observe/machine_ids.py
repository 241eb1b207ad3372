"""Which machine a host is: the boot ID and the machine-id that its kubelet reports too."""

import re
from dataclasses import dataclass, replace

from breakglass.errors import Unreachable, look_first
from breakglass.plan import Host
from breakglass.ports import Reads, said

# As cadvisor finds them for kubelet. Anybody may read these files: nothing is run as root on a
# machine before it is known which one it is.
_SCRIPT = """
cat /proc/sys/kernel/random/boot_id
cat /etc/machine-id 2>/dev/null || cat /var/lib/dbus/machine-id 2>/dev/null || echo
echo end
"""
_BOOT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class MachineIds:
    boot_id: str
    """New with every boot of a kernel; clones do not share it."""
    machine_id: str
    """Stays over boots. Empty where the host has none; clones share it."""


def read_machine_ids(reads: Reads, host: Host) -> MachineIds:
    """Without sudo. Raises Unreachable."""
    result = reads.ask(replace(host, sudo=False), ("sh", "-c", _SCRIPT, "machine-ids"))
    lines = result.stdout.decode("utf-8", "replace").lower().split()
    if result.ok and len(lines) in (2, 3) and lines[-1] == "end" and _BOOT_ID.fullmatch(lines[0]):
        return MachineIds(lines[0], lines[1] if len(lines) == 3 else "")
    look = replace(host, sudo=False).by_hand("cat", "/proc/sys/kernel/random/boot_id")
    raise Unreachable(
        f"{host} did not report its boot ID: {said(result)}",
        next_step=look_first(look),
        where=host.name,
    )
