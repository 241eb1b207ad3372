"""hosts.toml: the lines that list our responder beside a registry (containerd, docs/hosts.md).

containerd tries the hosts in the order of the file, and the server, which is the registry itself
where none is named, last.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from breakglass.commands.hosts_toml_reading import (
    cannot_list,
    is_same_host,
    read_document,
    server_of,
)
from breakglass.observe.answering import MARK, Site
from breakglass.shape import parse_toml

SETTINGS = ("capabilities", "ca", "client", "skip_verify", "header", "override_path")
_HOST = re.compile(r"""\s*\[\s*(host|"host"|'host')\s*\.""")
CAPABILITIES = 'capabilities = ["pull", "resolve"]'
_MARKED = (
    f"{MARK}, so that this node answers pulls as well; `breakglass restore` takes these lines out"
)


@dataclass(frozen=True)
class Insertion:
    """Lines to be put before a line of a file (the first has number 1), or at its end."""

    before: str
    lines: tuple[str, ...]
    text: str
    """The file's text afterwards."""
    base: str | None
    """Its text before; where it is new, that of the file in _default that it is a copy of. The
    lines never repeat what the node has: it may hold secrets.
    """


def compose(site: Site, original: str | None, *, address: str, first: bool) -> Insertion:
    """Lists `address` (http://127.0.0.1:PORT) after the registry and its mirrors, or before all of
    them.

    Raises Refused for a file that cannot be understood, or that no lines can be added to.
    """
    base = original if original is not None else site.default
    document = read_document(site, original)
    hosts = list(document.get("host", {}))
    server = server_of(site, document)
    if site.linked and not document.get("server"):
        raise cannot_list(
            site,
            "it is reached over a link, so other registries may share it, and it names no server",
            f"put a line into it: server = {_toml(server)}",
        )
    certificates = {} if hosts else _certificates(site)
    # A server that is not among the hosts comes after all of them, and so after our lines. To
    # stay before them it is repeated as a host.
    repeats = not first and not any(is_same_host(host, server) for host in hosts)
    settings = {**certificates, **{key: document[key] for key in SETTINGS if key in document}}
    try:
        heading = [] if base else _heading(server, certificates)
        registry = _server_as_host(site, server, settings) if repeats else []
    except TypeError as error:
        why = f"one of its settings is of a kind that none of containerd's is: {error}"
        raise cannot_list(site, why, "repair it") from error
    ours = [f"[host.{_toml(address)}]", f"  {CAPABILITIES}"]
    before, lines, text = _insert(base, [_MARKED, *heading, *registry, *ours], first=first)
    expected = [address, *hosts] if first else [*hosts, *([server] if repeats else []), address]
    _check(site, text, expected=expected, document=document if base else {})
    return Insertion(before, lines, text, base)


def _certificates(site: Site) -> dict[str, Any]:
    """What containerd takes from the directory of a registry that has no hosts.toml."""
    certificates = {"ca": list(site.ca), "client": [list(pair) for pair in site.client]}
    return {key: paths for key, paths in certificates.items() if paths}


def _heading(server: str, certificates: dict[str, Any]) -> list[str]:
    """The first lines of a new file."""
    named = [f"{key} = {_toml(paths)}" for key, paths in certificates.items()]
    return [f"server = {_toml(server)}", *named, ""]


def _server_as_host(site: Site, server: str, settings: dict[str, Any]) -> list[str]:
    """The table that repeats the server as a host, with the server's settings.

    Raises Refused where that would repeat a secret.
    """
    if "@" in server:
        raise cannot_list(
            site,
            "the login in its server's address would have to be repeated in it",
            'list the registry in it as its own host: [host."https://..."]',
        )
    if "header" in settings:
        raise cannot_list(
            site,
            "the registry's own `header` would have to be repeated in it, and may hold a secret",
            f"list the registry in it as its own host, with that header: [host.{_toml(server)}]",
        )
    return [f"[host.{_toml(server)}]", *(f"  {line}" for line in _settings(settings)), ""]


def _insert(base: str | None, block: list[str], *, first: bool) -> tuple[str, tuple[str, ...], str]:
    """(the line that the block comes before, or "end"; the block with its empty lines; the file's
    text afterwards): before the first host, or at the end.
    """
    lines = base.split("\n") if base else []
    if lines and lines[-1] == "":
        lines.pop()
    index = len(lines)
    if first:
        index = next((number for number, line in enumerate(lines) if _HOST.match(line)), index)
    if index < len(lines):
        block = [*block, ""]
    elif lines:
        block = ["", *block]
    text = "".join(f"{line}\n" for line in [*lines[:index], *block, *lines[index:]])
    return "end" if index == len(lines) else str(index + 1), tuple(block), text


def _check(site: Site, text: str, *, expected: list[str], document: dict[str, Any]) -> None:
    """Reads the new text as containerd will. Raises Refused where the order of the hosts is not the
    expected one, or where something else has changed.
    """
    usual = 'give it the usual form, [host."https://..."] tables behind the other lines'
    try:
        composed = parse_toml(text)
    except ValueError as error:
        raise cannot_list(site, f"no host can be added to it: {error}", usual) from error
    hosts, before = composed.get("host", {}), document.get("host", {})
    keys = [key for key in document if key != "host"]
    same_keys = all(composed.get(key) == document[key] for key in keys)
    same_hosts = all(hosts.get(url) == settings for url, settings in before.items())
    if list(hosts) != expected or not same_keys or not same_hosts:
        raise cannot_list(site, "no host can be added to it without changing what it says", usual)


def _settings(settings: dict[str, Any]) -> list[str]:
    named = [f"{key} = {_toml(value)}" for key, value in settings.items()]
    return named if "capabilities" in settings else [CAPABILITIES, *named]


def _toml(value: Any) -> str:
    """Strings, booleans, numbers and arrays are written alike in TOML and in JSON."""
    if isinstance(value, dict):
        entries = (f"{_toml(key)} = {_toml(inner)}" for key, inner in value.items())
        return f"{{ {', '.join(entries)} }}"
    return json.dumps(value, ensure_ascii=False)
