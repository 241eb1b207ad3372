"""Platforms, OS/ARCHITECTURE[/VARIANT], and the choice among the children of an index."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from breakglass.remote.distribution.answers import NotServed, State

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
VARIANTS = {"amd64": ("",), "arm64": ("", "v8"), "arm": ("v7", "", "v6", "v5")}
"""Which of an architecture's variants containerd takes, the best first."""


def child_for(children: list[Any], platform: str) -> Any:
    """The child that containerd would take.

    One without a platform is the last resort; attestations are for unknown/unknown.
    """
    ranked = ((_rank(child, platform), position) for position, child in enumerate(children))
    best = min(((rank, position) for rank, position in ranked if rank is not None), default=None)
    if best is None:
        raise NotServed(State.BROKEN, f"its index has no image for {platform}")
    return children[best[1]]


def best_for(platform: str, offered: Iterable[str]) -> str | None:
    """The one of these platforms whose image containerd would take; None: none of them."""
    keys = ("os", "architecture", "variant")
    ranked = [
        (_rank({"platform": dict(zip(keys, each.split("/")))}, platform), each) for each in offered
    ]
    fitting = [(rank, each) for rank, each in ranked if rank is not None]
    return min(fitting)[1] if fitting else None


def _rank(child: Any, platform: str) -> int | None:
    """0 is the best; None: it is for another platform."""
    system, _, machine = platform.partition("/")
    architecture, _, variant = machine.partition("/")
    architecture = ARCHITECTURES.get(architecture, architecture)
    variants = (variant,) if variant else VARIANTS.get(architecture, ("",))
    offered = child.get("platform") if isinstance(child, dict) else None
    if not isinstance(offered, dict):
        return len(variants)
    offered_architecture = str(offered.get("architecture"))
    if offered.get("os") != system:
        return None
    if ARCHITECTURES.get(offered_architecture, offered_architecture) != architecture:
        return None
    offered_variant = offered.get("variant") or ""
    return variants.index(offered_variant) if offered_variant in variants else None


def platform_of(descriptor: Any) -> str | None:
    """What an index says that a child is for."""
    return spelled(descriptor.get("platform") if isinstance(descriptor, dict) else None)


def spelled(value: Any) -> str | None:
    """The platform in the keys of an index's child or of a configuration."""
    if not isinstance(value, dict) or not value.get("os") or not value.get("architecture"):
        return None
    keys = ("os", "architecture", "variant")
    return normal("/".join(str(value[key]) for key in keys if value.get(key)))


def normal(platform: str) -> str:
    """One spelling for what has two."""
    return re.sub("/arm64/v8$", "/arm64", platform)
