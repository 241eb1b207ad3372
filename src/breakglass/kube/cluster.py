"""The cluster as the other packages see it: nodes, pods, volumes, rights and guarded patches."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from breakglass.cluster_name import ClusterName
from breakglass.config import Kubernetes
from breakglass.deadline import Late, within
from breakglass.errors import NoAnswer, Unreachable
from breakglass.kube import kubeconfig, patching
from breakglass.kube.faults import NOT_THE_API, Fault
from breakglass.kube.merge import SEE_THE_KUBECONFIG
from breakglass.kube.request import Ask, NodeRequests, list_pages
from breakglass.kube.session import Session, connect, shown_server
from breakglass.kube.shared import Shared
from breakglass.plan import PatchNode
from breakglass.ports import Patched
from breakglass.shape import fits
from breakglass.text import inert

T = TypeVar("T")

FRESH_SECONDS = 60.0
"""A session older than this is made anew: tokens of plugins and pods expire, and a COMMAND may run
for hours while pinned.
"""


class Cluster:
    """The cluster of the kubeconfig. Nothing is loaded or contacted before the first call."""

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
        self._last: Session | None = None
        self._nodes = Shared(lambda: self._list("nodes"))
        self._in_force: kubeconfig.InForce | None = None
        """The context of the first call: the run stays with it, whatever becomes of the file."""

    def name(self) -> ClusterName | None:
        """Which cluster it is, without contacting it; None where no kubeconfig says so."""
        if self._in_force is None:
            with suppress(Unreachable):  # the first call that needs the cluster reports it
                self._hold_context()
        if self._in_force is not None:
            own = self._settings.kubeconfig
            usual = kubeconfig.places(replace(self._settings, kubeconfig=None))
            is_usual = own is None or (own.expanduser(),) == usual
            return ClusterName(
                self._in_force.context,
                shown_server(self._in_force.server),
                None if is_usual else str(own),
            )
        host = os.environ.get("KUBERNETES_SERVICE_HOST")
        if self._settings.kubeconfig is not None or not host:
            return None
        host = f"[{host}]" if ":" in host else host
        return ClusterName(None, f"https://{host}:{os.environ.get('KUBERNETES_SERVICE_PORT', 443)}")

    def nodes(self) -> list[dict[str, Any]]:
        """Every Node object, as the API's JSON. Raises Unreachable."""
        return self._nodes()

    def pods(self) -> list[dict[str, Any]]:
        """Every Pod object that is not finished, as the API's JSON. Raises Unreachable."""
        return self._list("pods", fieldSelector="status.phase!=Succeeded,status.phase!=Failed")

    def volumes(self) -> list[dict[str, Any]]:
        """Every PersistentVolume object, as the API's JSON. Raises Unreachable."""
        return self._list("persistentvolumes")

    def can_patch_nodes(self) -> bool | None:
        """Whether we have the right to patch nodes; None if the API server does not answer this
        question. Raises Unreachable.
        """
        session = self._session()
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": "patch", "resource": "nodes"}},
        }

        def reviewed(ask: "Ask") -> bool | None:
            try:
                answer = ask(
                    "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review
                )
            except Fault as fault:
                if fault.status in (403, 404, 405):
                    return None
                raise
            if not fits(answer, {"status": {"allowed": bool}}):
                return None
            return bool(answer["status"]["allowed"])

        return self._within(session, "ask for our own rights", reviewed)

    def patch(
        self, steps: Sequence[PatchNode], finished: Callable[[Patched], None]
    ) -> list[Patched]:
        """Send the patches in parallel. Each node's failure is in its result; Unreachable is raised
        only before the first patch is sent.
        """
        if not steps:
            return []
        return patching.patch_all(
            NodeRequests(self._session(), self._request_seconds),
            steps,
            finished,
            quiet_seconds=self._operation_seconds,
        )

    def _list(self, resource: str, **options: str) -> list[dict[str, Any]]:
        return self._within(
            self._session(),
            f"list {resource}",
            lambda ask: list_pages(f"/api/v1/{resource}", ask, **options),
        )

    def _session(self) -> Session:
        if self._last is None or time.monotonic() - self._last.since > FRESH_SECONDS:
            self._hold_context()
            # In the calling thread, so that a signal ends a credential plugin as well.
            try:
                self._last = connect(self._settings, self._plugin_seconds)
            except Unreachable as error:
                # The kubeconfig is of no use, so no server was asked.
                raise NoAnswer(error.message, next_step=error.next_step) from error.__cause__
        return self._last

    def _hold_context(self) -> None:
        """A `kubectl config use-context` of somebody else must not move this run to another
        cluster. Raises Unreachable.
        """
        now = kubeconfig.in_force(self._settings)
        first = self._in_force
        if now is None:
            return
        if first is None:
            self._in_force = now
            self._settings = replace(self._settings, context=now.context)
        elif now.server != first.server:
            raise Unreachable(
                f"the kubeconfig was changed during this run: the context {inert(now.context)} "
                f"meant {shown_server(first.server)}, and means {shown_server(now.server)} now",
                next_step=SEE_THE_KUBECONFIG,
            )

    def _within(self, session: Session, purpose: str, work: Callable[[Ask], T]) -> T:
        """Do the requests of one question within the deadline. Raises Unreachable."""
        # The system's resolver, and a server that answers byte by byte, heed no time-out.
        deadline = time.monotonic() + self._operation_seconds
        ask = Ask(session, purpose, self._request_seconds, deadline)
        try:
            return within(self._operation_seconds, lambda: work(ask))
        except Late:
            raise NoAnswer(
                f"the API server {session.server} did not finish answering within "
                f"{self._operation_seconds:g} s",
                next_step=NOT_THE_API,
            ) from None
        except Fault as fault:
            if fault.status == 401:
                self._last = None
            kind = NoAnswer if fault.status is None else Unreachable
            raise kind(fault.why, next_step=fault.next_step) from fault.__cause__
