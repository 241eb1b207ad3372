"""What containerd's configuration says: where it looks for hosts.toml, and with which snapshotter
the CRI plugin unpacks images. Pure.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from breakglass.shape import parse_toml
from breakglass.text import inert, version_numbers

CRI = ("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images")
"""The plugins that have the registries' configuration: containerd 1, containerd 2."""
SHAPE = {
    "configuration": str,
    "file": str,
    "fault": str,
    "version": str,
    "root": str,
    "newer": str,
}
DEFAULT_PATH = "/etc/containerd/certs.d:/etc/docker/certs.d"
"""config_path from containerd 2.2.0 on, where it is not set; the configuration does not show it."""
SINCE = (2, 2, 0)
DEFAULT_SNAPSHOTTER = "overlayfs"
_SNAPSHOTTER = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,75}")
HAS_LOCAL = (1, 7, 0)
"""From there on `ctr images import` has --local. Without it the transfer service imports (2.0 and
newer), which does not unpack for a snapshotter that its own configuration does not name.
"""


@dataclass(frozen=True)
class ConfigPath:
    path: str | None
    """config_path; empty: containerd does not read hosts.toml; None: not known."""
    fault: str = ""
    reads_lists: bool = True
    """Whether a list of directories is read as one. The transfer service, with which containerd 2.1
    and newer pull by default, takes it for the name of one directory (containerd issue 12636).
    """


@dataclass(frozen=True)
class Unpacking:
    """How the CRI plugin unpacks images, where ctr by itself would not do the same."""

    snapshotter: str = ""
    """Empty: ctr's default."""
    has_local: bool = False
    """Whether `ctr images import` has --local."""

    @property
    def options(self) -> tuple[str, ...]:
        """Of ctr, where it imports or checks images."""
        return ("--snapshotter", self.snapshotter) if self.snapshotter else ()


BY_DEFAULT = Unpacking()


def unpacking(configuration: str, version: str) -> Unpacking:
    """Of either version of the configuration."""
    plugins = _mapping(_document(configuration).get("plugins"))
    first, second = (_mapping(plugins.get(name)) for name in CRI)
    name = _text(second.get("snapshotter")) or _text(
        _mapping(first.get("containerd")).get("snapshotter")
    )
    if name == DEFAULT_SNAPSHOTTER or not _SNAPSHOTTER.fullmatch(name):
        return BY_DEFAULT
    return Unpacking(name, (version_numbers(version) or SINCE) >= HAS_LOCAL)


def choose(candidates: Sequence[Mapping[str, str]], content: str | None) -> Mapping[str, str]:
    """The configuration of the containerd that has this content store: a node may run docker's
    beside kubelet's.
    """
    for each in candidates:
        root = each["root"] or _text(_document(each["configuration"]).get("root"))
        if root and content and content.startswith(f"{root.rstrip('/')}/"):
            return each
    return candidates[0] if candidates else dict.fromkeys(SHAPE, "")


def config_path(configuration: str, version: str = "") -> ConfigPath:
    """Of either version of the configuration."""
    if not configuration:
        return ConfigPath(None)
    try:
        plugins = parse_toml(configuration).get("plugins")
    except ValueError as error:
        return ConfigPath(None, f"its configuration is no TOML: {inert(str(error))}")
    for name in CRI:
        plugin = _mapping(_mapping(plugins).get(name))
        path = _text(_mapping(plugin.get("registry")).get("config_path"))
        if path:
            return ConfigPath(path, reads_lists=not _uses_transfer_service(plugin))
    plugin = _mapping(_mapping(plugins).get(CRI[-1]))
    mirrors = _mapping(plugin.get("registry")).get("mirrors")
    if (version_numbers(version) or (0, 0, 0)) >= SINCE and not mirrors:
        return ConfigPath(DEFAULT_PATH, reads_lists=not _uses_transfer_service(plugin))
    return ConfigPath("")


def _uses_transfer_service(plugin: Mapping[str, Any]) -> bool:
    """As containerd decides it (internal/cri/config, CheckLocalImagePullConfigs)."""
    if plugin.get("use_local_image_pull") is not False:
        return False  # or a containerd before 2.1, which has no such key
    registry = _mapping(plugin.get("registry"))
    return not (
        plugin.get("disable_snapshot_annotations") is False
        or plugin.get("discard_unpacked_layers")
        or plugin.get("image_pull_with_sync_fs")
        or plugin.get("max_concurrent_downloads", 3) != 3
        or any(registry.get(key) for key in ("mirrors", "configs", "auths"))
    )


def _document(configuration: str) -> Mapping[str, Any]:
    try:
        return parse_toml(configuration)
    except ValueError:
        return {}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
