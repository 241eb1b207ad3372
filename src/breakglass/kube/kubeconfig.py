"""Which cluster, as whom: kubeconfig files merged by kubectl's rules, and credential plugins run
with a limit.

Knows nothing of the kubernetes package. The format:
https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/ No message and no chained error
quotes a kubeconfig: its lines hold tokens, and so may what a plugin prints.
"""

import atexit
import base64
import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import yaml

from breakglass.config import Kubernetes
from breakglass.errors import Unreachable
from breakglass.grammar import show
from breakglass.shape import fits, parse_json

Entry = dict[str, Any]

_PATH = re.compile(r"[^\0]+")
_PROVIDER = {
    "name": (str, None),
    "config": ({"id-token": (str, None), "access-token": (str, None)}, None),
}


@dataclass
class _Merged:
    """The entries of all files, each with the file it came from: paths in it are relative to that
    file.
    """

    entries: dict[str, dict[str, tuple[Entry, Path]]] = field(
        default_factory=lambda: {"cluster": {}, "context": {}, "user": {}}, repr=False
    )
    current_context: str = ""


def places(settings: Kubernetes) -> tuple[Path, ...]:
    """Where a kubeconfig is looked for, in order."""
    if settings.kubeconfig is not None:
        return (settings.kubeconfig.expanduser(),)
    listed = [
        Path(part).expanduser()
        for part in os.environ.get("KUBECONFIG", "").split(os.pathsep)
        if part
    ]
    return tuple(listed) or (Path("~/.kube/config").expanduser(),)


def resolve(settings: Kubernetes, *, plugin_timeout_seconds: float | None = 15.0) -> Entry | None:
    """One kubeconfig document with one cluster, one user and plain credentials; None where there is
    no file. Without a time-out no plugin is run. Raises Unreachable.
    """
    found = [path for path in places(settings) if path.exists()]
    if not found:
        return None
    merged = _Merged()
    for path in found:
        _add(merged, path)
    names = ", ".join(str(path) for path in found)
    wanted = settings.context or merged.current_context
    if not wanted:
        _malformed(
            f"the kubeconfig {names} names no current-context",
            (
                f"kubectl config use-context NAME, or set kubernetes.context; there are: "
                f"{_known(merged, 'context')}"
            ),
        )
    context, _ = _entry(merged, "context", wanted, names)
    cluster, cluster_file = _entry(merged, "cluster", context.get("cluster"), names)
    if not isinstance(cluster.get("server"), str):
        _malformed(
            f"the kubeconfig {cluster_file} gives no server for the cluster of context {wanted}"
        )
    cluster = _with_absolute_files(cluster, ("certificate-authority",), cluster_file)
    user: Entry = {}
    if context.get("user"):
        user, user_file = _entry(merged, "user", context["user"], names)
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


