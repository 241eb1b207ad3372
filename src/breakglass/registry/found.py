"""What a look at a registry comes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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


class Ended(Exception):
    """The look ended, or one part of it, with this."""

    def __init__(
        self,
        state: State,
        detail: str = "",
        *,
        missing: tuple[str, ...] = (),
        digest: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.state, self.detail, self.missing, self.digest = state, detail, missing, digest
