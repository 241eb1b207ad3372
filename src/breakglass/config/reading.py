"""Reads a configuration file into a Config and collects every fault of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from breakglass.config.ctr_command import ctr_command
from breakglass.config.document import edit, parse
from breakglass.config.registries import registries_of
from breakglass.config.sections import (
    Section,
    local_path,
    optional,
    positive,
    positive_whole,
    text,
    truth,
)
from breakglass.config.signers import signers
from breakglass.config.values import (
    REGISTRY_VM,
    Config,
    Fallback,
    Image,
    Kubernetes,
    Nodes,
    Registry,
    RegistryVm,
    Ssh,
    Status,
)
from breakglass.errors import Usage
from breakglass.grammar import (
    check_context,
    check_destination,
    check_file_name,
    check_label_key,
    check_label_value,
    check_namespace,
    check_node_name,
    check_path,
    check_platform,
    check_reference,
    check_repository,
    check_repository_path,
    check_source,
    check_template,
    check_url,
    check_user,
)

LocalPath = Callable[[object], Path]


def load(path: Path) -> Config:
    """Read a configuration file. Raises one Usage that lists every fault of it."""
    document, faults = parse(path)
    top = Section(document, "", faults)
    image, vm, nodes, ssh, kube, status = (
        top.section(key) for key in ("image", "registry_vm", "nodes", "ssh", "kubernetes", "status")
    )
    fallbacks, registries = top.sections("fallbacks"), top.sections("registries")
    local = local_path(path.absolute().parent)
    config = Config(
        image=_image(image, local),
        registry_vm=_registry_vm(vm),
        fallbacks=tuple(_fallback(section) for section in fallbacks),
        nodes=_nodes(nodes),
        registries=tuple(_registry(section, local) for section in registries),
        ssh=_ssh(ssh, local),
        kubernetes=_kubernetes(kube, local),
        status=_status(status),
        source=path,
    )
    for section in (top, image, vm, nodes, ssh, kube, status, *fallbacks, *registries):
        section.close()
    faults += _repeated("fallbacks", [each.name for each in config.fallbacks], taken=(REGISTRY_VM,))
    faults += _repeated("registries", [each.name for each in config.registries])
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise Usage(
            "\n  ".join((f"{path} has {count}:", *faults)),
            next_step=edit(path),
        )
    return replace(config, registries=registries_of(config.image, config.registries))


def _image(section: Section, local: LocalPath) -> Image:
    repository = section.take("repository", text(check_repository))
    return Image(
        repository=repository,
        name=section.take_or_derive(
            "name",
            text(check_file_name),
            repository.rpartition("/")[2],
            origin="image.repository",
        ),
        also_known_as=section.items("also_known_as", text(check_template)),
        companions=section.items("companions", text(check_reference)),
        platforms=section.items("platforms", text(check_platform)),
        sign_with=section.take("sign_with", optional(local), None),
        signers=section.take("signers", optional(signers(local)), None),
    )


def _registry_vm(section: Section) -> RegistryVm:
    return RegistryVm(
        ssh=section.take("ssh", text(check_destination)),
        directory=section.take("directory", text(check_path)),
        keep=section.take("keep", positive_whole, RegistryVm.keep),
        sudo=section.take("sudo", truth, RegistryVm.sudo),
    )


def _fallback(section: Section) -> Fallback:
    return Fallback(
        name=section.take("name", text(check_source)),
        ssh=section.take("ssh", text(check_destination)),
        directory=section.take("directory", text(check_path)),
    )


def _nodes(section: Section) -> Nodes:
    return Nodes(
        ssh_user=section.take("ssh_user", optional(text(check_user)), Nodes.ssh_user),
        hosts=section.pairs("hosts", text(check_node_name), text(check_destination)),
        directory=section.take("directory", text(check_path), Nodes.directory),
        sudo=section.take("sudo", truth, Nodes.sudo),
        ctr=section.take("ctr", ctr_command, Nodes.ctr),
        namespace=section.take("namespace", text(check_namespace), Nodes.namespace),
        registry_config=section.take("registry_config", text(check_path), Nodes.registry_config),
        answer_pulls=section.take("answer_pulls", truth, Nodes.answer_pulls),
        tolerates=section.items("tolerates", text(check_label_key)),
        selector=section.pairs("selector", text(check_label_key), text(check_label_value)),
        kubelet_directory=section.take("kubelet_directory", optional(text(check_path)), None),
    )


def _registry(section: Section, local: LocalPath) -> Registry:
    return Registry(
        name=section.take("name", text(check_source)),
        url=section.take("url", text(check_url)),
        repository=section.take("repository", text(check_repository_path)),
        ca=section.take("ca", optional(local), None),
    )


def _ssh(section: Section, local: LocalPath) -> Ssh:
    return Ssh(
        config=section.take("config", local, Path("~/.ssh/config").expanduser()),
        known_hosts=section.take("known_hosts", local, Path("~/.ssh/known_hosts").expanduser()),
        connect_timeout_seconds=section.take(
            "connect_timeout_seconds", positive, Ssh.connect_timeout_seconds
        ),
    )


def _kubernetes(section: Section, local: LocalPath) -> Kubernetes:
    return Kubernetes(
        kubeconfig=section.take("kubeconfig", optional(local), None),
        context=section.take("context", optional(text(check_context)), None),
    )


def _status(section: Section) -> Status:
    return Status(max_age_hours=section.take("max_age_hours", positive, Status.max_age_hours))


def _repeated(path: str, names: list[str], *, taken: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{path}[{index}].name: {name} is the name of another one"
        for index, name in enumerate(names)
        if name and name in (*taken, *names[:index])
    ]
