"""Where an image is read from: a registry as the docker of this host would ask it."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from breakglass.remote.archive.references import REFERENCE
from breakglass.remote.distribution import downloads
from breakglass.remote.distribution.answers import NotServed, State, Unusable
from breakglass.remote.distribution.connection import Connection
from breakglass.remote.distribution.login_session import LoginSession
from breakglass.remote.distribution.logins import Credentials, read_logins
from breakglass.remote.distribution.timed import silence
from breakglass.remote.limits import DOCUMENT_BYTES
from breakglass.remote.registries.endpoints import context_of

CERTIFICATES = Path("/etc/docker/certs.d")
"""docker's own: a directory for each registry, HOST or HOST:PORT."""
MANIFEST_URL = (
    r"(https?://[A-Za-z0-9\[][A-Za-z0-9.:\]_-]*)"
    r"/v2/((?!.*\.\.)[A-Za-z0-9](?:[A-Za-z0-9/._-]*[A-Za-z0-9])?)"
    r"/manifests/(sha256:[0-9a-f]{64}|[A-Za-z0-9_][A-Za-z0-9._-]{0,127})"
)


class Origin(NamedTuple):
    """A name, and the manifest that it stands for."""

    name: str
    url: str
    """Of the registry, without /v2."""
    repository: str
    manifest: str
    """A digest, or a tag."""

    @property
    def host(self) -> str:
        """With its port."""
        return urlsplit(self.url).netloc


def origin_of(text: str) -> Origin:
    """Of `REFERENCE=URL`. Raises ValueError."""
    name, _, url = text.partition("=")
    matched = re.fullmatch(MANIFEST_URL, url)
    if not re.fullmatch(REFERENCE, name) or not matched:
        raise ValueError(text)
    _ = urlsplit(matched[1]).port  # Raises it, too.
    return Origin(name, *matched.groups())


def session_with(origin: Origin, credentials: Credentials) -> LoginSession:
    connection = Connection(
        partial(_context_for, origin.host),
        left=silence(downloads.SILENCE_SECONDS),
        late=f"no answer within {downloads.SILENCE_SECONDS:g} s",
        user_agent="breakglass",
        environ=os.environ,
    )
    return LoginSession(connection, origin.url, origin.repository, credentials)


def docker_logins(environ: Mapping[str, str]) -> Credentials:
    """From docker's config.json. A file that cannot be read is an excuse, printed when a registry
    refuses us.
    """
    try:
        path = Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    except (RuntimeError, KeyError):  # A user without a home directory.
        return Credentials()
    try:
        with path.open("rb") as file:
            content = file.read(DOCUMENT_BYTES + 1)
    except FileNotFoundError:
        return Credentials(str(path))
    except OSError as error:
        return Credentials(str(path), excuses={"": f"{path} cannot be read: {error.strerror}"})
    return read_logins(content, str(path))


def _context_for(host: str) -> ssl.SSLContext:
    """TLS as docker is configured for the host."""
    directory = CERTIFICATES / host
    try:
        files = sorted(map(str, directory.iterdir())) if directory.is_dir() else []
        pairs = [[file, f"{file[:-5]}.key"] for file in files if file.endswith(".cert")]
        authorities = [file for file in files if file.endswith(".crt")]
        return context_of({"skip_verify": False, "ca": authorities, "client": pairs})
    except OSError as error:
        why = f"{directory} cannot be read: {error.strerror}"
        raise Unusable(State.UNREACHABLE, why) from error
    except NotServed as not_served:  # dockerd is root, and may be able to read it.
        raise Unusable(State.UNREACHABLE, not_served.detail) from not_served
