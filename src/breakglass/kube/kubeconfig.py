"""Resolves the kubeconfig in force: which cluster, and with which credentials. The format:
https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/

No message and no chained error quotes a kubeconfig: its lines hold tokens.
"""

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breakglass.config import Kubernetes
from breakglass.errors import AGAIN, look_first, then
from breakglass.kube.merge import Entry, Merged, malformed
from breakglass.kube.plugin import plugin_credentials
from breakglass.shape import fits

_PATH = re.compile(r"[^\0]+")
_PROVIDER = {
    "name": (str, None),
    "config": ({"id-token": (str, None), "access-token": (str, None)}, None),
}


@dataclass(frozen=True)
class InForce:
    """The context that counts, with its cluster."""

    context: str
    server: str
    """As the kubeconfig has it."""
    entry: Entry
    """The context's own."""
    cluster: Entry
    cluster_file: Path
    merged: Merged
    files: str


def places(settings: Kubernetes) -> tuple[Path, ...]:
    """The kubeconfig files in force, in kubectl's order."""
    if settings.kubeconfig is not None:
        return (settings.kubeconfig.expanduser(),)
    listed = [
        Path(part).expanduser()
        for part in os.environ.get("KUBECONFIG", "").split(os.pathsep)
        if part
    ]
    return tuple(listed) or (Path("~/.kube/config").expanduser(),)


def resolve(settings: Kubernetes, *, plugin_timeout_seconds: float | None = 15.0) -> Entry | None:
    """One kubeconfig document with one cluster, one user and plain credentials; None if there is
    no file. Without a time-out no plugin is run. Raises Unreachable.
    """
    found = in_force(settings)
    if found is None:
        return None
    context, merged, files = found.entry, found.merged, found.files
    cluster, cluster_file = found.cluster, found.cluster_file
    cluster = _with_absolute_files(cluster, ("certificate-authority",), cluster_file)
    user: Entry = {}
    if context.get("user"):
        user, user_file = merged.entry("user", context["user"], files)
        user = _with_absolute_files(
            user, ("client-certificate", "client-key", "tokenFile"), user_file
        )
        user = _with_credentials(user, cluster, user_file, plugin_timeout_seconds)
    return {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}],
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": "here", "user": user}],
    }


def in_force(settings: Kubernetes) -> InForce | None:
    """The context in force, without its credentials; None if there is no file. Raises
    Unreachable.
    """
    paths = [path for path in places(settings) if path.exists()]
    if not paths:
        return None
    merged = Merged()
    for path in paths:
        merged.add(path)
    files = ", ".join(str(path) for path in paths)
    name = settings.context or merged.current_context
    if not name:
        malformed(
            f"the kubeconfig {files} names no current-context",
            then(
                *(
                    shlex.join(("kubectl", "config", "use-context", context))
                    for context in sorted(merged.entries["context"])[:5]
                ),
                AGAIN,
                advice="choose one of them, or set kubernetes.context in the configuration",
            ),
        )
    context, _ = merged.entry("context", name, files)
    cluster, cluster_file = merged.entry("cluster", context.get("cluster"), files)
    server = cluster.get("server")
    if not isinstance(server, str):
        malformed(
            f"the kubeconfig {cluster_file} gives no server for the cluster of context {name}"
        )
    return InForce(name, server, context, cluster, cluster_file, merged, files)


def _with_absolute_files(entry: Entry, keys: tuple[str, ...], path: Path) -> Entry:
    """The entry with absolute paths to its files, which must be readable. `path` is its kubeconfig.
    Raises Unreachable.
    """
    # The client would look for a user's files in the directory of the cluster's kubeconfig.
    absolute = dict(entry)
    for key in keys:
        if not entry.get(key):
            continue
        if not fits(entry[key], _PATH):
            malformed(f"the kubeconfig {path} names a {key} that is no path")
        file = path.parent / entry[key]
        if not os.access(file, os.R_OK):
            malformed(
                f"the kubeconfig {path} names the {key} {file}, which cannot be read",
                look_first(shlex.join(("ls", "-l", str(file)))),
            )
        absolute[key] = str(file)
    return absolute


def _with_credentials(
    user: Entry, cluster: Entry, path: Path, limit_seconds: float | None
) -> Entry:
    """The user with a token or certificate in place of a plugin or provider. Raises Unreachable."""
    # The client would run a plugin without a limit. If the plugin failed, it would go on without
    # credentials, which ends in a misleading 403.
    plain = {key: value for key, value in user.items() if key not in ("exec", "auth-provider")}
    if user.get("token") or user.get("tokenFile"):
        return plain
    if user.get("auth-provider"):
        return plain | {"token": _provider_token(user["auth-provider"], path)}
    if not user.get("exec"):
        return plain
    if limit_seconds is None:
        malformed(
            f"the kubeconfig {path} leaves the login to a credential plugin, which is not run here"
        )
    return plain | plugin_credentials(user["exec"], cluster, path, limit_seconds)


def _provider_token(value: object, path: Path) -> str:
    """The token that an auth-provider has stored in the kubeconfig."""
    provider: Any = value if fits(value, _PROVIDER) else {}
    stored = provider.get("config") or {}
    token = stored.get("id-token") or stored.get("access-token")
    if not token:
        malformed(
            f"the kubeconfig {path} leaves the login to the auth-provider "
            f"{provider.get('name')}, which holds no token",
            then("kubectl get nodes", AGAIN, advice="log in with kubectl"),
        )
    return str(token)
