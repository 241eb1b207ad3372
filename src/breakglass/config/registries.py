"""The registries that serve the image follow from its names. The configuration adds what a name
does not say: a CA, http, or another repository.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from breakglass.config.values import Image, Registry

_LOOPBACK = re.compile(r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]+)?")
_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


def registries_of(image: Image, configured: Sequence[Registry]) -> tuple[Registry, ...]:
    """Every registry to ask: the configured ones first, then those that only a name points to.

    `names` of each are the repositories, as pods name them, that are pulled from there. It is empty
    for a configured registry that no name points to.
    """
    repositories = _repositories(image)
    names: dict[Registry, list[str]] = {registry: [] for registry in configured}
    for repository in repositories:
        names.setdefault(_registry_for(repository, repositories, configured), []).append(repository)
    return tuple(replace(registry, names=tuple(its)) for registry, its in names.items())


def registry_at(host: str, repository: str, configured: Iterable[Registry]) -> Registry:
    """The registry behind the host of a name, with this repository: the configured one, else
    https://HOST.
    """
    for registry in configured:
        if _is_at(registry, host):
            return replace(registry, repository=repository, names=())
    # As docker and containerd do: docker.io lives elsewhere, and this machine's own registry needs
    # no TLS.
    scheme = "http" if _LOOPBACK.fullmatch(host) else "https"
    address = "registry-1.docker.io" if host in _DOCKER_HUB else host
    return Registry(host, f"{scheme}://{address}", repository)


def _repositories(image: Image) -> tuple[str, ...]:
    """What the names of the image say before the tag, each once."""
    aliases = (name.rpartition(":")[0] for name in image.also_known_as)
    return tuple(dict.fromkeys((image.repository, *aliases)))


def _registry_for(
    repository: str, repositories: Sequence[str], configured: Sequence[Registry]
) -> Registry:
    """Where pods that name this repository pull from."""
    host, _, path = repository.partition("/")
    at_host = [registry for registry in configured if _is_at(registry, host)]
    for registry in at_host:
        if registry.repository == path:
            return registry
    for registry in at_host:
        # No name has its repository, so it is the other repository that serves these names.
        if f"{host}/{registry.repository}" not in repositories:
            return registry
    neighbours = [each for each in repositories if each.partition("/")[0] == host]
    name = host if len(neighbours) == 1 else repository
    return replace(registry_at(host, path, configured), name=name)


def _is_at(registry: Registry, host: str) -> bool:
    scheme, _, address = registry.url.partition("://")
    port = ":443" if scheme == "https" else ":80"
    addresses, hosts = ({text.lower(), text.lower().removesuffix(port)} for text in (address, host))
    if hosts & set(_DOCKER_HUB):
        hosts |= set(_DOCKER_HUB)
    return bool(addresses & hosts)
