"""The sources of tarballs in the configuration: the registry VM, then the fallbacks."""

from breakglass.config import REGISTRY_VM, Config
from breakglass.plan import Host

FIRST_BYTE_SECONDS = 60.0
"""What a source may take for its first byte."""


def sources(config: Config) -> tuple[tuple[Host, str], ...]:
    """(host, directory) of each source of tarballs, in the order in which they are tried."""
    vm = Host(REGISTRY_VM, config.registry_vm.ssh, sudo=config.registry_vm.sudo)
    return (
        (vm, config.registry_vm.directory),
        *((Host(fallback.name, fallback.ssh), fallback.directory) for fallback in config.fallbacks),
    )
