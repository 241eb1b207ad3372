"""What registries serve, asked as a client that pulls would ask. The only package that speaks HTTP
to registries.

Nothing is believed unseen: a manifest counts when its bytes hash to its digest, a blob when bytes
of it come and it has its length.
"""

from breakglass.registry.credentials import read_credentials
from breakglass.registry.found import Found, ImageId, Lost
from breakglass.registry.images import image_id, look, look_all, look_at
from breakglass.registry.judgement import judged
from breakglass.remote.distribution.answers import State
from breakglass.remote.distribution.logins import Credentials, Login

__all__ = [
    "Credentials",
    "Found",
    "ImageId",
    "Login",
    "Lost",
    "State",
    "image_id",
    "judged",
    "look",
    "look_all",
    "look_at",
    "read_credentials",
]
