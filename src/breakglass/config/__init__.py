"""YAML to one frozen Config, every fault at once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from breakglass.config.document import EXAMPLE, parse
from breakglass.config.sections import (
    Section,
    local_path,
    optional,
    positive,
    positive_whole,
    text,
    truth,
)
from breakglass.errors import Refused, Usage
from breakglass.grammar import (
    check_context,
    check_destination,
    check_file_name,
    check_namespace,
    check_node_name,
    check_path,
    check_program,
    check_reference,
    check_repository,
    check_repository_path,
    check_snapshot_tag,
    check_source,
    check_tag,
    check_template,
    check_url,
    check_user,
    check_word,
)

__all__ = [
    "REGISTRY_VM",
    "SYSTEM_PATH",
    "Config",
    "Fallback",
    "Image",
    "Kubernetes",
    "Nodes",
    "Registry",
    "RegistryVm",
    "Ssh",
    "Status",
    "check_destination",
    "check_file_name",
    "check_node_name",
    "check_path",
    "check_reference",
    "check_repository",
    "check_snapshot_tag",
    "check_source",
    "check_tag",
    "check_user",
    "find",
    "load",
]

SYSTEM_PATH = Path("/etc/breakglass/config.yaml")
REGISTRY_VM = "registry-vm"


@dataclass(frozen=True)
class Image:
    repository: str
    name: str
    also_known_as: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()

    def names(self, tag: str) -> tuple[str, ...]:
        """Every reference that pods use for the image saved under this tag; the one it is pulled by
        comes first. Raises Refused.
        """
        names = dict.fromkeys(
            (
                f"{self.repository}:{tag}",
                *(name.replace("{tag}", tag) for name in self.also_known_as),
            )
        )
        if long := next((name for name in names if len(name.rpartition(":")[2]) > 128), None):
            raise Refused(
                f"{long} is no name of an image: a tag has at most 128 characters",
                next_step="shorten what stands around {tag} in image.also_known_as",
            )
        return tuple(names)

    def tarball(self, tag: str) -> str:
        """The file's name; also that of the link, for the tag `latest`."""
        return f"{self.name}-{tag}.tar.gz"


@dataclass(frozen=True)
class RegistryVm:
    ssh: str
    directory: str
    keep: int = 5
    sudo: bool = False


@dataclass(frozen=True)
class Fallback:
    name: str
    ssh: str
    directory: str


@dataclass(frozen=True)
class Nodes:
    ssh_user: str | None = None
    hosts: dict[str, str] = field(default_factory=dict)
    directory: str = "/var/breakglass"
    sudo: bool = True
    ctr: tuple[str, ...] = ("ctr",)
    namespace: str = "k8s.io"
    registry_config: str = "/etc/containerd/certs.d"
    answer_pulls: bool = True


@dataclass(frozen=True)
class Registry:
    name: str
    url: str
    repository: str
    ca: Path | None = None


@dataclass(frozen=True)
class Ssh:
    config: Path
    known_hosts: Path
    connect_timeout_seconds: float = 5.0


@dataclass(frozen=True)
class Kubernetes:
    kubeconfig: Path | None = None
    context: str | None = None


@dataclass(frozen=True)
class Status:
    max_age_hours: float = 192.0


@dataclass(frozen=True)
class Config:
    image: Image
    registry_vm: RegistryVm
    fallbacks: tuple[Fallback, ...]
    nodes: Nodes
    registries: tuple[Registry, ...]
    ssh: Ssh
    kubernetes: Kubernetes
    status: Status
    source: Path
    """The file that it was read from."""


def find(
    option: str | None,
    *,
    environ: Mapping[str, str],
    cwd: Path,
    home: Path,
    system: Path = SYSTEM_PATH,
) -> Path:
    """The configuration file in force; one that is named is never passed over for another. Raises
    Usage.
    """
    start = (
        f"write one: image.repository, registry_vm.ssh and registry_vm.directory at the least; "
        f"{EXAMPLE} is one to copy; or practise without any: breakglass sandbox"
    )
    named = (
        ("--config", option)
        if option is not None
        else ("$BREAKGLASS_CONFIG", environ.get("BREAKGLASS_CONFIG") or None)
    )
    if named[1] is not None:
        path = cwd / (home / named[1][2:] if named[1].startswith("~/") else named[1])
        if not os.path.lexists(path):
            raise Usage(
                f"{named[0]} names {str(path)!r}, and there is no such file", next_step=start
            )
        return path
    # A relative $XDG_CONFIG_HOME is to be ignored: XDG Base Directory Specification.
    xdg = environ.get("XDG_CONFIG_HOME", "")
    user = (Path(xdg) if xdg.startswith("/") else home / ".config") / "breakglass" / "config.yaml"
    places = (cwd / "breakglass.yaml", user, system)
    for path in places:
        if os.path.lexists(path):
            return path
    looked = "".join(
        f"\n  {place}"
        for place in ("--config (not given)", "$BREAKGLASS_CONFIG (not set)", *places)
    )
    raise Usage(f"there is no configuration; looked for it in this order:{looked}", next_step=start)


