"""hosts.toml as text, and what is composed of it."""

import tomllib
from typing import Any

import pytest

from breakglass.commands.hosts_toml import Insertion, compose
from breakglass.errors import Refused
from breakglass.observe.answering import Site

REGISTRY = "registry.example:5050"


SERVER = f"https://{REGISTRY}"


CERTS = "/etc/containerd/certs.d"


FILE = f"{CERTS}/{REGISTRY}/hosts.toml"


ADDRESS = "http://127.0.0.1:4000"


OURS = {"capabilities": ["pull", "resolve"]}


def site(text: str | None = None, **more: Any) -> Site:
    return Site(more.pop("registry", REGISTRY), more.pop("file", FILE), text=text, **more)


def composed(text: str | None, *, first: bool = False, **more: Any) -> dict[str, Any]:
    where = site(text, **more)
    return tomllib.loads(compose(where, text, address=ADDRESS, first=first).text)


def refused(text: str | None, *, first: bool = False, **more: Any) -> str:
    where = site(text, **more)
    with pytest.raises(Refused) as caught:
        compose(where, text, address=ADDRESS, first=first)
    assert "without serving the image locally" in caught.value.next_step.advice
    assert caught.value.message.startswith(FILE)
    return f"{caught.value.message}; {caught.value.next_step}"


def inserted(insertion: Insertion) -> str:
    """What `taken insert` makes of it (tests of that script stand beside this file)."""
    lines = (insertion.base or "").split("\n")
    if lines[-1] == "":
        lines.pop()
    at = len(lines) if insertion.before == "end" else int(insertion.before) - 1
    return "".join(f"{line}\n" for line in [*lines[:at], *insertion.lines, *lines[at:]])
