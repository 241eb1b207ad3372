"""Whether an image could be pulled: its index and every manifest are read, and some bytes of every
blob.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from breakglass.config import Registry, registry_at
from breakglass.deadline import together
from breakglass.registry.found import Found, ImageId, Lost
from breakglass.registry.judgement import judged
from breakglass.registry.session import RegistrySession
from breakglass.remote.distribution.answers import NotServed, State
from breakglass.remote.distribution.blobs import check_blob
from breakglass.remote.distribution.logins import Credentials
from breakglass.remote.distribution.manifests import INDEX_DEPTH, read_descriptor, verify
from breakglass.remote.distribution.platforms import child_for, platform_of, spelled
from breakglass.remote.distribution.pull import read_child, resolve
from breakglass.remote.distribution.session import Session
from breakglass.text import inert

T = TypeVar("T")

DEADLINE_SECONDS = 8.0
AT_ONCE = 8


def look_all(
    registries: Sequence[Registry],
    tag: str,
    *,
    credentials: Credentials,
    deadline_seconds: float = DEADLINE_SECONDS,
    platform: str | None = None,
) -> tuple[Found, ...]:
    """Look at all registries at the same time, each with its own deadline."""
    looks = [
        partial(
            look,
            registry,
            tag,
            credentials=credentials,
            deadline_seconds=deadline_seconds,
            platform=platform,
        )
        for registry in registries
    ]
    late = f"no complete answer within {deadline_seconds:g} s"
    answers = together(looks, seconds=deadline_seconds + 0.2)
    return tuple(
        found or Found(registry.name, State.UNREACHABLE, detail=late)
        for registry, found in zip(registries, answers, strict=True)
    )


def look(
    registry: Registry,
    tag: str,
    *,
    credentials: Credentials,
    deadline_seconds: float = DEADLINE_SECONDS,
    platform: str | None = None,
) -> Found:
    """Whether a pull would succeed, without pulling. Never raises for what a registry does, and
    ends at the deadline.

    With a platform, only what that platform's image needs decides; what else is missing is
    reported.
    """
    session = RegistrySession(registry, credentials, deadline_seconds)
    digest = None
    try:
        session.ping()
        digest, _, top = resolve(session, tag)
        found = _look_at_parts(session, digest, top)
        found = replace(found, name=registry.name, remark=_remark(session.head_refusal))
        return judged(found, (platform,) if platform else ())
    except NotServed as why:
        return Found(
            registry.name,
            why.state,
            digest or why.digest,
            why.missing,
            detail=inert(why.detail),
        )


def image_id(
    reference: str,
    registries: Iterable[Registry],
    *,
    platform: str,
    credentials: Credentials,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> ImageId:
    """The configuration's digest of REGISTRY/REPOSITORY:TAG, from the configured registry of that
    host, else from https://REGISTRY.
    """
    registry, tag = _registry_of(reference, registries)
    session = RegistrySession(registry, credentials, deadline_seconds)
    try:
        session.ping()
        digest, _, manifest = resolve(session, tag)
        for _ in range(INDEX_DEPTH):
            if "manifests" not in manifest:
                image_id, _ = read_descriptor(manifest["config"])
                size_bytes = _size_of(manifest)
                return ImageId(State.SERVES, image_id, digest=digest, size_bytes=size_bytes)
            child = child_for(manifest["manifests"], platform)
            manifest = read_child(session, child, f"its image for {platform}").content
        raise NotServed(State.BROKEN, "its indexes are nested too deep")
    except NotServed as why:
        return ImageId(why.state, None, why.missing, inert(why.detail))


def _size_of(manifest: dict[str, Any]) -> int | None:
    """Bytes of its configuration and layers; a layer may be in an image twice."""
    parts = dict(map(read_descriptor, (manifest["config"], *manifest["layers"])))
    sizes = [size for size in parts.values() if size is not None and size >= 0]
    return sum(sizes) if len(sizes) == len(parts) else None


def look_at(
    reference: str, registries: Iterable[Registry], *, platform: str, credentials: Credentials
) -> Found:
    """Whether a pull of REGISTRY/REPOSITORY:TAG for this platform would succeed; see `look`."""
    registry, tag = _registry_of(reference, registries)
    return look(registry, tag, credentials=credentials, platform=platform)


def _registry_of(reference: str, registries: Iterable[Registry]) -> tuple[Registry, str]:
    """The configured registry of the reference's host, else https://HOST; and the tag."""
    host, _, path = reference.partition("/")
    repository, _, tag = path.rpartition(":")
    return registry_at(host, repository, registries), tag


