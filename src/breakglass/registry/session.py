"""A registry, asked with the login that docker or podman keep for it on the operator's machine."""

import os
import time
from functools import partial
from pathlib import Path
from ssl import SSLContext
from urllib.parse import urlsplit

from breakglass import __version__
from breakglass.config import Registry
from breakglass.local_files import read_regular
from breakglass.remote.distribution.answers import NotServed, State, too_many
from breakglass.remote.distribution.connection import Connection
from breakglass.remote.distribution.login_session import LoginSession
from breakglass.remote.distribution.logins import Credentials
from breakglass.remote.distribution.timed import until
from breakglass.remote.distribution.urls import origin
from breakglass.remote.tls import system_context


class RegistrySession(LoginSession):
    """One configured registry for the time of one look."""

    def __init__(
        self, registry: Registry, credentials: Credentials, deadline_seconds: float
    ) -> None:
        connection = Connection(
            partial(_context, registry.ca),
            left=until(time.monotonic() + deadline_seconds),
            late=f"no complete answer within {deadline_seconds:g} s",
            user_agent=f"breakglass/{__version__}",
            environ=os.environ,
        )
        super().__init__(connection, registry.url, registry.repository, credentials)

    def ping(self) -> None:
        """Whether there is a registry at all, and which login it wants."""
        answer = self.send("GET", f"{self._url}/v2/", {})
        if answer.status == 401 and origin(answer.url) == origin(self._url):
            # Where no login will do, the manifest may still be there for everybody.
            self.authorize(answer, None)
        elif answer.status == 429:
            raise too_many(answer, "HTTP 429 for /v2/: ")
        elif answer.status == 403:
            raise NotServed(State.REFUSES, f"HTTP 403 for /v2/; {self._login_words}")
        elif answer.status != 200 or urlsplit(answer.url).hostname != urlsplit(self._url).hostname:
            raise NotServed(
                State.UNREACHABLE,
                f"what answers there is no registry: HTTP {answer.status} for {answer.url}",
            )


def _context(ca: Path | None) -> SSLContext:
    context = system_context()
    if ca is not None:
        try:
            read_regular(ca)
            context.load_verify_locations(ca)
        except OSError as error:
            raise NotServed(
                State.UNREACHABLE, f"the CA file {ca} cannot be used: {error.strerror or error}"
            ) from error
    return context
