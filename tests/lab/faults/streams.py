"""A tarball on its way to a node: one that is large enough for the middle of its stream to be hit,
and how far it has come.
"""

import signal
from collections.abc import Callable
from pathlib import Path

from .. import images
from ..environment import Environment
from ..host import Host
from ..images import Image
from ..process import HostProcess, command_line, send, within
from ..roles import VM_DIRECTORY
from ..runs import run
from .arrangements import TAG, Files, keep, lay
from .injections import running, until
from .invariants import NODE_DIRECTORY, sha256_of

NODE = "k8s-node1"
FILE = f"infra-ci-{TAG}.tar.gz"

_kept: list[Files] = []


def long_stream(environment: Environment) -> Image:
    """A tarball on the VM that no socket's buffers swallow whole."""
    image = environment.publish(images.small_bundle("long", padding_megabytes=20), TAG, "latest")
    if not _kept:
        run(environment, "snapshot", "--tag", TAG)
        _kept.append(keep(environment.vm, VM_DIRECTORY))
    lay(environment.vm, VM_DIRECTORY, _kept[0])
    return image


def partial(node: Host) -> Path:
    return node.path(f"{NODE_DIRECTORY}/.{FILE}.partial")


def hidden(node: Host) -> list[str]:
    """What of ours lies on a node without a final name."""
    return sorted(
        path.name for path in node.path(NODE_DIRECTORY).iterdir() if path.name.startswith(".")
    )


def arrived(node: Host) -> int:
    return partial(node).stat().st_size if partial(node).exists() else 0


def third(environment: Environment) -> int:
    return environment.vm.path(f"{VM_DIRECTORY}/{FILE}").stat().st_size // 3


def at_a_third(environment: Environment, child: HostProcess, node: str = NODE) -> None:
    """The moment at which a third of the tarball has arrived on the node."""
    until(
        lambda: arrived(environment.nodes[node]) >= third(environment),
        child=child,
        what="no third of the tarball",
    )
    assert 0 < arrived(environment.nodes[node]) < 3 * third(environment)


def hold_at_a_third(environment: Environment, *nodes: str) -> Callable[[], None]:
    """On each of these nodes the receiving end stands still when a third has arrived, until all
    have come so far; what is given lets them go on.
    """
    waiting = set(nodes)

    def all_held() -> bool:
        for node in sorted(waiting):
            if arrived(environment.nodes[node]) >= third(environment):
                stop(environment.nodes[node], "archive receive")
                waiting.discard(node)
        return not waiting

    until(all_held, what="no third of the tarball")
    assert {
        node: arrived(environment.nodes[node])
        for node in nodes
        if not 0 < arrived(environment.nodes[node]) < 3 * third(environment)
    } == {}

    def all_go_on() -> None:
        for node in nodes:
            go_on(environment.nodes[node], "archive receive")

    return all_go_on


def stop(host: Host, script: str) -> int:
    """Stop a script of ours; how many of it there were."""
    found = [pid for pid in running(host, "python3 -IS -c") if script in command_line(pid)]
    for pid in found:
        send(pid, signal.SIGSTOP)
    return len(found)


def go_on(host: Host, script: str) -> None:
    """Let it go on, and the sudo above it as well, which stops when its command is stopped."""
    for pid, _ in within(host.init_pid):
        if script in command_line(pid):
            send(pid, signal.SIGCONT)


def is_whole(environment: Environment, node: str = NODE) -> bool:
    """The node's tarball is the VM's, byte by byte."""
    return sha256_of(environment.nodes[node].path(f"{NODE_DIRECTORY}/{FILE}")) == sha256_of(
        environment.vm.path(f"{VM_DIRECTORY}/{FILE}")
    )


def is_locked(node: Host) -> bool:
    return node.path(f"{NODE_DIRECTORY}/.breakglass.lock").exists()


def resumes(lines: list[str]) -> bool:
    """Whether a run's steps go on with what had arrived before."""
    return any("tail -c +" in line for line in lines)
