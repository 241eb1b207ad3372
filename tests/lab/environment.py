"""The environment: raises all hosts, removes them again, and is what tests work with."""

import contextlib
import fcntl
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from . import disk, furniture, images, listing, mirror, network, process, reset, roles, seed
from .cluster import Cluster
from .host import STATE, Host
from .images import Bundle, Image
from .operator_host import Operator
from .other_cluster import OtherCluster
from .registry import Registry
from .which import own

T = TypeVar("T")
LOCK = Path(f"/run/{own('breakglass-lab')}.lock")
RAISING = Path("/run/breakglass-lab.raising")
SESSION = Path(f"/run/{own('breakglass-lab')}.session")
CGROUPS = Path("/sys/fs/cgroup")


class InUse(Exception):
    """Somebody else is using the environment."""


class Environment:
    """All hosts, by name; `up` and `down` are the whole life of it."""

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = roles.hosts()
        self.always_on = {
            name: host for name, host in self.hosts.items() if name != roles.OTHER_API
        }
        self.operator: Operator = roles.operator()
        self.operator2: Operator = roles.operator("operator2")
        self.vm, self.nas, self.api = (
            self.hosts["registry-vm"],
            self.hosts["synology"],
            self.hosts[roles.MASTER],
        )
        self.nodes: dict[str, Host] = {name: self.hosts[name] for name in roles.NODES}
        self.cluster = Cluster(self.operator)
        self.other = OtherCluster(self.operator, self.hosts[roles.OTHER_API])
        self.private = Registry(self.vm, "registry.viktorbarzin.me:5050/infra-ci")
        self.forgejo = Registry(self.hosts["forgejo"], "forgejo.viktorbarzin.me/viktor/infra-ci")
        self.registries = (self.private, self.forgejo)

    def host(self, name: str) -> Host:
        return self.hosts[name]

    @property
    def standing(self) -> bool:
        """True when `up` has been through and nobody has been `down` since."""
        return (STATE / "up").exists()

    def up(self, say: Callable[[str], None] = print) -> None:
        """Raise everything; a stale environment is removed first."""
        with alone():
            self.take_down()
            # One environment after the other: each takes all of the machine while it is raised.
            with held(RAISING):
                self.raise_all(say)

    def raise_all(self, say: Callable[[str], None]) -> None:
        STATE.mkdir(parents=True)
        before = next((other / "cgroups" for other in others()), None)
        (STATE / "cgroups").write_text(before.read_text() if before else "\n".join(cgroups()))
        network.lay(roles.ADDRESSES)
        seed.make_pki()
        each(furniture.furnish, self.hosts)
        began = time.monotonic()

        def raise_host(name: str) -> None:
            host = self.hosts[name]
            host.plug(start=False)
            for daemon in host.daemons:
                if daemon.name == "kubelet":
                    images.import_pause(host)
                host.start(daemon.name)
            if name == roles.MASTER:
                self.cluster.grant()
            say(
                f"{name:<12} {host.address:<13} "
                f"{', '.join(daemon.name for daemon in host.daemons) or 'no daemons'} "
                f"({time.monotonic() - began:.1f} s)"
            )

        each(raise_host, self.always_on)
        self.cluster.await_ready()
        self.cluster.kubectl(
            "label", "node", roles.MASTER, "node-role.kubernetes.io/control-plane="
        )
        say(f"all nodes Ready ({time.monotonic() - began:.1f} s)")
        (STATE / "up").touch()

    def down(self, say: Callable[[str], None] = print) -> None:
        """Remove every process, namespace, mount and file of the lab, whatever state it is in."""
        with alone():
            stuck = self.take_down()
        say("the lab is down" + "".join(f"; not removed: {path}" for path in stuck))

    def take_down(self) -> list[str]:
        for pid_file in (STATE / "hosts").glob("*/pid"):
            words = pid_file.read_text().split()
            if len(words) == 2 and process.started(int(words[0])) == words[1]:
                for pid in process.children(int(words[0])) or [int(words[0])]:
                    process.send(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while (left := network.occupants()) and time.monotonic() < deadline:
            for pid in left:
                process.send(pid, signal.SIGKILL)
            time.sleep(0.05)
        network.pull_up()
        stuck = disk.discard()
        known = (
            set((STATE / "cgroups").read_text().split("\n"))
            if (STATE / "cgroups").exists()
            else None
        )
        own_groups = {host.cgroup for host in self.hosts.values()}
        for group in reversed(cgroups()):
            is_new = known is not None and group not in known and not others()
            if Path(group).name in own_groups or is_new:
                remove_cgroup(CGROUPS / group)
        shutil.rmtree(STATE, ignore_errors=True)
        return stuck + network.present()

    def reset(self) -> None:
        """Everything as after `up`: powered, empty, uncordoned, no image, no tarball, no pod,
        registries open and empty.
        """
        self.other.take_away()
        reset.plug_all(self.always_on)
        # By themselves: who ends strangers on a host would end a registry there that is just being
        # started.
        each(reset.reset_registry, self.registries)
        tasks: list[Callable[[], None]] = [
            lambda: reset.reset_vm(self.vm),
            lambda: reset.reset_nas(self.nas),
        ]
        tasks += [
            functools.partial(reset.reset_operator, host)
            for host in (self.operator, self.operator2)
        ]
        reset.reset_cluster(self.cluster, self.nodes.values())
        tasks += [functools.partial(reset.reset_node, node) for node in self.nodes.values()]
        each(lambda task: task(), tasks)
        ended = {node.name: reset.forget_pulls(node) for node in self.nodes.values()}
        self.cluster.await_reports({name: when for name, when in ended.items() if when})

    def listing(self) -> dict[str, Any]:
        """All that a dry run must leave as it is; compare two of them."""
        return listing.listing(self.hosts, self.cluster)

    def mirror(self) -> None:
        """What the owner's daily job does: copy the VM's directory to the NAS, links and times
        kept, without a packet on the wire.
        """
        mirror.mirror(self.vm.path(roles.VM_DIRECTORY), self.nas.path(roles.NAS_DIRECTORY))

    # images

    def publish(
        self, bundle: Bundle, *tags: str, registries: Sequence[Registry] | None = None
    ) -> Image:
        """Put an image under these tags into both registries, or into the given ones."""
        return bundle.publish(self.registries if registries is None else registries, tags)

    def small(
        self,
        tag: str,
        content: str = "one",
        *,
        latest: bool = True,
        registries: Sequence[Registry] | None = None,
    ) -> Image:
        """A small image as CI would push it: under its sha and `latest`. Another content is another
        image ID.
        """
        return self.publish(
            images.small_bundle(content),
            tag,
            *(("latest",) if latest else ()),
            registries=registries,
        )

    def big(self, tag: str = images.BIG_TAG, *, latest: bool = True) -> Image:
        """The big image as CI would push it; the first time on a machine it takes some minutes to
        build.
        """
        return self.publish(
            images.big_bundle(self.vm, self.private), tag, *(("latest",) if latest else ())
        )


@contextlib.contextmanager
def held(file: Path) -> Iterator[None]:
    """One process at a time holds it; the kernel lets go of the lock of one that died."""
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def alone() -> contextlib.AbstractContextManager[None]:
    """One process at a time raises or removes this environment."""
    return held(LOCK)


@contextlib.contextmanager
def in_use(*, wait: bool) -> Iterator[None]:
    """One test session at a time uses the environment. A second one waits, or gets InUse."""
    with SESSION.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            if not wait:
                raise InUse(
                    f"a test session (PID {lock.read().strip()}) is using the lab"
                ) from None
            print(
                f"the lab is in use by PID {lock.read().strip()}: waiting",
                file=sys.__stderr__,
                flush=True,
            )  # past the capture of pytest
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def each(do: Callable[[T], object], items: Iterable[T]) -> None:
    """Do something for all at once; the first failure is raised after all have ended."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        for future in [pool.submit(do, item) for item in items]:
            future.result()


def cgroups() -> list[str]:
    """The top-level control groups of every hierarchy, as `controller/name`."""
    return sorted(
        f"{hierarchy.name}/{group.name}"
        for hierarchy in CGROUPS.iterdir()
        if hierarchy.is_dir()
        for group in hierarchy.iterdir()
        if group.is_dir()
    )


def others() -> list[Path]:
    """Other environments that are up: they share the control groups of the machine."""
    return [
        path.parent for path in STATE.parent.glob("breakglass-lab*/cgroups") if path.parent != STATE
    ]


def remove_cgroup(group: Path) -> None:
    """Remove a control group that nobody is in, with everything below it."""
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()


def provision() -> None:
    """Make sure that packages and binaries are there; quick when they are."""
    subprocess.run(
        [str(Path(__file__).with_name("provision.sh"))], check=True, stdin=subprocess.DEVNULL
    )
