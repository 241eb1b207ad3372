"""Runs the credential plugin of a kubeconfig, with a time limit. The format:
https://kubernetes.io/docs/reference/config-api/client-authentication.v1/

No message quotes the plugin's arguments or output: people put secrets there.
"""

import atexit
import base64
import contextlib
import json
import os
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

from breakglass.errors import AGAIN, look_first, then
from breakglass.kube.merge import Entry, malformed
from breakglass.shape import parse_json

LOG_IN = look_first("kubectl get nodes", advice="log in again, see what it says, then try again")


def plugin_credentials(plugin: Any, cluster: Entry, path: Path, limit_seconds: float) -> Entry:
    """The token or certificate that a plugin prints, as the keys of a user. `path` is the
    kubeconfig. Raises Unreachable.
    """
    if (
        not isinstance(plugin, dict)
        or not isinstance(plugin.get("command"), str)
        or not isinstance(plugin.get("apiVersion"), str)
    ):
        malformed(f"`exec` in the kubeconfig {path} lacks command or apiVersion")
    program = Path(plugin["command"]).name
    called = f"the credential plugin {program} of the kubeconfig {path}"
    arguments, environment = _call(plugin, cluster, path)
    try:
        status, output = _run(arguments, environment, limit_seconds)
    except subprocess.TimeoutExpired:
        malformed(f"{called} did not end within {limit_seconds:g} s and was killed", LOG_IN)
    except FileNotFoundError:
        malformed(
            f"{called} is not installed",
            then(
                AGAIN,
                advice=f"install {program}, or set kubernetes.context to one that does without it",
            ),
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "malformed arguments"
        malformed(f"{called} cannot be started: {reason}", LOG_IN)
    if status != 0:
        malformed(f"{called} failed with exit status {status}", LOG_IN)
    return _credentials(output, called, plugin["apiVersion"])


def _call(plugin: Entry, cluster: Entry, path: Path) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of a plugin."""
    command = plugin["command"]
    if os.sep in command:
        command = str(path.parent / command)
    # Our own key is none of the plugin's business.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("BREAKGLASS_SSH_")
    }
    spec: dict[str, Any] = {"interactive": False}
    try:
        environment |= {str(item["name"]): str(item["value"]) for item in plugin.get("env") or []}
        arguments = [command, *(str(argument) for argument in plugin.get("args") or [])]
        if plugin.get("provideClusterInfo"):
            spec["cluster"] = _cluster_information(cluster)
        environment["KUBERNETES_EXEC_INFO"] = json.dumps(
            {"apiVersion": plugin["apiVersion"], "kind": "ExecCredential", "spec": spec}
        )
    except (TypeError, KeyError, ValueError, AttributeError, RecursionError):
        malformed(
            f"args or env of `exec`, or what its cluster says, are malformed in the "
            f"kubeconfig {path}"
        )
    return arguments, environment


def _cluster_information(cluster: Entry) -> Entry:
    """The `spec.cluster` of an ExecCredential."""
    information: Entry = {
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
    if "certificate-authority" in cluster and "certificate-authority-data" not in information:
        information["certificate-authority-data"] = base64.b64encode(
            Path(cluster["certificate-authority"]).read_bytes()
        ).decode()
    for extension in cluster.get("extensions") or []:
        if extension.get("name") == "client.authentication.k8s.io/exec":
            information["config"] = extension.get("extension")
    return information


def _run(arguments: list[str], environment: dict[str, str], limit: float) -> tuple[int, bytes]:
    """The plugin's exit status and output. If the wait is interrupted, no process of it is left."""
    # In a new session, so that one signal also reaches the processes that it started. Without a
    # terminal it cannot wait for a human.
    with subprocess.Popen(
        arguments,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        # If a thread waits here, breakglass may end before the plugin does.
        kill = partial(_kill, process)
        atexit.register(kill)
        try:
            output, _ = process.communicate(timeout=limit)
        except BaseException:
            kill()
            raise
        finally:
            atexit.unregister(kill)
    return process.returncode, output


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def _credentials(output: bytes, called: str, version: str) -> Entry:
    """What the plugin printed, as the keys of a kubeconfig's user."""
    user: Entry = {}
    try:
        answer = parse_json(output)
        status = answer["status"]
        if answer["apiVersion"] != version:
            malformed(
                f"{called} speaks another apiVersion than the {version} that is asked for", LOG_IN
            )
        if status.get("token"):
            user["token"] = str(status["token"])
        if status.get("clientCertificateData"):
            user["client-certificate-data"] = _base64(status["clientCertificateData"])
            user["client-key-data"] = _base64(status["clientKeyData"])
    except (ValueError, TypeError, KeyError, AttributeError):
        malformed(f"{called} printed something else than an ExecCredential", LOG_IN)
    if not user:
        malformed(f"{called} returned neither a token nor a certificate", LOG_IN)
    return user


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
