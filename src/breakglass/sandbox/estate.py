"""The estate put together: hosts, registries, API server, keys and configuration in one throw-away
directory.
"""

import json
import os
import shlex
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from breakglass.errors import Interrupted
from breakglass.sandbox import image
from breakglass.sandbox.api import Api
from breakglass.sandbox.control import ControlSocket
from breakglass.sandbox.hosts import Host
from breakglass.sandbox.ports import ADDRESS, free_port
from breakglass.sandbox.programs import write_control, write_programs
from breakglass.sandbox.registries import Registry

VM, NAS = "registry-vm", "synology"
NODES = ("k8s-node1", "k8s-node10", "k8s-node2", "k8s-node3")
REPOSITORIES = {"forgejo": "viktor/infra-ci", "registry-private": "infra-ci"}
TAG = "0a1b2c3d"
# Short names: they stand in nearly every line of a plan.
VM_DIRECTORY, NAS_DIRECTORY = "_breakglass", "_forgejo-breakglass"
OVERRULED = ("BREAKGLASS_SSH_KEY", "BREAKGLASS_SSH_KNOWN_HOSTS", "SSH_AUTH_SOCK")
"""Variables through which the user's own keys would come in."""

PROMPT = "sandbox$ "
BASHRC = """HISTFILE=
unset PROMPT_COMMAND
eval "$(_BREAKGLASS_COMPLETE=source_bash breakglass 2>/dev/null)"
"""


@contextmanager
def raise_estate() -> Iterator["Estate"]:
    """A running estate. When the block ends, by SIGTERM or SIGHUP too, its processes and files are
    gone.
    """
    # Resolved, so that names the hosts report are the names in the configuration.
    root = Path(tempfile.mkdtemp(prefix="breakglass-")).resolve()
    with _signals_raise():
        try:
            estate = Estate(root)
            try:
                estate.raise_up()
                yield estate
            finally:
                estate.tear_down()
        finally:
            shutil.rmtree(root, ignore_errors=True)


