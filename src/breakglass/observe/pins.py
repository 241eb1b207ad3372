"""What the annotations of a node say: the pins in force, and what there is to undo on it."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from breakglass.errors import Refused
from breakglass.marks import Mark
from breakglass.observe.cluster import Node, Pin, parse_pin
from breakglass.shape import fits, parse_json

_HOLD = {"run": str, "by": str, "at": str}


@dataclass(frozen=True)
class Hold:
    """`breakglass/holds` of a node on which a run has left something to undo."""

    run: str
    by: str
    at: str

    def text(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))


def parse_hold(annotation: str | None) -> Hold | None:
    """None for an annotation that cannot be read. On the target of a pin it has the form of a pin,
    which has the same fields and more.
    """
    try:
        data = parse_json(annotation or "")
    except ValueError:
        return None
    return Hold(data["run"], data["by"], data["at"]) if fits(data, _HOLD) else None


def pin_held(mark: Mark) -> Pin | None:
    """The pin whose target this node is."""
    try:
        return None if mark.holds is None else parse_pin(mark.holds)
    except Refused:
        return None


def pins_of(mark: Mark) -> tuple[Pin, ...]:
    """The pins that one node carries. Raises Refused where its `breakglass/pinned` cannot be
    read.
    """
    held = pin_held(mark)
    pinned = () if mark.annotation is None else (parse_pin(mark.annotation),)
    return (*pinned, *((held,) if held else ()))


def pins_in_force(nodes: Iterable[Node]) -> tuple[Pin, ...]:
    """Every pin that any node carries. Raises Refused like `pins_of`."""
    return tuple(pin for node in nodes for pin in pins_of(node.mark))


def run_of(annotation: str | None) -> str | None:
    """The run that wrote an annotation of ours; None: it cannot be read."""
    hold = parse_hold(annotation)
    return hold.run if hold else None
