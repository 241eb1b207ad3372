"""systemd as PID 1 of a host: what it is given before it boots, and when it has booted."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from subprocess import CompletedProcess, TimeoutExpired

from .daemon import Daemon
from .disk import Disk

INIT = "/lib/systemd/systemd"
END_UNITS_OF_OURS = """systemctl stop 'breakglass*' 2>/dev/null
rm -f /etc/systemd/system/breakglass* /etc/systemd/system/*/breakglass*
systemctl daemon-reload; systemctl reset-failed"""
PROGRAMS = ("/lib/systemd/", "/usr/lib/systemd/", "/usr/bin/dbus-daemon", "(sd-pam)")
"""What the programs are called that systemd itself runs on a host."""

# A cgroup namespace begins where its first process is: in a group of the host's own in each
# hierarchy. Not each one lets us.
OWN_CGROUPS = """for group in /sys/fs/cgroup/*/GROUP; do find "$group" -depth -type d -exec rmdir {} + ; done 2>/dev/null
for top in /sys/fs/cgroup/*; do [ -L "$top" ] || { mkdir -p "$top/GROUP" && echo $$ >"$top/GROUP/cgroup.procs"; }; done 2>/dev/null
"""  # noqa: E501
NOT_STARTED = (
    "kmod-static-nodes.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udev-trigger.service",
    "systemd-modules-load.service",
    "systemd-logind.service",
    "systemd-sysctl.service",
    "systemd-random-seed.service",
    "systemd-update-utmp.service",
    "getty.target",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-fs-fuse-connections.mount",
    "proc-sys-fs-binfmt_misc.automount",
)
"""What Debian's systemd starts by itself and a namespace cannot have."""


def lay(disk: Disk, daemons: Sequence[Daemon], environment: Mapping[str, str]) -> None:
    """systemd starts the host's own daemons and nothing that this machine has enabled."""
    disk.directory("/etc/systemd/system", empty=True)
    disk.directory("/usr/lib/systemd/system-generators", empty=True)
    disk.link("/etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target")
    for unit in NOT_STARTED:
        disk.link(f"/etc/systemd/system/{unit}", "/dev/null")
    disk.write("/etc/systemd/journald.conf", "[Journal]\nStorage=volatile\n")
    for number, daemon in enumerate(daemons):
        unit = daemon.unit_file({**environment, **daemon.env}, daemons[:number])
        disk.write(f"/etc/systemd/system/{daemon.unit_name}", unit)


def await_booted(run: Callable[..., CompletedProcess[str]], *, timeout: float = 180) -> None:
    """Wait until systemd has started all that it starts at boot."""
    deadline = time.monotonic() + timeout
    state = "silent"
    while time.monotonic() < deadline:
        # The bus may not be there yet, so one answer is not enough.
        with contextlib.suppress(TimeoutExpired):
            asked = run("systemctl", "is-system-running", "--wait", check=False, timeout=timeout)
            state = asked.stdout.strip() or state
            if state == "running":
                return
        time.sleep(0.1)
    why = run("sh", "-c", "systemctl --failed; systemctl list-jobs", check=False).stdout
    raise RuntimeError(f"systemd is {state} after {timeout:g} s\n{why}")
