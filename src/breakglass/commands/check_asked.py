"""The registries' answers, and how sentences name several registries."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from breakglass.config import Registry
from breakglass.registry import Found, State

NOT_KNOWN = {
    State.REFUSES: "refused us (401, 403)",
    State.UNTRUSTED: "shows a certificate that is not trusted here",
}
"""States that say nothing about the image: a node may have another login, or other CAs."""
IN_WORDS = {
    **NOT_KNOWN,
    State.UNREACHABLE: "was not reached",
    State.LACKS: "lacks the tag",
    State.BROKEN: "has a broken image",
}


@dataclass(frozen=True)
class Asked:
    """A registry and its answer."""

    registry: Registry
    found: Found

    @property
    def serves(self) -> bool:
        return self.found.state is State.SERVES

    @property
    def is_known(self) -> bool:
        return self.found.state not in NOT_KNOWN

    @property
    def host(self) -> str:
        return urlsplit(self.registry.url).netloc

    def __str__(self) -> str:
        return self.registry.name


def names(asked: Sequence[Asked], tag: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names by which pods start, and those by which they do not. A name is in neither where it
    is not known.
    """
    starting = [each for each in asked if each.serves]
    failing = [each for each in asked if not each.serves and each.is_known]
    return tagged(starting, tag), tagged(failing, tag)


def tagged(asked: Sequence[Asked], tag: str) -> tuple[str, ...]:
    return tuple(f"{name}:{tag}" for each in asked for name in each.registry.names)


def all_of(asked: Sequence[Asked]) -> str:
    return joined(tuple(map(str, asked)))


def any_of(asked: Sequence[Asked]) -> str:
    return " or ".join(map(str, asked))


def joined(words: Sequence[str]) -> str:
    return " and ".join((*((", ".join(words[:-1]),) if words[1:] else ()), *words[-1:]))
