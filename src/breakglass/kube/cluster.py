"""The Kubernetes API: nodes, pods, rights and guarded patches. The only module that knows the
kubernetes package.
"""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from breakglass.config import Kubernetes
from breakglass.deadline import Late, within
from breakglass.errors import Unreachable
from breakglass.kube import identity, kubeconfig, patching
from breakglass.kube.faults import NOT_THE_API, Fault, declined, no_api, tls, unanswered
from breakglass.plan import PatchNode
from breakglass.ports import Patched
from breakglass.shape import fits, parse_json

T = TypeVar("T")

CONNECT_SECONDS = 5.0
PAGE = 500
FRESH_SECONDS = 60.0
"""A session older than this is built anew: tokens of plugins and of pods expire, and a COMMAND may
run for hours while pinned.
"""

_PAGE = {
    "kind": re.compile("(Node|Pod|PersistentVolume)List"),
    "items": ([{"metadata": {"name": re.compile("[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")}}], None),
    "metadata": ({"continue": (str, None)}, None),
}
"""A list of nodes, pods or persistent volumes. Every name is an RFC 1123 subdomain: it is told in
lines to type.
"""


@dataclass(frozen=True)
class _Session:
    api: Any
    """The client's own layer below its models: those take a second to load, and we read plain
    JSON.
    """
    server: str
    since: float


class Cluster:
    """The cluster that the kubeconfig means. Nothing is loaded or contacted before the first
    call.
    """

    def __init__(
        self,
        settings: Kubernetes,
        *,
        request_timeout_seconds: float = 10.0,
        operation_timeout_seconds: float = 30.0,
        plugin_timeout_seconds: float | None = 15.0,
    ) -> None:
        self._settings = settings
        self._request_seconds = request_timeout_seconds
        self._operation_seconds = operation_timeout_seconds
        self._plugin_seconds = plugin_timeout_seconds
        self._last: _Session | None = None

    def nodes(self) -> list[dict[str, Any]]:
        """Every Node object, as the API's JSON. Raises Unreachable."""
        session = self._session()
        return self._within(session, "list nodes", lambda ask: _pages("/api/v1/nodes", ask))

    def pods(self) -> list[dict[str, Any]]:
        """Every Pod object that is not finished, as the API's JSON. Raises Unreachable."""
        session = self._session()
        running = "status.phase!=Succeeded,status.phase!=Failed"
        return self._within(
            session, "list pods", lambda ask: _pages("/api/v1/pods", ask, fieldSelector=running)
        )

    def volumes(self) -> list[dict[str, Any]]:
        """Every PersistentVolume object, as the API's JSON. Raises Unreachable."""
        session = self._session()
        return self._within(
            session, "list persistentvolumes", lambda ask: _pages("/api/v1/persistentvolumes", ask)
        )

    def can_patch_nodes(self) -> bool | None:
        """Whether the API server would let us patch nodes; None where it does not say. Raises
        Unreachable.
        """
        session = self._session()
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": "patch", "resource": "nodes"}},
        }

        def reviewed(ask: "_Ask") -> bool | None:
            try:
                answer = ask(
                    "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review
                )
            except Fault as fault:
                if fault.status in (403, 404, 405):
                    return None
                raise
            return (
                answer["status"]["allowed"] is True
                if fits(answer, {"status": {"allowed": bool}})
                else None
            )

        return self._within(session, "ask for our own rights", reviewed)

    def patch(
        self, steps: Sequence[PatchNode], finished: Callable[[Patched], None]
    ) -> list[Patched]:
        """Send the patches in parallel; never raises for a single node. Raises Unreachable before
        the first is sent.
        """
        if not steps:
            return []
        return patching.patch_all(
            _Nodes(self._session(), self._request_seconds),
            steps,
            finished,
            quiet_seconds=self._operation_seconds,
        )

    def _session(self) -> _Session:
        if self._last is None or time.monotonic() - self._last.since > FRESH_SECONDS:
            # In the calling thread, so that a signal ends a credential plugin as well.
            self._last = _connect(self._settings, self._plugin_seconds)
        return self._last

    def _within(self, session: _Session, what: str, work: "Callable[[_Ask], T]") -> T:
        """Do the requests of one question within the deadline, whatever hangs: the resolver and a
        trickling server heed no time-out.
        """
        ask = _Ask(session, what, self._request_seconds, time.monotonic() + self._operation_seconds)
        try:
            return within(self._operation_seconds, lambda: work(ask))
        except Late:
            raise Unreachable(
                f"the API server {session.server} did not finish answering within "
                f"{self._operation_seconds:g} s",
                next_step=NOT_THE_API,
            ) from None
        except Fault as fault:
            if fault.status == 401:
                self._last = None
            raise Unreachable(fault.why, next_step=fault.next_step) from fault.__cause__


