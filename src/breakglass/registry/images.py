"""Whether an image could be pulled: its index, every manifest and every blob of it are asked for,
and none is taken along.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from breakglass.config import Registry, registry_at
from breakglass.deadline import together
from breakglass.registry.credentials import Credentials
from breakglass.registry.found import Found, ImageId
from breakglass.registry.session import LoginSession
from breakglass.remote.distribution.answers import NotServed, State
from breakglass.remote.distribution.manifests import INDEX_DEPTH, read_descriptor, verify
from breakglass.remote.distribution.platforms import child_for, normal, platform_of, spelled
from breakglass.remote.distribution.pull import ask_blob, judge_blob, read_child, resolve
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
    session = LoginSession(registry, credentials, deadline_seconds)
    digest = None
    try:
        session.ping()
        digest, top = resolve(session, tag)
        return _judge(session, registry.name, digest, top, platform)
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
    host, _, path = reference.partition("/")
    repository, _, tag = path.rpartition(":")
    session = LoginSession(registry_at(host, repository, registries), credentials, deadline_seconds)
    try:
        session.ping()
        _, manifest = resolve(session, tag)
        for _ in range(INDEX_DEPTH):
            if "manifests" not in manifest:
                return ImageId(State.SERVES, read_descriptor(manifest["config"])[0])
            child = child_for(manifest["manifests"], platform)
            manifest = read_child(session, child, f"its image for {platform}")
        raise NotServed(State.BROKEN, "its indexes are nested too deep")
    except NotServed as why:
        return ImageId(why.state, None, why.missing, inert(why.detail))


def _judge(
    session: Session, name: str, digest: str, top: dict[str, Any], platform: str | None
) -> Found:
    """Look at every child and every blob; then say what that comes to."""
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
        needs.values(), _each(lambda need: _check_blob(session, *need), list(needs)), strict=True
    ):
        if isinstance(part, NotServed):
            lost += [(user, part) for user in users]
    return _verdict(
        Found(name, State.SERVES, digest, image_ids=image_ids),
        lost,
        normal(platform) if platform else None,
    )


def _verdict(found: Found, lost: list[tuple[str | None, NotServed]], platform: str | None) -> Found:
    broken = [part for _, part in lost if part.state is State.BROKEN]
    missing = tuple(dict.fromkeys(digest for part in broken for digest in part.missing))
    details = list(dict.fromkeys(part.detail for part in broken))
    words = inert("; ".join(details[:3]))
    if len(details) > 3:
        words += f"; and {len(details) - 3} more"
    # A part of unknown platform may be for any node.
    decisive = [part for user, part in lost if platform is None or user in (None, platform)]
    if any(part.state is State.BROKEN for part in decisive):
        return replace(found, state=State.BROKEN, missing=missing, detail=words)
    if decisive:
        return replace(found, state=decisive[0].state, detail=inert(decisive[0].detail))
    if platform is not None and platform not in found.image_ids:
        return replace(
            found,
            state=State.BROKEN,
            missing=missing,
            detail=(
                f"there is no image for {platform}, only for "
                f"{inert(', '.join(found.image_ids)) or 'none'}"
            ),
        )
    return replace(
        found, missing=missing, detail=f"only for other platforms: {words}" if words else ""
    )


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
    manifest = read_child(session, descriptor, "a child of the index")
    if "manifests" not in manifest:
        return [(platform_of(descriptor), manifest)]
    if depth == INDEX_DEPTH:
        raise NotServed(State.BROKEN, "its indexes are nested too deep")
    return [leaf for child in manifest["manifests"] for leaf in _leaves(session, child, depth + 1)]


def _check_blob(session: Session, digest: str, size: int | None) -> None:
    judge_blob(ask_blob(session, digest), digest, size)


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
