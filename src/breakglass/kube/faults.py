"""What goes wrong between us and the API server, in words."""

import errno
import re

from breakglass.shape import parse_json

WITHOUT_IT = (
    "fetch and import work without it on a node that is named: breakglass fetch NODE, breakglass "
    "import NODE"
)
NOT_THE_API = f"bring it back; until then {WITHOUT_IT}"
LOGIN = "log in again, then try: kubectl get nodes"


class Fault(Exception):
    """A request that was not answered with what was asked for."""

    def __init__(
        self, why: str, *, status: int | None = None, next_step: str = "", unsent: bool = False
    ) -> None:
        super().__init__(why)
        self.why = why
        self.status = status
        """The HTTP status; None where no answer came."""
        self.next_step = next_step
        self.unsent = unsent
        """No connection was made: the request certainly did not leave."""

    @property
    def declined(self) -> bool:
        """Whether the server said no, so that nothing was changed."""
        return (
            self.status is not None
            and 400 <= self.status < 500
            and self.status not in (408, 409, 429)
        )


def no_api(server: str) -> Fault:
    return Fault(
        f"{server} answers, but not as a Kubernetes API server",
        next_step="compare the server in: kubectl config view --minify",
    )


def declined(code: int, body: bytes, server: str, what: str) -> Fault:
    """An HTTP status other than 2xx, in words."""
    try:
        status = parse_json(body)
    except (ValueError, TypeError):
        status = {}
    told = (
        _plain(status.get("message"))
        if isinstance(status, dict) and status.get("kind") == "Status"
        else ""
    )
    if code == 401:
        return Fault(
            f"the API server {server} does not accept our credentials (401)",
            status=code,
            next_step=LOGIN,
        )
    if code == 403:
        right = re.search(r"cannot (\S+) resource \"([^\"]+)\"", told)
        missing = " ".join(right.groups()) if right else what
        return Fault(
            f"the API server {server} does not let us {missing} (403): {told or 'no reason given'}",
            status=code,
            next_step=f"ask for the right, then: kubectl auth can-i {missing}",
        )
    if not told:
        # A proxy or another server spoke; what it did with the request is not known.
        return Fault(
            f"{server} answers {code}, but not as a Kubernetes API server",
            status=code if code >= 500 else None,
            next_step="compare the server in: kubectl config view --minify",
        )
    return Fault(
        f"the API server {server} answers {code}: {told}",
        status=code,
        next_step=NOT_THE_API if code >= 500 else f"try again; {WITHOUT_IT}",
    )


def unanswered(error: Exception, server: str, *, connect_seconds: float, seconds: float) -> Fault:
    """No answer, or half of one, in words."""
    from urllib3 import exceptions

    inner: BaseException = error
    through = ""
    while isinstance(inner, exceptions.MaxRetryError | exceptions.ProxyError):
        through = (
            " through the proxy of the environment or the kubeconfig"
            if isinstance(inner, exceptions.ProxyError)
            else through
        )
        inner = (
            inner.original_error if isinstance(inner, exceptions.ProxyError) else inner.reason
        ) or OSError("no reason given")
    cause = inner.__cause__ or inner.__context__
    if isinstance(inner, exceptions.NameResolutionError):
        said = f"the name in {server} cannot be resolved{through}"
    elif isinstance(inner, exceptions.SSLError):
        return tls(str(inner), server)
    elif isinstance(inner, exceptions.ConnectTimeoutError) and not isinstance(
        inner, exceptions.NewConnectionError
    ):
        said = (
            f"the API server {server} did not accept a connection within {connect_seconds:g} "
            f"s{through}"
        )
    elif isinstance(inner, exceptions.NewConnectionError):
        refused = isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED
        said = (
            f"the API server {server} "
            f"{'refuses connections' if refused else 'cannot be connected to'}{through}"
        )
        if not refused and isinstance(cause, OSError) and cause.strerror:
            said += f": {cause.strerror}"
    elif isinstance(inner, exceptions.TimeoutError):
        said = (
            f"the API server {server} accepts connections but did not answer within "
            f"{seconds:.3g} s{through}"
        )
    else:
        said = f"the connection to the API server {server} was lost{through}"
    return Fault(
        said,
        next_step=NOT_THE_API,
        unsent=isinstance(
            inner,
            exceptions.ConnectTimeoutError
            | exceptions.NewConnectionError
            | exceptions.NameResolutionError,
        ),
    )


def tls(told: str, server: str) -> Fault:
    reason = re.search(r"certificate verify failed: ([^(\n]+)", told) or re.search(
        r"\[SSL: ([A-Z0-9_]+)\]", told
    )
    said = (
        _plain(reason.group(1)).lower().replace("_", " ").strip()
        if reason
        else "the handshake failed"
    )
    return Fault(
        f"no TLS connection to the API server {server}: {said}",
        next_step="compare server and certificate authority in: kubectl config view --minify",
    )


def _plain(text: object) -> str:
    """Text of another host, as one inert line of a few hundred characters."""
    line = " ".join(
        "".join(
            character if character.isprintable() else " " for character in str(text or "")
        ).split()
    )
    return line if len(line) <= 300 else line[:299] + "…"
