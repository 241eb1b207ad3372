"""The logins that registries may want, read from the files where docker and podman keep theirs."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from breakglass.local_files import read_regular
from breakglass.text import inert


@dataclass(frozen=True)
class Login:
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Credentials:
    """The logins of one file. The format: docker's config.json, containers-auth.json(5)."""

    source: str = "(no file)"
    logins: Mapping[str, Login] = field(default_factory=dict, repr=False)
    excuses: Mapping[str, str] = field(default_factory=dict)
    """Host -> why its login is of no use; the key "" stands for every host."""

    def find(self, host: str, repository: str) -> Login | None:
        """The login for a host; one for a part of its repositories comes first."""
        keys = [
            *_prefixes(f"{host}/{repository}"),
            *(("index.docker.io", "docker.io") if host == "registry-1.docker.io" else ()),
        ]
        return next((self.logins[key] for key in keys if key in self.logins), None)

    def explain(self, host: str) -> str:
        """Why there is no login for a host."""
        return (
            self.excuses.get(host)
            or self.excuses.get("")
            or f"there is no login for {host} in {self.source}"
        )


def read_credentials(environ: Mapping[str, str], home: Path) -> Credentials:
    """From $REGISTRY_AUTH_FILE, else ~/.docker/config.json. A file that cannot be read is an
    excuse, printed when a registry refuses us.
    """
    path = Path(environ.get("REGISTRY_AUTH_FILE") or home / ".docker" / "config.json")
    try:
        document = json.loads(read_regular(path).content)
        auths, helpers = document.get("auths") or {}, document.get("credHelpers") or {}
        entries = {_key(name): entry for name, entry in auths.items() if isinstance(entry, dict)}
        stores = {_key(host): str(helper) for host, helper in helpers.items()} | (
            {"": str(document["credsStore"])} if document.get("credsStore") else {}
        )
    except OSError as error:
        return Credentials(str(path), excuses={"": f"{path} cannot be read: {error.strerror}"})
    except (ValueError, AttributeError, RecursionError):
        return Credentials(str(path), excuses={"": f"{path} is not a file of registry logins"})
    logins: dict[str, Login] = {}
    elsewhere = (
        "its login is kept by docker-credential-{}, which breakglass does not run: put it into a "
        "file and name that in $REGISTRY_AUTH_FILE"
    )
    excuses = {host: elsewhere.format(inert(helper)) for host, helper in stores.items()}
    for key, entry in entries.items():
        if key in stores or not any(
            entry.get(name) for name in ("auth", "username", "identitytoken")
        ):
            continue
        try:
            logins[key] = _login(entry)
        except ValueError:
            excuses[key] = f"the login for {inert(key)} in {path} is malformed"
    return Credentials(str(path), logins, excuses)


def _key(name: str) -> str:
    """`https://HOST/v1/` means HOST; `HOST/some/path` without a scheme is for those
    repositories.
    """
    bare = re.sub("^https?://", "", name)
    return bare.partition("/")[0] if bare != name else bare.rstrip("/")


def _prefixes(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _login(entry: Mapping[str, Any]) -> Login:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        # docker pads with NULs.
        username, colon, password = (
            base64.b64decode(str(entry["auth"]), validate=True).decode().rstrip("\0").partition(":")
        )
        if not colon:
            raise ValueError("no colon")
    return Login(username, password, str(entry.get("identitytoken") or ""))
