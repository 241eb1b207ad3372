"""Turns every failure of a request to the API server into a sentence and a next step."""

import errno
import re
import shlex

from breakglass.errors import AGAIN, NOTHING, Next, look_first, then
from breakglass.shape import parse_json

WITHOUT_IT = "fetch, import and restore work without it on a node that is named"
NOT_THE_API = then(AGAIN, advice=f"bring it back; until then {WITHOUT_IT}")
LOGIN = look_first("kubectl get nodes", advice="log in again")
SERVER = look_first(
    "kubectl config view --minify", advice="compare the server there, then try again"
)


class Fault(Exception):
    """A request that failed."""

    def __init__(
        self,
        why: str,
        *,
        status: int | None = None,
        next_step: Next = NOTHING,
        unsent: bool = False,
    ) -> None:
        super().__init__(why)
        self.why = why
        self.status = status
        """The HTTP status; None where no answer came."""
        self.next_step = next_step
        self.unsent = unsent
        """Whether no connection was made, so that the request was certainly not sent."""

    @property
    def declined(self) -> bool:
        """Whether the server refused the request, so that nothing was changed."""
        if self.status is None or self.status in (408, 409, 429):
            return False
        return 400 <= self.status < 500


def no_api(server: str) -> Fault:
    """An answer that is not JSON of the Kubernetes API."""
    return Fault(
        f"{server} answers, but not as a Kubernetes API server",
        next_step=SERVER,
    )


def declined(code: int, body: bytes, server: str, purpose: str) -> Fault:
    """An answer with an HTTP status other than 2xx."""
    message = _status_message(body)
    if code == 401:
        return Fault(
            f"the API server {server} does not accept our credentials (401)",
            status=code,
            next_step=LOGIN,
        )
    if code == 403:
        right = re.search(r"cannot (\S+) resource \"([^\"]+)\"", message)
        missing = " ".join(right.groups()) if right else purpose
        reason = message or "no reason given"
        return Fault(
            f"the API server {server} does not let us {missing} (403): {reason}",
            status=code,
            next_step=look_first(
                shlex.join(("kubectl", "auth", "can-i", *missing.split())),
                advice="ask for the right",
            ),
        )
    if not message:
        # A proxy or another server answered. Whether the request reached the API is not known.
        return Fault(
            f"{server} answers {code}, but not as a Kubernetes API server",
            status=code if code >= 500 else None,
            next_step=SERVER,
        )
    return Fault(
        f"the API server {server} answers {code}: {message}",
        status=code,
        next_step=NOT_THE_API if code >= 500 else then(AGAIN, advice=WITHOUT_IT),
    )


def _status_message(body: bytes) -> str:
    """The message of the API's Status object; empty if the body is something else."""
    try:
        status = parse_json(body)
    except (ValueError, TypeError):
        return ""
    if not isinstance(status, dict) or status.get("kind") != "Status":
        return ""
    return _plain(status.get("message"))


def unanswered(error: Exception, server: str, *, connect_seconds: float, seconds: float) -> Fault:
    """A request without an answer, or with only a part of it."""
    from urllib3 import exceptions

    inner, through = _innermost(error)
    if isinstance(inner, exceptions.SSLError):
        return tls(str(inner), server)
    # Each of the first three is a subclass of the next.
    if isinstance(inner, exceptions.NameResolutionError):
        why = f"the name in {server} cannot be resolved{through}"
    elif isinstance(inner, exceptions.NewConnectionError):
        why = _not_connected(inner, server, through)
    elif isinstance(inner, exceptions.ConnectTimeoutError):
        why = (
            f"the API server {server} did not accept a connection within {connect_seconds:g} "
            f"s{through}"
        )
    elif isinstance(inner, exceptions.TimeoutError):
        why = (
            f"the API server {server} accepts connections but did not answer within "
            f"{seconds:.3g} s{through}"
        )
    else:
        why = f"the connection to the API server {server} was lost{through}"
    unsent = isinstance(inner, exceptions.ConnectTimeoutError)
    return Fault(why, next_step=NOT_THE_API, unsent=unsent)


def _innermost(error: BaseException) -> tuple[BaseException, str]:
    """The error inside urllib3's wrappers, and words for the proxy if there is one."""
    from urllib3 import exceptions

    through = ""
    while isinstance(error, exceptions.MaxRetryError | exceptions.ProxyError):
        if isinstance(error, exceptions.ProxyError):
            through = " through the proxy of the environment or the kubeconfig"
            inner: BaseException | None = error.original_error
        else:
            inner = error.reason
        error = inner or OSError("no reason given")
    return error, through


def _not_connected(error: BaseException, server: str, through: str) -> str:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
        return f"the API server {server} refuses connections{through}"
    why = f"the API server {server} cannot be connected to{through}"
    if isinstance(cause, OSError) and cause.strerror:
        why += f": {cause.strerror}"
    return why


def tls(reason: str, server: str) -> Fault:
    """A TLS handshake that failed. `reason` is OpenSSL's message."""
    words = "the handshake failed"
    for pattern in (r"certificate verify failed: ([^(\n]+)", r"\[SSL: ([A-Z0-9_]+)\]"):
        if matched := re.search(pattern, reason):
            words = _plain(matched[1]).lower().replace("_", " ").strip()
            break
    return Fault(
        f"no TLS connection to the API server {server}: {words}",
        next_step=look_first(
            "kubectl config view --minify",
            advice="compare the server and the certificate authority there, then try again",
        ),
    )


def _plain(text: object) -> str:
    """Text from another host, as one line of at most 300 printable characters."""
    printable = (character if character.isprintable() else " " for character in str(text or ""))
    line = " ".join("".join(printable).split())
    return line if len(line) <= 300 else line[:299] + "…"
