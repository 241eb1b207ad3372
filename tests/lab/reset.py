"""Restores an environment to how it was after `up`, in a second or two, so that each test finds the
same.
"""

import errno
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from . import docker, furniture, images, network, process, seed, systemd
from .cluster import Cluster
from .components import CRICTL
from .host import Host
from .mirror import remove
from .registry import Registry
from .roles import ADDRESSES, CONTAINERD_SOCKET, LAB, NAS_DIRECTORY, NODES, VM_DIRECTORY

CTR = """for n in $(ctr namespaces ls -q 2>/dev/null); do
    names=$(ctr -n "$n" images ls 2>/dev/null | awk -v pause=PAUSE 'NR > 1 { digest[$1] = $3 } END { for (name in digest) if (digest[name] != digest[pause]) print name }')
    [ -z "$names" ] || ctr -n "$n" images rm --sync $names >/dev/null 2>&1
    [ "$n" = k8s.io ] || [ "$n" = moby ] || ctr namespaces rm "$n" >/dev/null 2>&1
done; true""".replace("PAUSE", images.PAUSE)  # noqa: E501
DOCKER = (
    'ids=$(docker images --all --quiet | sort -u); [ -z "$ids" ] || docker rmi --force $ids '
    ">/dev/null 2>&1; true"
)


def plug_all(hosts: dict[str, Host]) -> None:
    """Cables in, nothing black, everything booted and answering."""
    network.mend(ADDRESSES)
    for host in hosts.values():
        for which in ("system", "data"):
            host.disk.resize(which, free_megabytes=None)
        host.plug(start=False)
        for daemon in host.daemons:
            host.resume(daemon.name)
            if not host.pid(daemon.name):
                host.start(daemon.name)


def end_strangers(host: Host) -> None:
    """End what runs on a host and is neither a daemon nor below one: logins, left-over jobs, a
    responder.
    """
    daemons = {host.pid(daemon.name): daemon.name for daemon in host.daemons}
    keep = {host.init_pid, *daemons}
    for pid, name in daemons.items():
        keep |= process.descendants(pid) if name != "sshd" else set()
    if host.systemd:
        # It would start again what only the process was taken of.
        host.run("sh", "-c", systemd.END_UNITS_OF_OURS)
    running = [pid for pid, _ in process.within(host.init_pid)]
    for pid in running:
        program = process.command_line(pid).partition(" ")[0]
        if program.startswith(systemd.PROGRAMS):
            keep.add(pid)
        if "containerd-shim" in program:
            keep |= {pid} | process.descendants(pid)
    for pid in running:
        if pid not in keep:
            process.send(pid, 9)


def reset_vm(vm: Host) -> None:
    end_strangers(vm)
    docker.use(vm, docker.DEFAULT)
    vm.run("sh", "-c", DOCKER)
    empty(vm.path(VM_DIRECTORY))
    reset_temporary(vm)


def reset_nas(nas: Host) -> None:
    end_strangers(nas)
    empty(nas.path(NAS_DIRECTORY))


def reset_node(node: Host) -> None:
    end_strangers(node)
    remove_containers(node)
    node.run("sh", "-c", CTR)
    images.import_pause(node)
    reset_temporary(node)
    empty(node.path("/var/breakglass"))
    node.path("/var/breakglass").rmdir()
    configuration = furniture.containerd_configuration(NODES[node.name])
    if node.read("/etc/containerd/config.toml") != configuration:
        node.write("/etc/containerd/config.toml", configuration)
        node.stop("containerd")
        node.start("containerd")
    certs = node.path("/etc/containerd/certs.d")
    empty(certs)
    for registry in furniture.REGISTRY_HOSTS:
        node.write(f"/etc/containerd/certs.d/{registry}/hosts.toml", furniture.hosts_toml(registry))
    node.write("/root/.ssh/known_hosts", seed.known_hosts(("registry-vm", "synology")), mode=0o600)


def remove_containers(node: Host) -> None:
    """Those of pods that are gone: kubelet takes its time, and meanwhile their snapshots stay, so
    that containerd does not pull the layers of the next image.
    """
    left = node.run("ctr", "-n", "k8s.io", "containers", "ls", "-q", check=False).stdout.split()
    if left:
        crictl = f"{LAB}/{CRICTL}/usr/bin/crictl"
        endpoint = ("--runtime-endpoint", f"unix://{CONTAINERD_SOCKET}")
        node.run(crictl, *endpoint, "rmp", "--all", "--force", check=False)


def forget_pulls(node: Host) -> datetime | None:
    """When its kubelet was ended, to be started anew, if it had to be: it remembers which image it
    has pulled under which name (from 1.35 on), and reads its notes at its start.
    """
    notes = [
        path
        for kind in ("pulled", "pulling")
        for path in node.path(f"/var/lib/kubelet/image_manager/{kind}").glob("*")
    ]
    if not notes:
        return None
    node.stop("kubelet")
    ended = datetime.now(UTC)
    for path in notes:
        path.unlink()
    node.start("kubelet")
    return ended


def reset_temporary(host: Host) -> None:
    """What a run may have left where temporary things are left."""
    for directory in ("/tmp", "/run/lock", "/dev/shm"):
        empty(host.path(directory))
    # What the machine itself has in /var/tmp is seen there too, and is nothing of the host's.
    for own in (host.disk.upper / "var/tmp").glob("*"):
        left = host.path(f"/var/tmp/{own.name}")
        if os.path.lexists(left) and not left.is_mount():
            remove(left)
    for path in host.path("/run").glob("*breakglass*"):
        remove(path)


def reset_operator(operator: Host) -> None:
    end_strangers(operator)
    operator.write("/root/.ssh/known_hosts", seed.known_hosts(), mode=0o600)
    for name in ("config", "id_ed25519.away"):
        operator.path(f"/root/.ssh/{name}").unlink(missing_ok=True)
    # `restore` asks the nodes that it names.
    operator.path("/root/.local/state/breakglass/journal.jsonl").unlink(missing_ok=True)
    operator.write("/root/.kube/config", furniture.kubeconfig("breakglass"), mode=0o600)
    operator.write("/root/breakglass.yaml", furniture.EXAMPLE.read_text())


def reset_cluster(cluster: Cluster, nodes: Iterable[Host]) -> None:
    cluster.delete_pods()
    cluster.reset_nodes()
    cluster.grant()
    cluster.await_ready()
    cluster.await_boots(nodes)


def reset_registry(registry: Registry) -> None:
    registry.refuse(on=False)
    registry.empty()


def empty(directory: Path) -> None:
    """Remove everything below a directory but what is mounted there, the repository perhaps,
    read-only; make it if it is not there.
    """
    if directory.is_symlink() or directory.is_file():
        directory.unlink()
    directory.mkdir(parents=True, exist_ok=True)
    for entry in directory.iterdir():
        try:
            if not entry.is_mount():
                remove(entry)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EBUSY):
                raise