@dataclass(frozen=True)
class _Ask:
    """One request of the client, answered with the API's JSON or raising Fault."""

    session: _Session
    what: str
    request_seconds: float
    deadline: float

    def __call__(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, object] | None = None,
        media_type: str = "application/json",
    ) -> dict[str, Any]:
        seconds = min(self.request_seconds, max(0.05, self.deadline - time.monotonic()))
        connect_seconds = min(CONNECT_SECONDS, seconds)
        api, server = self.session.api, self.session.server
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json", "Content-Type": media_type}
        _, url, headers, content, _ = api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = api.call_api(
                method, url, headers, content, _request_timeout=(connect_seconds, seconds)
            )
            text = response.read()
            if not 200 <= response.status < 300:
                raise declined(response.status, text, server, self.what)
            answer: Any = parse_json(text)
        except ApiException as error:
            raise tls(str(error.reason), server) from error
        except (HTTPError, OSError) as error:
            raise unanswered(
                error, server, connect_seconds=connect_seconds, seconds=seconds
            ) from error
        except ValueError as error:
            # Not chained: what answered may be anything.
            del error
            answer = None
        if not fits(answer, {"kind": str}):
            raise no_api(server)
        found: dict[str, Any] = answer
        return found


class _Nodes:
    """Reading and patching single nodes, for patching.py."""

    def __init__(self, session: _Session, request_seconds: float) -> None:
        self._session, self._request_seconds = session, request_seconds

    def read(self, name: str, *, seconds: float) -> dict[str, Any]:
        return _node(
            self._ask("get nodes", seconds)("GET", f"/api/v1/nodes/{quote(name, safe='')}")
        )

    def send(self, name: str, patch: Mapping[str, object], *, seconds: float) -> dict[str, Any]:
        return _node(
            self._ask("patch nodes", seconds)(
                "PATCH",
                f"/api/v1/nodes/{quote(name, safe='')}",
                body=dict(patch),
                media_type="application/merge-patch+json",
            )
        )

    def _ask(self, what: str, seconds: float) -> _Ask:
        return _Ask(self._session, what, self._request_seconds, time.monotonic() + seconds)


def _node(answer: dict[str, Any]) -> dict[str, Any]:
    if answer["kind"] != "Node" or not isinstance(answer.get("metadata"), dict):
        raise Fault("the API server answered with something else than the node")
    return answer


def _pages(path: str, ask: _Ask, **options: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    following: dict[str, Any] = {"limit": PAGE}
    while True:
        try:
            page = ask("GET", path, query=options | following)
        except Fault as fault:
            if fault.status != 410 or "limit" not in following:
                raise
            # The list has grown too old to go on in: once more, in one piece.
            items, following = [], {}
            continue
        if not fits(page, _PAGE):
            raise no_api(ask.session.server)
        items += page.get("items") or []
        token = (page.get("metadata") or {}).get("continue")
        if not token:
            return items
        following = {"limit": PAGE, "continue": token}


def _connect(settings: Kubernetes, plugin_seconds: float | None) -> _Session:
    """A client for the kubeconfig in force; in a pod without one, for the pod's own service
    account.
    """
    document = kubeconfig.resolve(settings, plugin_timeout_seconds=plugin_seconds)
    in_cluster = settings.kubeconfig is None and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    if document is None and not in_cluster:
        looked = " and ".join(str(path) for path in kubeconfig.places(settings))
        raise Unreachable(
            f"no kubeconfig was found, looked for {looked}",
            next_step="set kubernetes.kubeconfig in the configuration, or KUBECONFIG",
        )
    import urllib3
    from kubernetes import client, config

    configuration = client.Configuration()
    loader: Any = config
    texts: dict[str, str] = {}
    try:
        if document is None:
            loader.load_incluster_config(
                client_configuration=configuration, try_refresh_token=False
            )
        else:
            document, texts = identity.without_texts(document)
            loader.load_kube_config_from_dict(
                document, client_configuration=configuration, persist_config=False
            )
            configuration.ca_cert_data = (
                texts.get("certificate-authority-data") or configuration.ca_cert_data
            )
            # It would load everything again on every request.
            configuration.refresh_api_key_hook = None
        configuration.retries = False
        configuration.connection_pool_maxsize = patching.THREADS
        context = identity.context(texts, configuration)
        api = client.ApiClient(configuration)
        api.rest_client.pool_manager.connection_pool_kw["ssl_context"] = context
    except Exception:
        # Not chained: the client quotes whole entries of the kubeconfig, tokens included.
        where = (
            "the pod's service account"
            if document is None
            else f"the kubeconfig {', '.join(str(path) for path in kubeconfig.places(settings))}"
        )
        raise Unreachable(
            f"the client cannot use {where}: a certificate, key or address in it is malformed",
            next_step="kubectl config view",
        ) from None
    if not configuration.verify_ssl:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    address = urlsplit(configuration.host)
    return _Session(
        api, f"{address.scheme}://{address.netloc.rpartition('@')[2]}", time.monotonic()
    )
