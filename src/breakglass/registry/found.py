"""What a look at a registry comes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

from breakglass.remote.distribution.answers import NotServed

State = Literal["serves", "unreachable", "refuses", "lacks the tag", "broken"]


@dataclass(frozen=True)
class Found:
    """What one registry serves under a tag."""

    name: str
    state: State
    digest: str | None = None
    """Of what the tag means, index or manifest."""
    missing: tuple[str, ...] = ()
    """Digests of what is gone, or not what its digest and size say."""
    image_ids: Mapping[str, str] = field(default_factory=dict)
    """Platform -> digest of the configuration."""
    detail: str = ""


@dataclass(frozen=True)
class ImageId:
    """What a registry says that a reference means now."""

    state: State
    image_id: str | None = None
    """None unless the state is `serves`."""
    missing: tuple[str, ...] = ()
    detail: str = ""


def state_of(not_served: NotServed) -> State:
    """The state of a registry from which a pull would not succeed."""
    return "lacks the tag" if not_served.state == "lacks" else cast(State, not_served.state)
