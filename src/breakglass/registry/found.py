"""What a look at a registry comes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from breakglass.remote.distribution.answers import State


@dataclass(frozen=True)
class Lost:
    """A part of an image that a pull of one platform's image would lack."""

    platform: str | None
    """None: it is not known which platform needs it."""
    state: State
    detail: str
    missing: tuple[str, ...] = ()
    """Its digest, unless it was only not reached."""


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
    remark: str = ""
    """What is said also where it serves."""
    lost: tuple[Lost, ...] = ()
    """What the verdict follows from, where the look came to its end."""


@dataclass(frozen=True)
class ImageId:
    """What a registry says that a reference means now."""

    state: State
    image_id: str | None = None
    """None unless the state is SERVES."""
    digest: str | None = field(default=None, kw_only=True)
    """Of what the tag means, index or manifest."""
    size_bytes: int | None = field(default=None, kw_only=True)
    """Of its configuration and layers, as the registry has them; None: not known."""
    missing: tuple[str, ...] = ()
    detail: str = ""
