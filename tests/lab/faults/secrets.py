"""Secrets that are planted where the tool reads them, and a watch over every process of every host
for where they turn up.
"""

import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .. import process
from ..environment import Environment
from ..host import Host

EVERY_SECONDS, LOOKS = 0.02, 5
LAID = (
    "/etc/lab/",
    "/run/lab/",
    "/etc/containerd/certs.d/",
    "/var/lib/",
    "/var/log/lab/",
    "/var/breakglass/.breakglass.json",
    "/root/.ssh/id_ed25519",
)
"""Where the lab, or the test, has put keys and logins; and the record that holds each hosts.toml as
it was, for root only.
"""


@contextmanager
def watched(environment: Environment, canaries: Mapping[str, bytes]) -> Iterator[set[str]]:
    """`canary: host: argv or environment of COMMAND` of all that was seen meanwhile. breakglass
    itself has what it was given in its environment, and may.
    """
    found: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        namespaces = {
            str(Path(f"/proc/{host.init_pid}/ns/pid").readlink()): name
            for name, host in environment.hosts.items()
            if host.init_pid
        }
        looks: dict[str, int] = {}
        while not over.wait(EVERY_SECONDS):
            running = {name for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 (names are enough, and there are many)
            # What a process is called and given changes in its first moments only.
            looks = {name: looks.get(name, 0) + 1 for name in running}
            for name in running:
                if looks[name] <= LOOKS:
                    look(Path("/proc", name), namespaces)

    def look(entry: Path, namespaces: dict[str, str]) -> None:
        try:
            host = namespaces.get(str((entry / "ns/pid").readlink()))
            if host is None:
                return
            argv, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            return
        ours = b"/bin/breakglass\0" in argv
        for name, canary in canaries.items():
            for what, text in (("argv", argv), ("environment", b"" if ours else environment)):
                if canary in text:
                    found.add(
                        f"{name}: {host}: {what} of {process.command_line(int(entry.name))[:120]}"
                    )

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def in_files(host: Host, canaries: Mapping[str, bytes], *, but: Iterable[str] = ()) -> list[str]:
    """Files on a host that were changed since it was raised, or lie where temporary things lie, and
    hold one of the secrets; but for those where it was planted.
    """
    found = []
    for place in ("/", "/tmp", "/dev/shm", "/run"):
        top = host.disk.upper if place == "/" else host.path(place)
        for here, directories, names in os.walk(top):
            directories[:] = [
                name for name in directories if not Path(here, name).is_mount()
            ]  # the repository, perhaps
            for path in (Path(here, name) for name in names):
                shown = f"{place.rstrip('/')}/{path.relative_to(top)}"
                if (
                    stat.S_ISREG(path.lstat().st_mode)
                    and shown not in but
                    and not shown.startswith(LAID)
                ):
                    content = path.read_bytes()
                    found += [
                        f"{canary} in {host.name}:{shown}"
                        for canary, secret in canaries.items()
                        if secret in content
                    ]
    return found
