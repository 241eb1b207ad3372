"""Which proxy a request goes through, by the rules of Go's net/http, which containerd and kubectl
obey: golang.org/x/net/http/httpproxy.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from breakglass.remote.distribution.answers import NotServed, State


class Proxy(NamedTuple):
    host: str
    port: int
    headers: dict[str, str]
    """The login that it wants, where its address holds one."""

    def __str__(self) -> str:
        return f"the proxy {self.host}:{self.port}"


def proxy_for(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy of HTTPS_PROXY or HTTP_PROXY; None: the server is asked directly. Raises NotServed
    for a proxy of a kind that is not used here.
    """
    parts = urlsplit(url)
    address = _value(environ, f"{parts.scheme}_proxy")
    if not address or not parts.hostname or _is_loopback(parts.hostname):
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if any(_excepts(entry, parts.hostname, port) for entry in _exceptions(environ)):
        return None
    return _read(address, parts.scheme)


def open_tunnel(wire: Any, proxy: Proxy, host: str, port: int) -> None:
    """Let the proxy connect to a server (RFC 9110, 9.3.6). Raises NotServed where it does not."""
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = {"Host": authority, "User-Agent": "breakglass", **proxy.headers}
    lines = (f"{name}: {value}\r\n" for name, value in headers.items())
    wire.sendall(f"CONNECT {authority} HTTP/1.1\r\n{''.join(lines)}\r\n".encode("latin-1"))
    with http.client.HTTPResponse(wire, method="CONNECT") as response:
        response.begin()
        if response.status == 407:
            raise wants_login(proxy)
        if response.status // 100 != 2:
            raise NotServed(State.UNREACHABLE, f"{proxy} does not connect: HTTP {response.status}")


def wants_login(proxy: Proxy) -> NotServed:
    return NotServed(State.UNREACHABLE, f"{proxy} wants a login: HTTP 407")


def _value(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name.upper()) or environ.get(name.lower()) or ""


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _exceptions(environ: Mapping[str, str]) -> Iterator[str]:
    for entry in _value(environ, "no_proxy").split(","):
        if entry.strip():
            yield entry.strip().lower()


def _excepts(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY means the server: `*`, a network, or a host with or without a
    port. A name means its subdomains too; with a dot in front, only those.
    """
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, its_port = _split(entry)
    if its_port not in ("", str(port)):
        return False
    if address is not None or _address(name) is not None:
        return address is not None and address == _address(name)
    suffix = name[1:] if name.startswith("*.") else name
    if suffix.startswith("."):
        return host.endswith(suffix)
    return host == suffix or host.endswith(f".{suffix}")


def _split(entry: str) -> tuple[str, str]:
    """Host and port of an entry; the port may be missing."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, rest[1:]
    if entry.count(":") != 1:
        return entry, ""
    host, _, port = entry.partition(":")
    return host, port


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _read(address: str, scheme: str) -> Proxy:
    """The proxy behind the value of a variable. The value may hold a password: it is not shown."""
    variable = f"{scheme.upper()}_PROXY"
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise NotServed(State.UNREACHABLE, f"{variable} holds no address of a proxy")
    if parts.scheme != "http":
        raise NotServed(
            State.UNREACHABLE,
            f"the proxy in {variable} is {parts.scheme}://, and only http:// can be used",
        )
    headers = {}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    return Proxy(host, port or 80, headers)
