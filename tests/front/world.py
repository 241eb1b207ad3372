"""The sandbox with commands in it: put back to its first day before each test, or brought as far as
a test begins.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from breakglass.cli.exit_codes import BY_COMMAND
from breakglass.sandbox import image, machine_ids
from breakglass.sandbox.api import Api
from breakglass.sandbox.environment import NODES, TAG, Environment
from breakglass.sandbox.hosts import Host
from breakglass.sandbox.parts import OWN_CLUSTER
from breakglass.sandbox.ports import ADDRESS
from tests.front.blocks import is_inert
from tests.front.commands import Commands, Ended, Started
from tests.front.next_steps import check_next

STORES = ("var", "etc")
"""What commands may change on a host, besides the directories of tarballs."""


class World:
    def __init__(self, environment: Environment, commands: Commands, directory: Path) -> None:
        self.environment, self.directory = environment, directory
        self._commands = commands
        self._kept = directory / "kept"
        self._home = directory / "home"
        self._home.mkdir()
        self._first_config = environment.config.read_bytes()
        self._kept_nodes: dict[str, tuple[bytes, dict[str, dict[str, Any]]]] = {}
        self.journal = Path(environment.environ["XDG_STATE_HOME"]) / "breakglass/journal.jsonl"
        self._environs = {name: host.environ for name, host in environment.hosts.items()}

    # Commands

    def start(
        self,
        *arguments: str,
        environ: dict[str, str | None] | None = None,
        directory: Path | None = None,
        terminal: int | None = None,
        dies_after: int | None = None,
    ) -> Started:
        wanted: dict[str, str | None] = {
            **self.environment.variables(),
            "HOME": str(self._home),
            "XDG_CONFIG_HOME": None,
            "CI_COMMIT_SHA": None,
            **(environ or {}),
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        return self._commands.start(
            *arguments, environ=given, directory=directory, terminal=terminal, dies_after=dies_after
        )

    def run(
        self,
        *arguments: str,
        environ: dict[str, str | None] | None = None,
        directory: Path | None = None,
        dies_after: int | None = None,
    ) -> Ended:
        ended = self.start(
            *arguments, environ=environ, directory=directory, dies_after=dies_after
        ).end()
        # Whatever was run, it ends as its help says.
        if (
            arguments
            and (codes := BY_COMMAND.get(arguments[0]))
            and "--" not in arguments
            and "--help" not in arguments
        ):
            assert ended.status in codes or not 0 <= ended.status <= 128, (
                f"{ended.status} is none of {codes}, the exit codes of "
                f"{arguments[0]}:\n{ended.stderr}"
            )
        # Nobody's terminal: whatever was run, no control character may be in it.
        is_inert(ended.stdout + ended.stderr)
        # And whatever went wrong, what it says to type next can be typed.
        check_next(ended)
        return ended

    def done(self, *arguments: str) -> dict[str, Any]:
        """Run with --json; it must succeed."""
        ended = self.run(*arguments, "--json")
        assert ended.status == 0, ended.stdout + ended.stderr
        return ended.reported

    # The state that a test begins with

    def reset(self) -> None:
        """As on the first day: nothing saved, nothing on the nodes, nothing cordoned, everything
        up.
        """
        self.end_responders()
        for name, host in self.environment.hosts.items():
            host.environ = self._environs[name]
            host.login_seconds, host.banner = 0, ""
            for place in STORES:
                shutil.rmtree(host.root / place, ignore_errors=True)
        for directory in (self.environment.vm_directory, self.environment.nas_directory):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        shutil.rmtree(self.journal.parent.parent, ignore_errors=True)
        for registry in self.environment.registries.values():
            registry.refuses_with = None
            shutil.rmtree(registry.root / "repositories", ignore_errors=True)
        for node in NODES:
            for directory_name in ("var/breakglass", "etc/containerd/certs.d"):
                (self.root(node) / directory_name).mkdir(parents=True)
        for name, state in self.environment.status().items():
            if state == "down":
                self.environment.start(name)
        for _, item in self.environment.api.select("nodes", None, "")[1]:
            self.environment.api.remove_node(item["metadata"]["name"])
        for node in NODES:
            self.environment.api.add_node(
                node, internal_ip=ADDRESS, architecture=image.ARCHITECTURE
            )
            self.is_machine(node, node)
        self.environment.use_cluster(OWN_CLUSTER)
        self.environment.config.write_bytes(self._first_config)
        self.environment.push(TAG)

    def is_machine(self, node: str, boot: str, machine: str | None = None) -> None:
        """The node's host is the machine with this name, or only its kernel is."""
        machine_ids.write(
            self.root(node),
            boot=machine_ids.boot_id(boot),
            machine=machine_ids.machine_id(machine or boot),
        )

    @contextmanager
    def other_cluster(self, *nodes: str) -> Iterator[Api]:
        """The kubeconfig means another cluster for a while: its nodes are other machines."""
        with Api() as api:
            for node in nodes:
                api.add_node(node, internal_ip=ADDRESS, machine=f"{node} elsewhere")
            api.kubeconfig(self.environment.kubeconfig, "elsewhere")
            try:
                yield api
            finally:
                self.environment.use_cluster(OWN_CLUSTER)

    def publish(self) -> None:
        """The VM and the NAS hold TAG, by a snapshot."""

        def go() -> None:
            self.done("snapshot", "--tag", TAG)
            self.environment.mirror()

        self.arrive("published", go)

    def fetch(self, node: str) -> None:
        """The VM, the NAS and the node hold TAG."""

        def go() -> None:
            self.publish()
            self.done("fetch", node)

        self.arrive(f"fetched {node}", go)

    def bring_in(self, node: str) -> None:
        """As `fetch`, and the node's containerd has the image."""

        def go() -> None:
            self.fetch(node)
            self.done("import", node)

        self.arrive(f"imported {node}", go)

    def arrive(self, name: str, go: Callable[[], object]) -> None:
        """From the first day to the state that `go` leads to: by itself the first time, from a copy
        afterwards.
        """
        kept = self._kept / name
        if name not in self._kept_nodes:
            go()
            for path in self._changing():
                shutil.copytree(path, kept / path.relative_to(self.environment.root), symlinks=True)
            self._kept_nodes[name] = (
                self.environment.config.read_bytes(),
                {
                    node: item["spec"] | {"annotations": item["metadata"].get("annotations")}
                    for node, item in self.nodes().items()
                },
            )
            return
        self.end_responders()
        for path in self._changing():
            shutil.rmtree(path)
        shutil.copytree(kept, self.environment.root, symlinks=True, dirs_exist_ok=True)
        config, nodes = self._kept_nodes[name]
        self.environment.config.write_bytes(config)
        for node, item in nodes.items():
            self.environment.api.patch_node(
                node,
                {
                    "metadata": {"annotations": item["annotations"]},
                    "spec": {"unschedulable": item.get("unschedulable")},
                },
            )

    def responders(self) -> dict[int, list[str]]:
        """The nodes' processes that serve the image locally: PID and command line."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                if any(
                    word.startswith(f"{self.environment.root}/")
                    and word.endswith("/.breakglass-responder.pyz")
                    for word in words
                ):
                    found[int(process.name)] = words
        return found

    def end_responders(self) -> None:
        """As a reboot would."""
        for pid in self.responders():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait_until(lambda: not self.responders())

    def _changing(self) -> list[Path]:
        """Every directory that commands or tests change, where it is there."""
        stores = [host.root / store for host in self.environment.hosts.values() for store in STORES]
        repositories = [
            registry.root / "repositories" for registry in self.environment.registries.values()
        ]
        return [
            path
            for path in (
                *stores,
                *repositories,
                self.environment.vm_directory,
                self.environment.nas_directory,
            )
            if path.exists()
        ]

    # What is there

    def root(self, host: str) -> Path:
        return self.host(host).root

    def host(self, name: str) -> Host:
        return self.environment.hosts[name]

    def shelf(self, node: str) -> Path:
        """The directory of tarballs on a node."""
        return self.root(node) / "var/breakglass"

    def names(self, node: str) -> dict[str, str]:
        """What each name in the node's containerd points at."""
        status, stdout, _ = self.environment.run(node, ["ctr", "-n", "k8s.io", "images", "ls"])
        assert status == 0
        return {
            fields[0]: fields[2]
            for fields in (line.split() for line in stdout.decode().splitlines()[1:])
        }

    def nodes(self) -> dict[str, dict[str, Any]]:
        """The Node objects without what every change of anything moves."""
        found = {}
        for _, item in self.environment.api.select("nodes", None, "")[1]:
            metadata = {
                key: value
                for key, value in item["metadata"].items()
                if key not in ("resourceVersion", "uid", "managedFields")
            }
            found[metadata["name"]] = {**item, "metadata": metadata}
        return found

    def cordoned(self) -> list[str]:
        return [name for name, item in self.nodes().items() if item["spec"].get("unschedulable")]

    def wait_until(self, condition: Callable[[], bool], *, timeout_seconds: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            assert time.monotonic() < deadline, f"it did not happen within {timeout_seconds} s"
            time.sleep(0.02)

    # Damage

    @contextmanager
    def program(self, host: str, name: str, script: str) -> Iterator[None]:
        """A shell script in place of a program of one host; `REAL` in it is the program that it
        stands before.
        """
        directory = self.directory / f"before-{host}"
        directory.mkdir(exist_ok=True)
        path = self.host(host).environ["PATH"]
        real = shutil.which(name, path=path)
        (directory / name).write_text(f"#!/bin/bash\nREAL={real}\n{script}\n", encoding="utf-8")
        (directory / name).chmod(0o755)
        try:
            with self.path(host, f"{directory}:{path}"):
                yield
        finally:
            (directory / name).unlink()

    @contextmanager
    def held(self, host: str, name: str, when: str) -> Iterator["Gate"]:
        """A program of one host that waits at a gate before it does its work, where its arguments
        match `when`, a pattern of the shell.
        """
        gate = Gate(self, self.directory / f"held-{host}-{name}")
        script = (
            f'case "$*" in {when}) touch {gate.path}; while [ -e {gate.path} ]; do sleep 0.05; '
            f'done; $REAL "$@"; exit;; esac; exec $REAL "$@"'
        )
        try:
            with self.program(host, name, script):
                yield gate
        finally:
            gate.open()

    @contextmanager
    def without_program(self, host: str, name: str) -> Iterator[None]:
        """A host that has everything but this program."""
        directory = self.directory / f"{host}-without-{name}"
        directory.mkdir(exist_ok=True)
        for place in reversed(self.host(host).environ["PATH"].split(":")):
            for program in Path(place).iterdir():
                if program.name != name:
                    (directory / program.name).unlink(missing_ok=True)
                    (directory / program.name).symlink_to(program)
        with self.path(host, str(directory)):
            yield

    @contextmanager
    def path(self, host: str, path: str) -> Iterator[None]:
        target = self.host(host)
        before = target.environ
        target.environ = {**before, "PATH": path}
        try:
            yield
        finally:
            target.environ = before


class Gate:
    """Where a program waits; whoever is killed there meanwhile never goes through."""

    def __init__(self, world: World, path: Path) -> None:
        self._world, self.path = world, path

    def reached(self, *, timeout_seconds: float = 60.0) -> None:
        """Wait until the program stands there."""
        self._world.wait_until(self.path.exists, timeout_seconds=timeout_seconds)

    def open(self) -> None:
        self.path.unlink(missing_ok=True)


def flip_a_bit(path: Path) -> None:
    """In the middle of a file, whose size and time stay what they are."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