def load(path: Path) -> Config:
    """Read a configuration file. Raises one Usage that names every fault of it."""
    value, faults = parse(path)
    top = Section(value, "", faults)
    image, vm, nodes, ssh, kube, status = (
        top.section(key) for key in ("image", "registry_vm", "nodes", "ssh", "kubernetes", "status")
    )
    local = local_path(path.absolute().parent)
    repository = image.take("repository", text(check_repository))
    fallbacks, registries = top.sections("fallbacks"), top.sections("registries")
    config = Config(
        image=Image(
            repository=repository,
            name=image.take_or_derive(
                "name",
                text(check_file_name),
                repository.rpartition("/")[2],
                origin="image.repository",
            ),
            also_known_as=image.items("also_known_as", text(check_template)),
            companions=image.items("companions", text(check_reference)),
        ),
        registry_vm=RegistryVm(
            ssh=vm.take("ssh", text(check_destination)),
            directory=vm.take("directory", text(check_path)),
            keep=vm.take("keep", positive_whole, RegistryVm.keep),
            sudo=vm.take("sudo", truth, RegistryVm.sudo),
        ),
        fallbacks=tuple(
            Fallback(
                each.take("name", text(check_source)),
                each.take("ssh", text(check_destination)),
                each.take("directory", text(check_path)),
            )
            for each in fallbacks
        ),
        nodes=Nodes(
            ssh_user=nodes.take("ssh_user", optional(text(check_user)), Nodes.ssh_user),
            hosts=nodes.pairs("hosts", text(check_node_name), text(check_destination)),
            directory=nodes.take("directory", text(check_path), Nodes.directory),
            sudo=nodes.take("sudo", truth, Nodes.sudo),
            ctr=nodes.items("ctr", text(check_word), *Nodes.ctr, first=text(check_program)),
            namespace=nodes.take("namespace", text(check_namespace), Nodes.namespace),
            registry_config=nodes.take("registry_config", text(check_path), Nodes.registry_config),
            answer_pulls=nodes.take("answer_pulls", truth, Nodes.answer_pulls),
        ),
        registries=tuple(
            Registry(
                each.take("name", text(check_source)),
                each.take("url", text(check_url)),
                each.take("repository", text(check_repository_path)),
                each.take("ca", optional(local), None),
            )
            for each in registries
        ),
        ssh=Ssh(
            config=ssh.take("config", local, Path("~/.ssh/config").expanduser()),
            known_hosts=ssh.take("known_hosts", local, Path("~/.ssh/known_hosts").expanduser()),
            connect_timeout_seconds=ssh.take(
                "connect_timeout_seconds", positive, Ssh.connect_timeout_seconds
            ),
        ),
        kubernetes=Kubernetes(
            kube.take("kubeconfig", optional(local), None),
            kube.take("context", optional(text(check_context)), None),
        ),
        status=Status(status.take("max_age_hours", positive, Status.max_age_hours)),
        source=path,
    )
    for section in (top, image, vm, nodes, ssh, kube, status, *fallbacks, *registries):
        section.close()
    faults += _repeated(
        "fallbacks", [fallback.name for fallback in config.fallbacks], taken=(REGISTRY_VM,)
    )
    faults += _repeated("registries", [registry.name for registry in config.registries])
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise Usage(
            f"{path} has {count}:" + "".join(f"\n  {fault}" for fault in faults),
            next_step=f"correct it: {path}; {EXAMPLE} shows every key",
        )
    return config


def _repeated(path: str, names: list[str], *, taken: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{path}[{index}].name: {name} is the name of another one"
        for index, name in enumerate(names)
        if name and name in (*taken, *names[:index])
    ]
