"""The logins that registries may want, as docker and podman keep them in a file."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from breakglass.remote.faults import inert


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
    helpers: Mapping[str, str] = field(default_factory=dict)
    """Host, or "" for every host -> the program that keeps its login: none is run."""
    advice: str = ""
    """What helps where a program keeps the login."""

    def find(self, host: str, repository: str) -> Login | None:
        """The login for a host; one for a part of its repositories comes first."""
        keys = [*_prefixes(f"{host}/{repository}"), *_other_names(host)]
        return next((self.logins[key] for key in keys if key in self.logins), None)

    def helper_for(self, host: str) -> str | None:
        """The program that keeps the login for a host."""
        keys = [host, *_other_names(host), ""]
        return next((self.helpers[key] for key in keys if key in self.helpers), None)

    def explain(self, host: str) -> str:
        """Why there is no login for a host."""
        helper = self.helper_for(host)
        if helper is not None:
            kept = f"its login is kept by {helper}, which breakglass does not run"
            return kept + (f": {self.advice}" if self.advice else "")
        return (
            self.excuses.get(host)
            or self.excuses.get("")
            or f"there is no login for {host} in {self.source}"
        )


def read_logins(text: str | bytes, source: str, *, advice: str = "") -> Credentials:
    """`source`: what the file is called in sentences."""
    try:
        document = json.loads(text)
        auths, helpers = document.get("auths") or {}, document.get("credHelpers") or {}
        entries = {_key(name): entry for name, entry in auths.items() if isinstance(entry, dict)}
        stores = {_key(host): _program(helper) for host, helper in helpers.items()}
        if document.get("credsStore"):
            stores[""] = _program(document["credsStore"])
    except (ValueError, AttributeError, RecursionError):
        return Credentials(source, excuses={"": f"{source} is not a file of registry logins"})
    logins: dict[str, Login] = {}
    excuses: dict[str, str] = {}
    for key, entry in entries.items():
        if key in stores or not any(
            entry.get(name) for name in ("auth", "username", "identitytoken")
        ):
            continue
        try:
            logins[key] = _login(entry)
        except ValueError:
            excuses[key] = f"the login for {inert(key)} in {source} is malformed"
    return Credentials(source, logins, excuses, stores, advice)


def basic(login: Login) -> str:
    """The value of the header Authorization."""
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


def _program(helper: object) -> str:
    return f"docker-credential-{inert(str(helper))}"


def _key(name: str) -> str:
    """`https://HOST/v1/` means HOST; `HOST/some/path` without a scheme is for those
    repositories.
    """
    bare = re.sub("^https?://", "", name)
    return bare.partition("/")[0] if bare != name else bare.rstrip("/")


def _other_names(host: str) -> tuple[str, ...]:
    return ("index.docker.io", "docker.io") if host == "registry-1.docker.io" else ()


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
