"""The platforms for which a registry has to serve the image: those of the nodes."""

from collections.abc import Callable, Collection, Iterable
from functools import partial

from breakglass.deadline import Late, together, within
from breakglass.errors import BreakglassError
from breakglass.observe.cluster import Node
from breakglass.registry import Found, judged

SECONDS = 8.2
"""As long as the registries may take: `check` answers within ten."""
USUAL = "linux/amd64"


def for_nodes(
    look: Callable[[], tuple[Found, ...]],
    nodes: Callable[[], Iterable[Node]],
    *,
    configured: Collection[str],
) -> tuple[Found, ...]:
    """What the registries serve to the nodes, which are asked for meanwhile."""
    if configured:
        return judged_for(look(), (), configured=configured)
    questions: list[Callable[[], tuple[Found, ...] | tuple[Node, ...]]] = [
        look,
        partial(_known, nodes),
    ]
    found, known = together(questions)
    return judged_for(found, known, configured=())  # type: ignore[arg-type]  # in their order


def judged_for(
    looks: Iterable[Found], nodes: Iterable[Node], *, configured: Collection[str]
) -> tuple[Found, ...]:
    """The looks for `image.platforms`, each of which is needed, else for those of the nodes."""
    if configured:
        return tuple(judged(found, configured, all_needed=True) for found in looks)
    platforms = {f"linux/{node.architecture}" for node in nodes if node.architecture}
    return tuple(judged(found, platforms or _usual(found)) for found in looks)


def _usual(found: Found) -> tuple[str, ...]:
    """Where no node is known: the usual platform, if the image was ever meant for it."""
    offered = {*found.image_ids, *(part.platform for part in found.lost)}
    return (USUAL,) if USUAL in offered else ()


def _known(nodes: Callable[[], Iterable[Node]]) -> tuple[Node, ...]:
    try:
        return tuple(within(SECONDS, nodes))
    except (Late, BreakglassError):
        return ()
