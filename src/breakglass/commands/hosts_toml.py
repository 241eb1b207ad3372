"""hosts.toml: the lines that list our responder beside a registry (containerd, docs/hosts.md).

containerd tries the hosts in the order of the file, and the server, which is the registry itself
where none is named, last.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from breakglass.errors import Refused
from breakglass.observe.answering import MARK, Site
from breakglass.shape import parse_toml

SETTINGS = ("capabilities", "ca", "client", "skip_verify", "header", "override_path")
_HOST = re.compile(r"""\s*\[\s*(host|"host"|'host')\s*\.""")
CAPABILITIES = 'capabilities = ["pull", "resolve"]'


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
    document = _document(site, original)
    hosts = list(document.get("host", {}))
    server = _server(site, document)
    if site.linked and not document.get("server"):
        raise _refused(
            site,
            "it is reached over a link, so other registries may share it, and it names no server",
            f"put a line into it: server = {_toml(server)}",
        )
    certificates = (
        {}
        if hosts
        else {
            key: value
            for key, value in (
                ("ca", list(site.ca)),
                ("client", [list(pair) for pair in site.client]),
            )
            if value
        }
    )
    settings = {**certificates, **{key: document[key] for key in SETTINGS if key in document}}
    ours = [
        (
            f"{MARK}, so that this node answers pulls as well; `breakglass restore` takes these "
            f"lines out"
        ),
        f"[host.{_toml(address)}]",
        f"  {CAPABILITIES}",
    ]
    heading: list[str] = []
    if not base:
        heading = [
            f"server = {_toml(server)}",
            *(f"{key} = {_toml(value)}" for key, value in certificates.items()),
            "",
        ]
    listed = any(_same(host, server) for host in hosts)
    try:
        repeats = not (first or listed)
        if repeats and "@" in server:
            raise _refused(
                site,
                "the login in its server's address would have to be repeated in it",
                'list the registry in it as a host of its own: [host."https://..."]',
            )
        if repeats and "header" in settings:
            why = (
                "the registry's own `header` would have to be repeated in it, and may hold a secret"
            )
            raise _refused(
                site,
                why,
                (
                    f"list the registry in it as a host of its own, with that header: "
                    f"[host.{_toml(server)}]"
                ),
            )
        registry = (
            []
            if not repeats
            else [f"[host.{_toml(server)}]", *(f"  {line}" for line in _settings(settings)), ""]
        )
    except TypeError as error:
        raise _refused(
            site,
            f"one of its settings is of a kind that none of containerd's is: {error}",
            "repair it",
        ) from error
    block = [ours[0], *heading, *registry, *ours[1:]]
    lines = base.split("\n") if base else []
    if lines and lines[-1] == "":
        lines.pop()
    at = (
        next((index for index, line in enumerate(lines) if _HOST.match(line)), len(lines))
        if first
        else len(lines)
    )
    block = [*block, ""] if at < len(lines) else ["", *block] if lines else block
    text = "".join(f"{line}\n" for line in [*lines[:at], *block, *lines[at:]])
    expected = [address, *hosts] if first else [*hosts, *([server] if registry else []), address]
    _check(site, text, expected=expected, document=document if base else {})
    return Insertion("end" if at == len(lines) else str(at + 1), tuple(block), text, base)


def endpoints(site: Site, original: str | None) -> list[dict[str, Any]]:
    """Every host that a pull from this registry may go to, in containerd's order, each with its TLS
    settings.
    """
    document = _document(site, original)
    listed = dict(document.get("host", {}))
    server = _server(site, document)
    if not any(_same(url, server) for url in listed):
        listed[server] = {
            "ca": list(site.ca),
            "client": [list(pair) for pair in site.client],
            **document,
        }
    directory = site.file.rpartition("/")[0]
    return [
        {
            "url": _with_scheme(url),
            "override_path": settings.get("override_path") is True,
            "ca": [_absolute(path, directory) for path in _list(settings.get("ca"))],
            "client": [
                [_absolute(path, directory) for path in pair]
                for pair in _pairs(settings.get("client"))
            ],
            "skip_verify": settings.get("skip_verify") is True,
        }
        for url, settings in listed.items()
        if "@" not in url  # a login: it would stand in a command line
    ]


def lists(text: str | None, address: str, *, first: bool) -> bool:
    """Whether a hosts.toml, whoever wrote it, names the address; with `first`, before all
    others.
    """
    try:
        hosts = parse_toml(text or "").get("host", {})
    except ValueError:
        return False
    return isinstance(hosts, dict) and address in (list(hosts)[:1] if first else hosts)


def default_server(registry: str) -> str:
    """Where containerd goes for a registry when nobody says otherwise."""
    host, _, port = (
        registry.rpartition(":") if registry.rpartition(":")[2].isdigit() else (registry, "", "")
    )
    if registry == "docker.io":
        return "https://registry-1.docker.io"
    is_local = host == "localhost" or host.startswith("127.") or host == "[::1]"
    return f"{'http' if is_local and port not in ('', '443') else 'https'}://{registry}"


def registry_of(reference: str) -> str:
    """The registry of a full reference, as containerd names its directory."""
    return reference.partition("/")[0]


def _server(site: Site, document: dict[str, Any]) -> str:
    return (
        _with_scheme(str(document["server"]))
        if document.get("server")
        else default_server(site.registry)
    )


def _document(site: Site, original: str | None) -> dict[str, Any]:
    """What counts for the registry without us."""
    try:
        document = parse_toml(original if original is not None else site.default or "")
    except ValueError as error:
        raise _refused(
            site, f"it is no TOML, and containerd cannot read it either: {error}", "repair it"
        ) from error
    hosts = document.get("host", {})
    if not isinstance(hosts, dict) or not all(
        isinstance(settings, dict) for settings in hosts.values()
    ):
        raise _refused(
            site,
            "its `host` is no table of tables, and containerd cannot read it either",
            "repair it",
        )
    if original is None and site.default:
        tables = (document, *document.get("host", {}).values())
        certificates = [path for settings in tables for path in _list(settings.get("ca"))] + [
            path for settings in tables for pair in _pairs(settings.get("client")) for path in pair
        ]
        if any(not path.startswith("/") for path in certificates):
            raise _refused(
                site,
                (
                    "it would be a copy of that in _default, which names certificates by "
                    "relative paths"
                ),
                "name them by absolute ones in _default/hosts.toml",
            )
    return document


def _check(site: Site, text: str, *, expected: list[str], document: dict[str, Any]) -> None:
    """Read what was composed as containerd will: the order is the one that is meant, and nothing
    else has changed.
    """
    try:
        composed = parse_toml(text)
    except ValueError as error:
        raise _refused(
            site,
            f"no host can be added to it: {error}",
            'give it the usual form, [host."https://..."] tables behind the other lines',
        ) from error
    hosts = composed.get("host", {})
    before = document.get("host", {})
    same = all(
        composed.get(key) == value for key, value in document.items() if key != "host"
    ) and all(hosts.get(url) == settings for url, settings in before.items())
    if list(hosts) != expected or not same:
        raise _refused(
            site,
            "no host can be added to it without changing what it says",
            'give it the usual form, [host."https://..."] tables behind the other lines',
        )


def _refused(site: Site, why: str, next_step: str) -> Refused:
    return Refused(
        f"{site.file} on the node cannot list it as a further host: {why}",
        next_step=(
            f"{next_step}; or import without it: --no-answer-pulls (pods with Always do not "
            f"start then)"
        ),
    )


def _settings(settings: dict[str, Any]) -> list[str]:
    named = [f"{key} = {_toml(value)}" for key, value in settings.items()]
    return named if "capabilities" in settings else [CAPABILITIES, *named]


def _toml(value: Any) -> str:
    """TOML and JSON write texts, truths, numbers and arrays alike."""
    if isinstance(value, dict):
        return (
            "{ "
            + ", ".join(f"{_toml(key)} = {_toml(inner)}" for key, inner in value.items())
            + " }"
        )
    return json.dumps(value, ensure_ascii=False)


def _with_scheme(url: str) -> str:
    return url if url.startswith("http") else f"https://{url}"


def _same(url: str, other: str) -> bool:
    return _with_scheme(url).rstrip("/").lower() == _with_scheme(other).rstrip("/").lower()


def _list(value: Any) -> list[str]:
    return (
        [value]
        if isinstance(value, str)
        else [str(each) for each in value]
        if isinstance(value, list)
        else []
    )


def _pairs(value: Any) -> list[list[str]]:
    """containerd's `client`: one file, a list of files, or a list of pairs of certificate and
    key.
    """
    if isinstance(value, list) and any(isinstance(each, list) for each in value):
        return [[str(path) for path in each] for each in value if isinstance(each, list) and each]
    return [[path] for path in _list(value)]


def _absolute(path: str, directory: str) -> str:
    return path if path.startswith("/") else f"{directory}/{path}"