def _remark(head_refusal: int | None) -> str:
    if head_refusal in (None, 405):
        return ""
    return f"it refuses HEAD with HTTP {head_refusal}, and containerd then does not ask with GET"


def _look_at_parts(session: Session, digest: str, top: dict[str, Any]) -> Found:
    """Look at every child and every blob."""
    descriptors: list[Any] | None = top.get("manifests")
    reads = (
        _each(lambda child: _leaves(session, child), descriptors)
        if descriptors is not None
        else [[(None, top)]]
    )
    lost: list[tuple[str | None, NotServed]] = []
    leaves: list[tuple[str | None, dict[str, Any]]] = []
    for index, read in enumerate(reads):
        if isinstance(read, NotServed):
            lost.append((platform_of(descriptors[index]) if descriptors else None, read))
        else:
            leaves += read or []
    platforms = _each(lambda leaf: leaf[0] or _configured_platform(session, leaf[1]), leaves)
    needs: dict[tuple[str, int | None], list[str | None]] = {}
    image_ids: dict[str, str] = {}
    for (_, manifest), its in zip(leaves, platforms, strict=True):
        its_platform = None if isinstance(its, NotServed) else its
        lost += [(None, its)] if isinstance(its, NotServed) else []
        image_ids |= (
            {its_platform: manifest["config"]["digest"]}
            if its_platform and not its_platform.startswith("unknown/")
            else {}
        )
        for descriptor in (manifest["config"], *manifest["layers"]):
            needs.setdefault(read_descriptor(descriptor), []).append(its_platform)
    for users, part in zip(
        needs.values(), _each(lambda need: check_blob(session, *need), list(needs)), strict=True
    ):
        if isinstance(part, NotServed):
            lost += [(user, part) for user in users]
    parts = tuple(Lost(user, part.state, inert(part.detail), part.missing) for user, part in lost)
    return Found("", State.SERVES, digest, image_ids=image_ids, lost=parts)


def _each(ask: Callable[[Any], T], arguments: Sequence[Any]) -> list[T | NotServed | None]:
    """Ask for several parts at the same time; one that ends the look ends only its own part."""

    def caught(argument: Any) -> T | NotServed:
        try:
            return ask(argument)
        except NotServed as not_served:
            return not_served

    return together([partial(caught, argument) for argument in arguments], at_once=AT_ONCE)


def _leaves(
    session: Session, descriptor: Any, depth: int = 1
) -> list[tuple[str | None, dict[str, Any]]]:
    """(platform, manifest) of a child, which may be an index itself."""
    manifest = read_child(session, descriptor, "a child of the index").content
    if "manifests" not in manifest:
        return [(platform_of(descriptor), manifest)]
    if depth == INDEX_DEPTH:
        raise NotServed(State.BROKEN, "its indexes are nested too deep")
    return [leaf for child in manifest["manifests"] for leaf in _leaves(session, child, depth + 1)]


def _configured_platform(session: Session, manifest: dict[str, Any]) -> str | None:
    """The platform of an image outside an index: its configuration says it."""
    digest, _ = read_descriptor(manifest["config"])
    answer = session.ask("GET", f"blobs/{digest}")
    if answer.status != 200:
        return None
    verify(answer.body, digest)
    with contextlib.suppress(ValueError, RecursionError):
        return spelled(json.loads(answer.body))
    return None
