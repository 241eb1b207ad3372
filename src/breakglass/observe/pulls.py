"""What the registries do when a node pulls from them, asked from the node."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from breakglass.observe.program import ask_program
from breakglass.plan import Host
from breakglass.ports import Reads
from breakglass.remote.distribution.answers import State
from breakglass.text import inert

_STATE = re.compile("|".join(State))
_PULL = {
    "registry": str,
    "repository": str,
    "tag": str,
    "url": str,
    "state": _STATE,
    "detail": str,
    "missing": [str],
}


@dataclass(frozen=True)
class Pull:
    """What one registry does when the node pulls one name from it."""

    registry: str
    name: str
    state: State
    detail: str
    url: str = ""
    missing: tuple[str, ...] = field(default=())


def read_pulls(reads: Reads, host: Host, questions: list[dict[str, Any]]) -> tuple[Pull, ...]:
    """What the registries do, asked from the node, each by its own deadline."""
    if not questions:
        return ()
    arguments = ("registries", json.dumps(questions, separators=(",", ":")))
    answers = ask_program(reads, host, arguments, [_PULL])
    return tuple(
        Pull(
            registry=answer["registry"],
            name=f"{answer['registry']}/{answer['repository']}:{answer['tag']}",
            state=State(answer["state"]),
            detail=inert(answer["detail"]),
            url=answer["url"],
            missing=tuple(map(inert, answer["missing"])),
        )
        for answer in answers
    )
