"""Parts of URLs."""

from __future__ import annotations

from urllib.parse import urlsplit


def origin(url: str) -> tuple[str, str | None, int | None]:
    """What has to be the same for a login to be sent: scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def host_of(url: str) -> str:
    """Host and port, without a login."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "(no host)"
    except ValueError:
        return "(no host)"


def gets_login(realm: str, registry: str) -> bool:
    """Whether a registry's login may be sent to the token service that the registry names: another
    host is part of the protocol, but only over TLS. In the clear it is the registry's own host, and
    the registry itself is asked in the clear.
    """
    if realm.startswith("https://"):
        return True
    is_clear = realm.startswith("http://") and registry.startswith("http://")
    try:
        return is_clear and urlsplit(realm).hostname == urlsplit(registry).hostname
    except ValueError:
        return False
