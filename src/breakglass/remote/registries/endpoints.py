"""An endpoint of a registry, as containerd is configured: its address and its TLS."""

from __future__ import annotations

import posixpath
import ssl
from typing import Any
from urllib.parse import quote, urlsplit

from breakglass.remote.distribution.answers import NotServed, State


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
    """What containerd, a Go program, would accept; neither stricter nor laxer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ssl.HAS_NEVER_CHECK_COMMON_NAME:
        context.hostname_checks_common_name = False
    context.load_default_certs()
    # Python 3.13 judges private CAs more strictly than Go; Go trusts what it was given without
    # looking for a root above it. The flag has a name from Python 3.10 on.
    partial_chain = ssl.VerifyFlags(0x80000)
    context.verify_flags = (context.verify_flags | partial_chain) & ~ssl.VERIFY_X509_STRICT
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
