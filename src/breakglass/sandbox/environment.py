"""The whole sandbox: hosts, registries, API server, keys and configuration in one temporary
directory.
"""

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from breakglass.sandbox import image
from breakglass.sandbox.control import ControlSocket
from breakglass.sandbox.hosts import Host
from breakglass.sandbox.parts import Parts
from breakglass.sandbox.ports import ADDRESS
from breakglass.sandbox.programs import write_control, write_programs
from breakglass.sandbox.registries import Registry
from breakglass.sandbox.signals import signals_raise

VM, NAS = "registry-vm", "synology"
NODES = ("k8s-node1", "k8s-node10", "k8s-node2", "k8s-node3")
REPOSITORIES = {"forgejo": "viktor/infra-ci", "registry-private": "infra-ci"}
TAG = "0a1b2c3d"
# Short names, since they are in nearly every line of a plan.
VM_DIRECTORY, NAS_DIRECTORY = "_breakglass", "_forgejo-breakglass"
OVERRULED = ("BREAKGLASS_SSH_KEY", "BREAKGLASS_SSH_KNOWN_HOSTS", "SSH_AUTH_SOCK")
"""Variables with the user's own keys, which must not get into the sandbox."""

PROMPT = "sandbox$ "
BASHRC = """HISTFILE=
unset PROMPT_COMMAND
eval "$(_BREAKGLASS_COMPLETE=source_bash breakglass 2>/dev/null)"
"""


@contextmanager
def raise_environment() -> Iterator["Environment"]:
    """A running sandbox. Its processes and files are gone after the block, also after SIGTERM or
    SIGHUP.
    """
    # Resolved, so that paths which hosts print are the paths in the configuration.
    root = Path(tempfile.mkdtemp(prefix="breakglass-")).resolve()
    with signals_raise():
        try:
            environment = Environment(root)
            try:
                environment.raise_up()
                yield environment
            finally:
                environment.tear_down()
        finally:
            shutil.rmtree(root, ignore_errors=True)


class Environment(Parts):
    """The sandbox with its files. `environ` are the variables of a command that is to use it."""

    def __init__(self, root: Path) -> None:
        import paramiko

        self.root = root
        self.config = root / "breakglass.yaml"
        self.known_hosts = root / "known_hosts"
        self.ssh_config = root / "ssh_config"
        self.key = root / "id_ecdsa"
        self.this_node = root / "this-node"
        """The name of every node's root directory in the configuration, and over SSH."""
        client_key = paramiko.ECDSAKey.generate()
        client_key.write_private_key_file(str(self.key))
        programs = write_programs(root / "programs", ssh_config=self.ssh_config)
        write_control(root / "bin")
        users_and_kinds = {VM: ("root", "vm"), NAS: ("viktor", "nas")}
        users_and_kinds |= dict.fromkeys(NODES, ("wizard", "node"))
        hosts = {
            name: Host(
                name,
                root / name,
                user=user,
                programs=programs[kind],
                client_key=client_key,
                known_as=self.this_node if kind == "node" else None,
            )
            for name, (user, kind) in users_and_kinds.items()
        }
        super().__init__(
            hosts,
            {name: Registry(name, root / "registries" / name) for name in REPOSITORIES},
            repositories=REPOSITORIES,
            kubeconfig=root / "kubeconfig",
        )
        self._control: ControlSocket | None = None

    @property
    def vm_directory(self) -> Path:
        return self.hosts[VM].root / VM_DIRECTORY

    @property
    def nas_directory(self) -> Path:
        return self.hosts[NAS].root / NAS_DIRECTORY

    @property
    def environ(self) -> dict[str, str]:
        """The variables to add to one's own. Those in `OVERRULED` must be removed: see
        `variables`.
        """
        return {
            "BREAKGLASS_CONFIG": str(self.config),
            "BREAKGLASS_SANDBOX_CONTROL": str(self.root / "control"),
            "KUBECONFIG": str(self.kubeconfig),
            "REGISTRY_AUTH_FILE": str(self.root / "auth.json"),
            # The operator's own journal has no practice in it.
            "XDG_STATE_HOME": str(self.root / "state"),
            "PS1": PROMPT,
            "PATH": f"{self.root / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        }

    def variables(self) -> dict[str, str]:
        """The whole environment of a command inside the sandbox."""
        own = {name: value for name, value in os.environ.items() if name not in OVERRULED}
        return own | self.environ

    def shell(self) -> tuple[str, ...]:
        """The command line of an interactive shell with the sandbox's prompt."""
        # Without the user's own start-up files: a KUBECONFIG in them would lead kubectl out.
        if bash := shutil.which("bash"):
            return (bash, "--noprofile", "--rcfile", str(self.root / "bashrc"))
        return ("/usr/bin/env", "-u", "ENV", "/bin/sh")

    @property
    def banner(self) -> str:
        """The text that a new sandbox prints: its hosts, and what is simulated."""
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
        """Start everything, push the first image and write the files."""
        for name in (*self.registries, *self.hosts):
            self.start(name)
        self.push(TAG)
        for node in NODES:
            for directory in ("var/breakglass", "etc/containerd/certs.d"):
                (self.hosts[node].root / directory).mkdir(parents=True)
            self.api.add_node(node, internal_ip=ADDRESS, architecture=image.ARCHITECTURE)
        self.vm_directory.mkdir(parents=True)
        self.nas_directory.mkdir(parents=True)
        self.start("api")
        self._write_files()
        self._control = ControlSocket(self, self.root / "control")

    def tear_down(self) -> None:
        """Stop everything that is up."""
        if self._control:
            self._control.close()
        for name, state in self.status().items():
            if state == "up":
                self.stop(name)
        self.release_ports()

    def mirror(self) -> list[str]:
        """The offsite job: copy the VM's directory to the NAS with links and times, and delete what
        the VM no longer has. Returns a line for each file.
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

    def _write_files(self) -> None:
        lines = [f"{host.known_hosts_line}\n" for host in self.hosts.values()]
        self.known_hosts.write_text("".join(lines), encoding="ascii")
        self.ssh_config.write_text(
            f"Host *\n"
            f"  IdentityFile {self.key}\n"
            f"  IdentitiesOnly yes\n"
            f"  IdentityAgent none\n"
            f"  UserKnownHostsFile {self.known_hosts}\n"
            f"  GlobalKnownHostsFile /dev/null\n",
            encoding="utf-8",
        )
        # The environment once more: bash may have read the machine's own bashrc, with a KUBECONFIG
        # in it.
        exports = "".join(
            f"export {name}={shlex.quote(value)}\n" for name, value in self.environ.items()
        )
        (self.root / "bashrc").write_text(exports + BASHRC, encoding="utf-8")
        (self.root / "auth.json").write_text("{}\n", encoding="ascii")
        # JSON is YAML.
        self.config.write_text(json.dumps(self._configuration(), indent=2) + "\n", encoding="utf-8")
        self.config.chmod(0o600)  # whatever the umask: a file that others may write is not used

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
                "kubelet_directory": str(self.this_node / "var/lib/kubelet"),
            },
            "registries": [
                {"name": name, "url": self.registries[name].url, "repository": repository}
                for name, repository in REPOSITORIES.items()
            ],
            "ssh": {"config": str(self.ssh_config), "known_hosts": str(self.known_hosts)},
            "kubernetes": {"kubeconfig": str(self.kubeconfig)},
        }
