"""hosts.toml read as containerd reads it: the server, the hosts and their TLS settings (containerd,
docs/hosts.md).
"""

from typing import Any

from breakglass.errors import Refused
from breakglass.observe.answering import Site
from breakglass.shape import parse_toml

WITHOUT_IT = "import without serving the image locally (pods with Always do not start then)"


def endpoints(site: Site, original: str | None) -> list[dict[str, Any]]:
    """Every host that a pull from this registry may go to, in containerd's order, each with its TLS
    settings.
    """
    document = read_document(site, original)
    listed = dict(document.get("host", {}))
    server = server_of(site, document)
    if not any(is_same_host(url, server) for url in listed):
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
    """Whether a hosts.toml, by us or others, names the address; with `first`, before all
    others.
    """
    try:
        hosts = parse_toml(text or "").get("host", {})
    except ValueError:
        return False
    return isinstance(hosts, dict) and address in (list(hosts)[:1] if first else hosts)


def default_server(registry: str) -> str:
    """Where containerd goes for a registry when no hosts.toml names a server."""
    if registry == "docker.io":
        return "https://registry-1.docker.io"
    host, _, port = registry.rpartition(":")
    if not port.isdigit():
        host, port = registry, ""
    is_local = host == "localhost" or host.startswith("127.") or host == "[::1]"
    scheme = "http" if is_local and port not in ("", "443") else "https"
    return f"{scheme}://{registry}"


def registry_of(reference: str) -> str:
    """The registry of a full reference, as containerd names its directory."""
    return reference.partition("/")[0]


def server_of(site: Site, document: dict[str, Any]) -> str:
    """Where containerd goes after the hosts of the file."""
    if document.get("server"):
        return _with_scheme(str(document["server"]))
    return default_server(site.registry)


def read_document(site: Site, original: str | None) -> dict[str, Any]:
    """What applies to the registry without breakglass: its own file, or that in _default.

    Raises Refused where containerd could not read it, or where no copy of it can be made.
    """
    try:
        document = parse_toml(original if original is not None else site.default or "")
    except ValueError as error:
        why = f"it is no TOML, and containerd cannot read it either: {error}"
        raise cannot_list(site, why, "repair it") from error
    hosts = document.get("host", {})
    if not isinstance(hosts, dict) or not all(isinstance(table, dict) for table in hosts.values()):
        why = "its `host` is no table of tables, and containerd cannot read it either"
        raise cannot_list(site, why, "repair it")
    if original is None and site.default:
        _check_certificates(site, document)
    return document


def _check_certificates(site: Site, document: dict[str, Any]) -> None:
    """Raises Refused where the file in _default names certificates by relative paths: in a copy
    they would mean other files.
    """
    for table in (document, *document.get("host", {}).values()):
        pairs = _pairs(table.get("client"))
        paths = [*_list(table.get("ca")), *(path for pair in pairs for path in pair)]
        if any(not path.startswith("/") for path in paths):
            raise cannot_list(
                site,
                "it would be a copy of that in _default, which names certificates by relative "
                "paths",
                "name them by absolute ones in _default/hosts.toml",
            )


def cannot_list(site: Site, why: str, advice: str) -> Refused:
    return Refused(
        f"{site.file} on the node cannot list it as a further host: {why}",
        next_step=f"{advice}; or {WITHOUT_IT}",
    )


def _with_scheme(url: str) -> str:
    return url if url.startswith("http") else f"https://{url}"


def is_same_host(url: str, other: str) -> bool:
    return _with_scheme(url).rstrip("/").lower() == _with_scheme(other).rstrip("/").lower()


def _list(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(each) for each in value] if isinstance(value, list) else []


def _pairs(value: Any) -> list[list[str]]:
    """containerd's `client`: one file, a list of files, or a list of pairs of certificate and
    key.
    """
    if isinstance(value, list) and any(isinstance(each, list) for each in value):
        return [[str(path) for path in each] for each in value if isinstance(each, list) and each]
    return [[path] for path in _list(value)]


def _absolute(path: str, directory: str) -> str:
    return path if path.startswith("/") else f"{directory}/{path}"
