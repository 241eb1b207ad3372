"""What a look at a registry means for some platforms."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from breakglass.registry.found import Found, Lost
from breakglass.remote.distribution.answers import State
from breakglass.remote.distribution.platforms import best_for, normal
from breakglass.text import inert


def judged(found: Found, platforms: Collection[str], *, all_needed: bool = False) -> Found:
    """The state of a registry for these platforms; without any, for all that the image has.

    What only other platforms need, or nobody who pulls (attestations), is a remark. `all_needed`:
    the image must be there for each of the platforms, else for at least one.
    """
    offered = {*found.image_ids, *(part.platform for part in found.lost if part.platform)}
    if not offered and not found.lost:
        return replace(found, detail=found.detail or found.remark)
    images = {platform for platform in offered if not platform.startswith("unknown/")}
    wanted, absent = images, list[str]()
    if platforms:
        best = {platform: best_for(normal(platform), images) for platform in platforms}
        wanted = {image for image in best.values() if image}
        absent = [platform for platform, image in best.items() if image is None]
    # A part of unknown platform may be for any node.
    decisive = [part for part in found.lost if part.platform is None or part.platform in wanted]
    broken = [part for part in decisive if part.state is State.BROKEN]
    others = [part for part in found.lost if part.state is State.BROKEN and part not in decisive]
    missing = tuple(dict.fromkeys(digest for part in broken + others for digest in part.missing))
    if broken:
        return replace(found, state=State.BROKEN, missing=missing, detail=_words(broken + others))
    if decisive:
        return replace(found, state=decisive[0].state, missing=(), detail=decisive[0].detail)
    if absent and (all_needed or not wanted):
        detail = f"there is no image for {_listed(absent)}, only for {_listed(images)}"
        return replace(found, state=State.BROKEN, missing=missing, detail=detail)
    remarks = [found.remark] if found.remark else []
    if others:
        remarks.append(f"lost, but not needed for {_listed(wanted)}: {_words(others)}")
    return replace(found, state=State.SERVES, missing=missing, detail="; ".join(remarks))


def _words(parts: list[Lost]) -> str:
    details = list(dict.fromkeys(part.detail for part in parts))
    words = inert("; ".join(details[:3]))
    return words if len(details) <= 3 else f"{words}; and {len(details) - 3} more"


def _listed(platforms: Iterable[str]) -> str:
    return inert(", ".join(sorted(platforms))) or "none"