class Estate:
    """Everything by name. `environ` is what a command needs in its environment to meet this estate
    and no other.
    """

    def __init__(self, root: Path) -> None:
        import paramiko

        self.root = root
        self.config, self.kubeconfig, self.known_hosts, self.ssh_config, self.key = (
            root / name
            for name in ("breakglass.yaml", "kubeconfig", "known_hosts", "ssh_config", "id_ecdsa")
        )
        self.this_node = root / "this-node"
        """What every node's root is called in the configuration, and over SSH."""
        client_key = paramiko.ECDSAKey.generate()
        client_key.write_private_key_file(str(self.key))
        programs = write_programs(root / "programs", ssh_config=self.ssh_config)
        write_control(root / "bin")
        kinds = {VM: ("root", "vm"), NAS: ("viktor", "nas")} | dict.fromkeys(
            NODES, ("wizard", "node")
        )
        self.hosts = {
            name: Host(
                name,
                root / name,
                user=user,
                programs=programs[kind],
                client_key=client_key,
                known_as=self.this_node if kind == "node" else None,
            )
            for name, (user, kind) in kinds.items()
        }
        self.registries = {
            name: Registry(name, root / "registries" / name) for name in REPOSITORIES
        }
        self.api = Api(port=free_port())
        self._api_up = False
        self._control: ControlSocket | None = None

    @property
    def vm_directory(self) -> Path:
        return self.hosts[VM].root / VM_DIRECTORY

    @property
    def nas_directory(self) -> Path:
        return self.hosts[NAS].root / NAS_DIRECTORY

    @property
    def environ(self) -> dict[str, str]:
        """The variables to lay over one's own; those of `OVERRULED` are to be left out (see
        `environment`).
        """
        return {
            "BREAKGLASS_CONFIG": str(self.config),
            "BREAKGLASS_SANDBOX_CONTROL": str(self.root / "control"),
            "KUBECONFIG": str(self.kubeconfig),
            "REGISTRY_AUTH_FILE": str(self.root / "auth.json"),
            # Practice is none of the operator's journal.
            "XDG_STATE_HOME": str(self.root / "state"),
            "PS1": PROMPT,
            "PATH": f"{self.root / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        }

    def environment(self) -> dict[str, str]:
        """The whole environment of a command inside the sandbox."""
        return {
            name: value for name, value in os.environ.items() if name not in OVERRULED
        } | self.environ

    def shell(self) -> tuple[str, ...]:
        """An interactive shell that says where one is. The user's own start-up files stay outside:
        kubectl must not leave the sandbox.
        """
        if bash := shutil.which("bash"):
            return (bash, "--noprofile", "--rcfile", str(self.root / "bashrc"))
        return ("/usr/bin/env", "-u", "ENV", "/bin/sh")

    @property
    def banner(self) -> str:
        """What is real here and what is not, for the screen."""
        return (
            f"Sandbox: {VM}, {NAS}, {', '.join(NODES)},\n"
            f"the registries {' and '.join(self.registries)}, and a Kubernetes API server.\n"
            "All of it is on this machine, on loopback, and deleted at the end. HOST's files\n"
            f"are below {self.root}/HOST; plans say this-node for a node's.\n"
            "SSH, HTTP, archives and gzip are real. docker and containerd are simulated:\n"
            "nothing runs in a container. `sandbox` stops, starts and damages parts of it;\n"
            "kubectl, where you have it, talks to its API server."
        )

    def raise_up(self) -> None:
        for name in (*self.registries, *self.hosts):
            self.start(name)
        self.push(TAG)
        for node in NODES:
            for directory in ("var/breakglass", "etc/containerd/certs.d"):
                (self.hosts[node].root / directory).mkdir(parents=True)
            self.api.add_node(
                node,
                internal_ip=ADDRESS,
                architecture=image.ARCHITECTURE,
                ready=True,
                unschedulable=False,
            )
        self.vm_directory.mkdir(parents=True)
        self.nas_directory.mkdir(parents=True)
        self.start("api")
        self.known_hosts.write_text(
            "".join(f"{host.known_hosts_line}\n" for host in self.hosts.values()), encoding="ascii"
        )
        self.ssh_config.write_text(
            (
                f"Host *\n  IdentityFile {self.key}\n  IdentitiesOnly yes\n  IdentityAgent "
                f"none\n  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile "
                f"/dev/null\n"
            ),
            encoding="utf-8",
        )
        # Once more what the environment says: bash may have read the machine's own bashrc, with a
        # KUBECONFIG in it.
        again = "".join(
            f"export {name}={shlex.quote(value)}\n" for name, value in self.environ.items()
        )
        (self.root / "bashrc").write_text(again + BASHRC, encoding="utf-8")
        (self.root / "auth.json").write_text("{}\n", encoding="ascii")
        # JSON is YAML.
        self.config.write_text(json.dumps(self._configuration(), indent=2) + "\n", encoding="utf-8")
        self._control = ControlSocket(self, self.root / "control")

    def tear_down(self) -> None:
        if self._control:
            self._control.close()
        for name, state in self.status().items():
            if state == "up":
                self.stop(name)

    def status(self) -> dict[str, str]:
        parts = (
            {name: host.up for name, host in self.hosts.items()}
            | {name: registry.up for name, registry in self.registries.items()}
            | {"api": self._api_up}
        )
        return {name: "up" if up else "down" for name, up in parts.items()}

    def stop(self, name: str) -> None:
        """As if its power had gone. Raises LookupError."""
        if name != "api":
            self._part(name).stop()
        elif self._api_up:
            self._api_up = False
            self.api.stop()

    def start(self, name: str) -> None:
        """On the same port as before. Raises LookupError."""
        if name != "api":
            self._part(name).start()
        elif not self._api_up:
            if self.kubeconfig.exists():
                self.api = _successor(self.api)
            self.api.kubeconfig(self.kubeconfig)
            self.api.start()
            self._api_up = True

    def cut(self, name: str) -> None:
        """Break a host's connections. Raises LookupError."""
        self._host(name).cut()

    def push(self, tag: str, *, content: str | None = None) -> str:
        """Push an image to both registries, as `tag` and as `latest`. Returns its image ID. Raises
        LookupError.
        """
        if down := [name for name, registry in self.registries.items() if not registry.up]:
            raise LookupError(
                f"nothing pushed: {' and '.join(down)} {'is' if len(down) == 1 else 'are'} "
                f"down; first: sandbox start {' '.join(down)}"
            )
        if tag.startswith((".", "-")) or "/" in tag or not tag:
            raise LookupError(f"{tag!r} is not a tag")
        pushed = image.build(f"infra-ci {tag}\n" if content is None else content)
        for name, repository in REPOSITORIES.items():
            for each in (tag, "latest"):
                self.registries[name].push(repository, each, pushed)
        return pushed.image_id

    def break_image(self, registry: str, tag: str) -> list[str]:
        """Delete what the tag's index refers to, in one registry. Returns the digests. Raises
        LookupError.
        """
        try:
            return self._registry(registry).delete_children(REPOSITORIES[registry], tag)
        except OSError:
            raise LookupError(f"{registry} has no tag {tag}") from None

    def refuse(self, registry: str, code: int | None) -> None:
        self._registry(registry).refuses_with = code

    def mirror(self) -> list[str]:
        """The offsite copy: the VM's directory on the NAS, links and times kept, what is gone there
        gone here. Returns what it did.
        """
        done = []
        for old in sorted(self.nas_directory.iterdir()):
            if not os.path.lexists(self.vm_directory / old.name):
                old.unlink()
                done.append(f"deleted {old.name}")
        for source in sorted(self.vm_directory.iterdir()):
            target = self.nas_directory / source.name
            if source.is_symlink() or source.is_file():
                partial = target.with_name(f".{target.name}.rsync")
                shutil.copy2(source, partial, follow_symlinks=False)
                partial.rename(target)
                done.append(f"copied {source.name}")
        return done

    def run(self, host: str, argv: Sequence[str]) -> tuple[int, bytes, bytes]:
        """Run a command on a host, without SSH. Returns exit status, stdout, stderr. Raises
        LookupError.
        """
        result = self._host(host).run(argv)
        return result.returncode, result.stdout, result.stderr

    def _part(self, name: str) -> Host | Registry:
        return self.hosts[name] if name in self.hosts else self._registry(name)

    def _host(self, name: str) -> Host:
        if name not in self.hosts:
            raise LookupError(f"no host {name!r}; there are {', '.join(self.hosts)}")
        return self.hosts[name]

    def _registry(self, name: str) -> Registry:
        if name not in self.registries:
            raise LookupError(f"no {name!r}; there are {', '.join(self.status())}")
        return self.registries[name]

    def _configuration(self) -> dict[str, object]:
        forgejo, private = (
            f"{self.registries[name].authority}/{repository}"
            for name, repository in REPOSITORIES.items()
        )
        return {
            "image": {
                "repository": private,
                "name": "infra-ci",
                "also_known_as": [f"{private}:latest", f"{forgejo}:{{tag}}", f"{forgejo}:latest"],
            },
            "registry_vm": {
                "ssh": self.hosts[VM].address,
                "directory": str(self.vm_directory),
                "keep": 5,
            },
            "fallbacks": [
                {"name": NAS, "ssh": self.hosts[NAS].address, "directory": str(self.nas_directory)}
            ],
            "nodes": {
                "ssh_user": "wizard",
                "hosts": {node: f"{ADDRESS}:{self.hosts[node].port}" for node in NODES},
                "directory": str(self.this_node / "var/breakglass"),
                "sudo": True,
                "registry_config": str(self.this_node / "etc/containerd/certs.d"),
            },
            "registries": [
                {"name": name, "url": self.registries[name].url, "repository": repository}
                for name, repository in REPOSITORIES.items()
            ],
            "ssh": {"config": str(self.ssh_config), "known_hosts": str(self.known_hosts)},
            "kubernetes": {"kubeconfig": str(self.kubeconfig)},
        }


def _successor(stopped: Api) -> Api:
    """A server that has stopped cannot listen again. This one has its port and its objects."""
    api = Api(port=stopped.port)
    api.take_over(stopped)
    return api


@contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGTERM and SIGHUP end a Python program without its `finally`; here they raise, unless
    somebody handles them already.
    """

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise Interrupted(number)

    ours = []
    if threading.current_thread() is threading.main_thread():
        ours = [
            number
            for number in (signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(number) is signal.SIG_DFL
        ]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
