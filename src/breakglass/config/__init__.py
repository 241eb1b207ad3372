"""The configuration: which file it is, how it is read, and its frozen values."""

from breakglass.config.places import SYSTEM_PATH, find
from breakglass.config.reading import load
from breakglass.config.registries import registry_at
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
from breakglass.grammar import (
    check_node_name,
    check_snapshot_tag,
    check_source,
    check_tag,
    check_tarball_name,
    check_tarball_tag,
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
    "check_node_name",
    "check_snapshot_tag",
    "check_source",
    "check_tag",
    "check_tarball_name",
    "check_tarball_tag",
    "find",
    "load",
    "registry_at",
]
