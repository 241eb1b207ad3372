"""What registries serve, asked as a client that pulls would ask. The only package that speaks HTTP
to registries.

Nothing is believed unseen: a manifest counts when its bytes hash to its digest, a blob when it is
there at its length.
"""

from breakglass.registry.credentials import Credentials, Login, read_credentials
from breakglass.registry.found import Found, ImageId
from breakglass.registry.images import image_id, look, look_all, look_at
from breakglass.remote.distribution.answers import State

__all__ = [
    "Credentials",
    "Found",
    "ImageId",
    "Login",
    "State",
    "image_id",
    "look",
    "look_all",
    "look_at",
    "read_credentials",
]
