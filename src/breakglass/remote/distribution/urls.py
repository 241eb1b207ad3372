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
