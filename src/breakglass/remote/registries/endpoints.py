"""An endpoint of a registry, as containerd is configured: its address and its TLS."""

from __future__ import annotations

import posixpath
import ssl
from typing import Any
from urllib.parse import quote, urlsplit

from breakglass.remote.distribution.answers import NotServed, State
from breakglass.remote.tls import system_context


def base_of(endpoint: dict[str, Any]) -> str:
    """containerd's rule: the path as it is with override_path, else ending in /v2."""
    url: str = (
        endpoint["url"] if endpoint["url"].startswith("http") else f"https://{endpoint['url']}"
    )
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # and asking it says that it cannot be used
    path = posixpath.normpath("/" + parts.path.strip("/")).rstrip("/")
    if not endpoint["override_path"] and not path.endswith("/v2"):
        path += "/v2"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{quote(path, safe='/%:@!$&+,;=~')}"


def context_of(endpoint: dict[str, Any]) -> ssl.SSLContext:
    """TLS as containerd is configured for the endpoint."""
    context = system_context()
    if endpoint["skip_verify"]:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for file in endpoint["ca"]:
        _load(file, context.load_verify_locations, file)
    # The last one loaded is shown.
    for certificate, *key in reversed(endpoint["client"]):
        # Without a password OpenSSL would ask a terminal for it.
        _load(
            certificate, context.load_cert_chain, certificate, (key or [""])[0] or None, lambda: ""
        )
    return context


def _load(file: str, load: Any, *arguments: Any) -> None:
    try:
        load(*arguments)
    except (OSError, ValueError) as error:
        reason = "it holds nothing usable"
        if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            reason = (error.strerror or "it cannot be read").lower()
        raise NotServed(
            State.UNREACHABLE, f"the TLS file {file} cannot be used: {reason}"
        ) from error
