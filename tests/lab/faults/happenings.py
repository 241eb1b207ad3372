"""What may happen in a soak: things that break before a command, and things that happen to it in
its middle.
"""

import random
from collections.abc import Callable

from ..environment import Environment
from ..host import Host
from ..process import HostProcess, command_line, send, within
from ..roles import VM_DIRECTORY
from .invariants import NODE_DIRECTORY

NODES = ("k8s-node1", "k8s-node2", "k8s-node3")
TAGS = ("aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd")
SIGNALS = (2, 15, 1, 9)


def breaking(environment: Environment, chance: random.Random, broken: set[str]) -> str:
    """Break something, in words. What stays broken until it is healed is put into `broken`."""
    node = environment.nodes[chance.choice(NODES)]
    faults: tuple[tuple[str, Callable[[], object]], ...] = (
        ("a registry is stopped", lambda: environment.private.host.stop("registry")),
        ("both registries are stopped", lambda: stop_registries(environment)),
        ("the API server is stopped", lambda: environment.api.stop("kube-apiserver")),
        ("the VM is unplugged", environment.vm.unplug),
        ("the VM's sshd is stopped", lambda: environment.vm.stop("sshd")),
        ("the NAS is unplugged", environment.nas.unplug),
    )
    damages: tuple[tuple[str, Callable[[], object]], ...] = (
        ("the NAS is brought up to date", lambda: mirror(environment)),
        (
            "a tarball on the VM is damaged",
            lambda: damage(environment.vm, VM_DIRECTORY, ".tar.gz", chance),
        ),
        (
            "a sidecar on the VM is lost",
            lambda: damage(environment.vm, VM_DIRECTORY, ".json", chance),
        ),
        (
            f"a tarball on {node.name} is damaged",
            lambda: damage(node, NODE_DIRECTORY, ".tar.gz", chance),
        ),
        (
            f"a partial is left on {node.name}",
            lambda: node.write(
                f"{NODE_DIRECTORY}/.infra-ci-{chance.choice(TAGS)}.tar.gz.partial",
                chance.randbytes(1000),
            ),
        ),
        (
            f"somebody cordons {node.name}",
            lambda: environment.cluster.kubectl("cordon", node.name, check=False, timeout=20),
        ),
        (
            f"somebody uncordons {node.name}",
            lambda: environment.cluster.kubectl("uncordon", node.name, check=False, timeout=20),
        ),
        (f"the responder of {node.name} is killed", lambda: end_responder(node)),
        (f"{node.name} loses power and boots again", lambda: power_cycle(node)),
    )
    words, do = chance.choice(faults + damages)
    do()
    if words in dict(faults):
        broken.add(words)
    return words


def blow(
    environment: Environment, chance: random.Random
) -> tuple[str, Callable[[HostProcess], None]]:
    """(words, what happens to a run in its middle). Afterwards everything is healed."""
    vm, node, number = (
        environment.vm,
        environment.nodes[chance.choice(NODES)],
        chance.choice(SIGNALS),
    )
    return chance.choice(
        (
            (f"signal {number}", lambda child: child.send_signal(number)),
            (f"signal {number}", lambda child: child.send_signal(number)),
            ("every login on the VM is ended", lambda _: end_logins(vm)),
            (f"every login on {node.name} is ended", lambda _: end_logins(node)),
            ("dockerd is killed", lambda _: vm.kill("dockerd") if vm.running else None),
            (f"containerd of {node.name} is killed", lambda _: node.kill("containerd")),
            (f"{node.name} loses its plug", lambda _: node.unplug()),
            ("the VM loses its plug", lambda _: vm.unplug()),
            ("the API server is killed", lambda _: environment.api.kill("kube-apiserver")),
            (f"{node.name} loses its cable", lambda _: node.cable(up=False)),
        )
    )


def stop_registries(environment: Environment) -> None:
    for registry in environment.registries:
        if registry.host.running:
            registry.host.stop("registry")


def mirror(environment: Environment) -> None:
    if environment.vm.running and environment.nas.running:
        environment.mirror()


def damage(host: Host, directory: str, suffix: str, chance: random.Random) -> None:
    """Flip a bit in a tarball, or take a sidecar away."""
    if not host.running or not host.path(directory).is_dir():
        return
    files = sorted(
        path
        for path in host.path(directory).iterdir()
        if path.name.startswith("infra-ci-")
        and path.name.endswith(suffix)
        and not path.is_symlink()
    )
    if files and suffix == ".json":
        chance.choice(files).unlink()
    elif files:
        path = chance.choice(files)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def power_cycle(node: Host) -> None:
    node.unplug()
    node.plug()


def end_logins(host: Host) -> None:
    """End the processes of sshd that serve somebody; the one that listens stays."""
    listener = host.pid("sshd") if host.running else 0
    for pid, _ in within(host.init_pid):
        if pid != listener and command_line(pid).startswith("sshd"):
            send(pid, 9)


def end_responder(node: Host) -> None:
    for pid, _ in within(node.init_pid):
        if ".breakglass-responder.pyz responder serve" in command_line(pid):
            send(pid, 9)
