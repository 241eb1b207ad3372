"""What the tests of the Kubernetes adapter share: an API server with faults, certificates,
kubeconfigs, and steps.
"""

import datetime
import ipaddress
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from breakglass.config import Kubernetes
from breakglass.kube import Cluster
from breakglass.marks import ANNOTATION, Mark
from breakglass.plan import PatchNode
from breakglass.ports import Patched
from breakglass.sandbox.api import Api
from breakglass.sandbox.api_server import Request
from breakglass.sandbox.rules import Object

Fault = Callable[[Request], None]
FREE = Mark(unschedulable=False, annotation=None)
PINNED = Mark(unschedulable=True, annotation='{"run":"1"}')


class FaultyApi(Api):
    """Remembers the requests. `before` and `after` are called around each answer, and may hang,
    raise, or change the state.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.requests: list[Request] = []
        self.forbidden: set[tuple[str, str]] = set()
        self.before: Fault = lambda _: None
        self.after: Fault = lambda _: None
        self.released = threading.Event()

    def hang(self, request: Request) -> None:  # noqa: ARG002
        self.released.wait(20)
        raise ConnectionAbortedError

    def may(self, verb: str, resource: str) -> bool:
        return (verb, resource) not in self.forbidden

    def answer(self, request: Request) -> Object:
        self.requests.append(request)
        self.before(request)
        answer = super().answer(request)
        self.after(request)
        return answer

    def stop(self) -> None:
        self.released.set()
        super().stop()

    def methods(self) -> list[str]:
        return [request.method for request in self.requests]


def cluster(api: Api, directory: Path, *, request: float = 2.0, operation: float = 4.0) -> Cluster:
    return Cluster(
        Kubernetes(kubeconfig=api.kubeconfig(directory / "kubeconfig")),
        request_timeout_seconds=request,
        operation_timeout_seconds=operation,
    )


def warm(directory: Path) -> None:
    """Let the client be imported and built before a test measures time."""
    with Api() as api:
        cluster(api, directory).nodes()


def step(api: Api, name: str, before: Mark = FREE, after: Mark = PINNED) -> PatchNode:
    return PatchNode(
        name,
        before=before,
        after=after,
        resource_version=api.node(name)["metadata"]["resourceVersion"],
    )


def patch_one(adapter: Cluster, wanted: PatchNode) -> Patched:
    reported: list[Patched] = []
    results = adapter.patch([wanted], reported.append)
    assert results == reported
    return results[0]


def mark(api: Api, name: str) -> Mark:
    node = api.node(name)
    return Mark(
        unschedulable=node["spec"].get("unschedulable", False),
        annotation=node["metadata"].get("annotations", {}).get(ANNOTATION),
    )


def certificate(directory: Path, name: str = "127.0.0.1") -> tuple[Path, Path]:
    """A self-signed certificate for an address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sandbox")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = (directory / f"{name}.crt", directory / f"{name}.key")
    paths[0].write_bytes(built.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


def kubeconfig(
    path: Path,
    server: str,
    *,
    context: str = "sandbox",
    user: dict[str, Any] | None = None,
    cluster: dict[str, Any] | None = None,
    current: bool = True,
) -> Path:
    document: dict[str, Any] = {
        "clusters": [
            {"name": f"{context}-cluster", "cluster": {"server": server} | (cluster or {})}
        ],
        "users": [{"name": f"{context}-user", "user": user or {}}],
        "contexts": [
            {
                "name": context,
                "context": {"cluster": f"{context}-cluster", "user": f"{context}-user"},
            }
        ],
    }
    path.write_text(json.dumps(document | ({"current-context": context} if current else {})))
    return path


def plugin(path: Path, script: str) -> dict[str, Any]:
    """A credential plugin: a shell script, as the `exec` of a user."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(path),
            "args": ["--secret=hunter2"],
        }
    }