def _add(merged: _Merged, path: Path) -> None:
    """Merge one file: as with kubectl, the first file that says something wins."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Unreachable(
            f"cannot read the kubeconfig {path}: {error.strerror}", next_step=f"ls -l {path}"
        ) from error
    except UnicodeDecodeError:
        _malformed(f"the kubeconfig {path} is not text")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        _malformed(
            f"the kubeconfig {path} is not YAML" + (f", see line {mark.line + 1}" if mark else "")
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        # A date in month 13, `!!bool perhaps`, ten thousand brackets: the library lets such errors
        # out bare.
        _malformed(f"the kubeconfig {path} is not YAML of use here")
    if document is None:
        return
    if not isinstance(document, dict):
        _malformed(f"the kubeconfig {path} is not a mapping of clusters, contexts and users")
    current = document.get("current-context") or ""
    if not isinstance(current, str):
        _malformed(f"`current-context` is not a text in the kubeconfig {path}")
    merged.current_context = merged.current_context or current
    for kind, known in merged.entries.items():
        listed = document.get(f"{kind}s") or []
        if not isinstance(listed, list):
            _malformed(f"`{kind}s` is not a list in the kubeconfig {path}")
        for number, item in enumerate(listed, start=1):
            if (
                not isinstance(item, dict)
                or not isinstance(item.get("name"), str)
                or not isinstance(item.get(kind), dict | None)
            ):
                _malformed(
                    f"entry {number} of `{kind}s` in the kubeconfig {path} is not a name and "
                    f"a {kind}"
                )
            known.setdefault(item["name"], (item.get(kind) or {}, path))


def _entry(merged: _Merged, kind: str, name: object, files: str) -> tuple[Entry, Path]:
    if not isinstance(name, str) or name not in merged.entries[kind]:
        advice = (
            f"set kubernetes.context to one of: {_known(merged, 'context')}"
            if kind == "context"
            else "kubectl config view"
        )
        _malformed(
            (
                f"the kubeconfig {files} has no {kind} named "
                f"{name if isinstance(name, str) else show(name)}"
            ),
            advice,
        )
    return merged.entries[kind][name]


def _known(merged: _Merged, kind: str) -> str:
    return ", ".join(sorted(merged.entries[kind])) or "none"


def _malformed(what: str, next_step: str = "kubectl config view") -> NoReturn:
    # Not chained: the library's words quote the line at fault, which may be a token.
    raise Unreachable(what, next_step=next_step) from None


def _with_absolute_files(entry: Entry, keys: tuple[str, ...], path: Path) -> Entry:
    """The entry, with the files that it names made absolute. The client would look for a user's
    files beside the cluster's kubeconfig.
    """
    absolute = dict(entry)
    for key in keys:
        if entry.get(key):
            if not fits(entry[key], _PATH):
                _malformed(f"the kubeconfig {path} names a {key} that is no path")
            named = path.parent / entry[key]
            if not os.access(named, os.R_OK):
                _malformed(
                    f"the kubeconfig {path} names the {key} {named}, which cannot be read",
                    f"ls -l {named}",
                )
            absolute[key] = str(named)
    return absolute


def _with_credentials(user: Entry, cluster: Entry, path: Path, limit: float | None) -> Entry:
    """The user with a token or certificate in place of whatever would have to fetch one.

    The client would run a plugin without a limit, and when it fails go on as nobody, which ends in
    a misleading 403.
    """
    plain = {key: value for key, value in user.items() if key not in ("exec", "auth-provider")}
    if user.get("token") or user.get("tokenFile"):
        return plain
    if user.get("auth-provider"):
        provider = user["auth-provider"] if fits(user["auth-provider"], _PROVIDER) else {}
        kept = provider.get("config") or {}
        token = kept.get("id-token") or kept.get("access-token")
        if not token:
            _malformed(
                (
                    f"the kubeconfig {path} leaves the login to the auth-provider "
                    f"{provider.get('name')}, which holds no token"
                ),
                "log in with: kubectl get nodes",
            )
        return plain | {"token": token}
    if user.get("exec"):
        if limit is None:
            _malformed(
                f"the kubeconfig {path} leaves the login to a credential plugin, which is "
                f"not run here"
            )
        return plain | _plugin_credentials(user["exec"], cluster, path, limit)
    return plain


def _plugin_credentials(
    plugin: Mapping[str, Any], cluster: Entry, path: Path, limit: float
) -> Entry:
    """Run a credential plugin. Format:
    https://kubernetes.io/docs/reference/config-api/client-authentication.v1/
    """
    if (
        not isinstance(plugin, dict)
        or not isinstance(plugin.get("command"), str)
        or not isinstance(plugin.get("apiVersion"), str)
    ):
        _malformed(f"`exec` in the kubeconfig {path} lacks command or apiVersion")
    command = plugin["command"]
    # Arguments are not shown: people put secrets there.
    called = f"the credential plugin {Path(command).name} of the kubeconfig {path}"
    again = "log in again, see what it says with: kubectl get nodes"
    if os.sep in command:
        command = str(path.parent / command)
    spec: dict[str, Any] = {"interactive": False}
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("BREAKGLASS_SSH_")
    }
    try:
        environment |= {str(item["name"]): str(item["value"]) for item in plugin.get("env") or []}
        arguments = [command, *(str(argument) for argument in plugin.get("args") or [])]
        if plugin.get("provideClusterInfo"):
            spec["cluster"] = _cluster_information(cluster)
        environment["KUBERNETES_EXEC_INFO"] = json.dumps(
            {"apiVersion": plugin["apiVersion"], "kind": "ExecCredential", "spec": spec}
        )
    except (TypeError, KeyError, ValueError, AttributeError, RecursionError):
        _malformed(
            f"args or env of `exec`, or what its cluster says, are malformed in the "
            f"kubeconfig {path}"
        )
    try:
        status, output = _run(arguments, environment, limit)
    except subprocess.TimeoutExpired:
        _malformed(f"{called} did not end within {limit:g} s and was killed", again)
    except FileNotFoundError:
        _malformed(
            f"{called} is not installed",
            f"install {Path(command).name}, or set kubernetes.context to one that does without it",
        )
    except (OSError, ValueError) as error:
        _malformed(
            (
                f"{called} cannot be started: "
                f"{getattr(error, 'strerror', None) or 'malformed arguments'}"
            ),
            again,
        )
    if status != 0:
        _malformed(f"{called} failed with exit status {status}", again)
    return _credentials(output, called, again, plugin["apiVersion"])


def _run(arguments: list[str], environment: dict[str, str], limit: float) -> tuple[int, bytes]:
    """Exit status and output. Whatever interrupts the wait, no process of the plugin is left."""
    # A session of its own, so that one signal reaches what it started as well; without a terminal
    # it cannot wait for a human.
    with subprocess.Popen(
        arguments,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        # Who asks in a thread may end before it does.
        end = partial(_end, process)
        atexit.register(end)
        try:
            output, _ = process.communicate(timeout=limit)
        except BaseException:
            end()
            raise
        finally:
            atexit.unregister(end)
    return process.returncode, output


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def _credentials(output: bytes, called: str, again: str, version: str) -> Entry:
    """What the plugin printed, as the keys of a kubeconfig's user."""
    try:
        answer = parse_json(output)
        status = answer["status"]
        if answer["apiVersion"] != version:
            _malformed(
                f"{called} speaks another apiVersion than the {version} that is asked for", again
            )
        found: Entry = {}
        if status.get("token"):
            found["token"] = str(status["token"])
        if status.get("clientCertificateData"):
            found["client-certificate-data"] = base64.b64encode(
                status["clientCertificateData"].encode()
            ).decode()
            found["client-key-data"] = base64.b64encode(status["clientKeyData"].encode()).decode()
    except (ValueError, TypeError, KeyError, AttributeError):
        _malformed(f"{called} printed something else than an ExecCredential", again)
    if not found:
        _malformed(f"{called} returned neither a token nor a certificate", again)
    return found


def _cluster_information(cluster: Entry) -> Entry:
    known: Entry = {
        key: cluster[key]
        for key in (
            "server",
            "tls-server-name",
            "insecure-skip-tls-verify",
            "certificate-authority-data",
            "proxy-url",
        )
        if key in cluster
    }
    if "certificate-authority" in cluster and "certificate-authority-data" not in known:
        known["certificate-authority-data"] = base64.b64encode(
            Path(cluster["certificate-authority"]).read_bytes()
        ).decode()
    for extension in cluster.get("extensions") or []:
        if extension.get("name") == "client.authentication.k8s.io/exec":
            known["config"] = extension.get("extension")
    return known
