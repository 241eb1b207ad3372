"""A Kubernetes API server for nodes and pods, in memory, on loopback: enough for breakglass, and
for kubectl get, cordon, uncordon.

It answers these requests as a real server does, and refuses any other. The rules:
https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

import base64
import json
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from breakglass.sandbox import tables
from breakglass.sandbox.api_server import Request, Server
from breakglass.sandbox.objects import Entry, Objects
from breakglass.sandbox.rules import Declined, Object, needs_schema

REVIEWS = ("apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews")
MERGE_PATCHES = ("application/merge-patch+json", "application/strategic-merge-patch+json")


class Api(Objects):
    """Serves its objects on 127.0.0.1. Without a port the kernel chooses one. With `certificate`
    and `key` it speaks https. With `token` only requests that carry it have rights; kubectl sends a
    token over https only.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        token: str | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        super().__init__()
        self._token, self._certificate = token, certificate
        self._server = Server(self, port)
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate, key)
            # The handshake is done with the first read, in the thread of the connection.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}"

    def start(self) -> Self:
        # stop() waits for one interval.
        threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="api",
            daemon=True,
        ).start()
        return self

    def stop(self) -> None:
        """Close the listener and every connection. Nothing is answered after this."""
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def kubeconfig(self, path: Path, context: str = "sandbox") -> Path:
        """Write a kubeconfig for this server that only its owner can read."""
        cluster = {"server": self.url}
        if self._certificate is not None:
            cluster["certificate-authority"] = str(self._certificate)
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": context,
            "clusters": [{"name": "sandbox", "cluster": cluster}],
            "users": [{"name": "sandbox", "user": {"token": self._token} if self._token else {}}],
            "contexts": [{"name": context, "context": {"cluster": "sandbox", "user": "sandbox"}}],
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        return path

    def may(self, verb: str, resource: str) -> bool:  # noqa: ARG002
        """Whether the user has a right. The sandbox's user has every right; tests override this."""
        return True

    def answer(self, request: Request) -> Object:
        """The object that answers a request. Raises Declined."""
        if self._token is not None and request.authorization not in ("", f"Bearer {self._token}"):
            raise Declined(401, "Unauthorized", "Unauthorized")
        if request.method == "POST" and request.path == REVIEWS:
            self._demand(request, "create", REVIEWS[-1], group=REVIEWS[1])
            review: Object = request.body
            right = review["spec"]["resourceAttributes"]
            allowed = self.may(str(right.get("verb")), str(right.get("resource")))
            return review | {"status": {"allowed": allowed}}
        if request.method == "GET" and request.path in tables.DISCOVERY:
            return tables.DISCOVERY[request.path]
        match request.path:
            case ("api", "v1", ("nodes" | "pods" | "persistentvolumes") as kind):
                return self._list(kind, None, request)
            case ("api", "v1", "nodes", name):
                return self._one("nodes", "", name, request)
            case ("api", "v1", "namespaces", namespace, "pods"):
                return self._list("pods", namespace, request)
            case ("api", "v1", "namespaces", namespace, "pods", name):
                return self._one("pods", namespace, name, request)
        raise Declined(404, "NotFound", "the server could not find the requested resource")

    def _list(self, kind: str, namespace: str | None, request: Request) -> Object:
        if request.method != "GET" or request.query.get("watch", "false") not in ("false", "0"):
            raise Declined(405, "MethodNotAllowed", "the sandbox does not watch, create or delete")
        self._demand(request, "list", kind, namespace=namespace)
        version, entries = self.select(kind, namespace, request.query.get("fieldSelector", ""))
        entries, metadata = _page(entries, request.query)
        metadata["resourceVersion"] = version
        items = [item for _, item in entries]
        if tables.wanted(request.accept):
            return tables.table(kind, items, metadata)
        return {
            "kind": tables.KINDS[kind] + "List",
            "apiVersion": "v1",
            "metadata": metadata,
            "items": items,
        }

    def _one(self, kind: str, namespace: str, name: str, request: Request) -> Object:
        if request.method == "GET":
            self._demand(request, "get", kind, namespace=namespace, name=name)
            item = self.find(kind, namespace, name)
            return tables.table(kind, [item], {}) if tables.wanted(request.accept) else item
        if request.method != "PATCH" or kind != "nodes":
            raise Declined(405, "MethodNotAllowed", "the sandbox changes nodes only, by PATCH")
        self._demand(request, "patch", kind, name=name)
        if request.content_type not in MERGE_PATCHES:
            known = " and ".join(MERGE_PATCHES)
            raise Declined(415, "UnsupportedMediaType", f"the sandbox knows {known} only")
        if not isinstance(request.body, dict):
            raise Declined(400, "BadRequest", "the patch is not an object")
        if request.content_type == MERGE_PATCHES[1] and needs_schema(request.body):
            raise Declined(
                422, "Invalid", "the sandbox knows no directives and no lists merged by key"
            )
        return self.patch_node(name, request.body, dry_run=request.query.get("dryRun") == "All")

    def _demand(
        self,
        request: Request,
        verb: str,
        resource: str,
        *,
        group: str = "",
        namespace: str | None = None,
        name: str = "",
    ) -> None:
        """Raise Declined unless the user has a right."""
        is_anonymous = self._token is not None and not request.authorization
        if self.may(verb, resource) and not is_anonymous:
            return
        user = "system:anonymous" if is_anonymous else "sandbox"
        what = f"{resource}.{group}" if group else resource
        if name:
            what += f' "{name}"'
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        right = f'cannot {verb} resource "{resource}" in API group "{group}" {where}'
        raise Declined(403, "Forbidden", f'{what} is forbidden: User "{user}" {right}')


def _page(entries: list[Entry], query: Mapping[str, str]) -> tuple[list[Entry], Object]:
    """The part of a list that `limit` and `continue` ask for, and the metadata of the next part."""
    if token := query.get("continue"):
        last = tuple(json.loads(base64.urlsafe_b64decode(token)))
        entries = [(key, item) for key, item in entries if key > last]
    limit = int(query.get("limit") or 0)
    if not limit or len(entries) <= limit:
        return entries, {}
    last_key = json.dumps(entries[limit - 1][0]).encode()
    return entries[:limit], {
        "continue": base64.urlsafe_b64encode(last_key).decode(),
        "remainingItemCount": len(entries) - limit,
    }
