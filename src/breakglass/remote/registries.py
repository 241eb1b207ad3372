"""Ask registries what they would give the containerd of this host: `registries.py QUESTIONS
[SECONDS]`. It only asks, and changes nothing.

QUESTIONS is JSON, a list of {"registry", "endpoints": [{"url", "override_path", "ca": [PATH],
"client": [[CERTIFICATE, KEY]], "skip_verify"}], "repository", "tags", "architecture"}; an endpoint
needs its url only. The answer is one line of JSON, a list of {"registry", "url", "repository",
"tag", "state", "detail", "missing"}, for each endpoint and tag in their order. The states: serves,
broken (it is announced, and parts of it are missing or wrong), lacks (404), refuses (also without a
login), unreachable. Whatever has no answer after SECONDS (8) is unreachable.

No login is used and no proxy. A manifest counts when its bytes hash to its digest, a blob when it
is there at its length. Python 3.8 or newer, standard library only; it travels as text.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import posixpath
import re
import socket
import ssl
import sys
import threading
import time
import traceback
import unicodedata
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urljoin, urlsplit

USAGE, FAILED = 2, 4
SECONDS, CONNECT_SECONDS, GRACE_SECONDS = 8.0, 3.0, 0.4
BODY_BYTES, DETAIL_CHARACTERS = 4 << 20, 299
AT_ONCE, REDIRECTS, INDEX_DEPTH = 8, 5, 3
REDIRECTIONS = (301, 302, 303, 307, 308)

ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
DIGEST = r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
VARIANTS = {"amd64": ("",), "arm64": ("", "v8"), "arm": ("v7", "", "v6", "v5")}
"""Which of an architecture's variants containerd takes, the best first."""


class Fault(Exception):
    """The arguments are not what they should be: one sentence."""


class Ended(Exception):
    """The look at one tag, or one part of it, ended with this."""

    def __init__(self, state: str, detail: str, *missing: str) -> None:
        super().__init__(detail)
        self.state, self.detail, self.missing = state, detail, missing


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    url: str
    """Where it came from, after redirects."""


def main(argv: list[str]) -> int:
    began = time.monotonic()
    try:
        questions, seconds = parse(argv)
    except Fault as fault:
        print(inert(f"registries.py: {fault}"), file=sys.stderr, flush=True)
        return USAGE
    answers: list[dict[str, Any]] = []
    threads = []
    for question in questions:
        for endpoint in question["endpoints"]:
            session = Session(question, endpoint, began, seconds)
            for tag in question["tags"]:
                about = {
                    "registry": question["registry"],
                    "url": endpoint["url"],
                    "repository": question["repository"],
                    "tag": tag,
                }
                answers.append(
                    {**about, "state": "unreachable", "detail": session.no_answer, "missing": []}
                )
                # Daemons: a resolver without servers cannot be interrupted, and is left behind.
                threads.append(
                    threading.Thread(
                        target=look,
                        args=(session, tag, question["architecture"], answers, len(answers) - 1),
                        daemon=True,
                    )
                )
    for thread in threads:
        thread.start()
    for thread in threads:
        # What is still on its way a moment after the deadline has no answer: its entry says so from
        # the start.
        thread.join(max(0.0, began + seconds + GRACE_SECONDS - time.monotonic()))
    try:
        print(json.dumps(list(answers), separators=(",", ":")), flush=True)
    except OSError:
        return FAILED  # nobody reads it any more
    return 0


def parse(argv: list[str]) -> tuple[list[dict[str, Any]], float]:
    if len(argv) not in (1, 2):
        raise Fault("expected is QUESTIONS, as JSON, and perhaps SECONDS")
    if len(argv) == 2 and (
        not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,3})?", argv[1]) or not float(argv[1])
    ):
        raise Fault(f"{argv[1]!r} is no number of seconds between 0 and 100")
    try:
        found = json.loads(argv[0])
    except (ValueError, RecursionError):
        raise Fault("the questions are not JSON") from None
    if not isinstance(found, list):
        raise Fault("the questions are not a list")
    return [read_question(value) for value in found], float(argv[1]) if len(argv) == 2 else SECONDS


def read_question(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != {
        "registry",
        "endpoints",
        "repository",
        "tags",
        "architecture",
    }:
        raise Fault("a question has exactly registry, endpoints, repository, tags and architecture")
    shapes = {
        "registry": r"[A-Za-z0-9\[][A-Za-z0-9.:\]_-]*",
        "repository": r"[A-Za-z0-9]([A-Za-z0-9/._-]*[A-Za-z0-9])?",
        "architecture": r"[a-z0-9_]+",
    }
    for key, shape in shapes.items():
        if (
            not isinstance(value[key], str)
            or not re.fullmatch(shape, value[key])
            or ".." in value[key]
        ):
            raise Fault(f"{json.dumps(value[key])} is no {key}")
    if not is_strings(value["tags"]) or not all(
        re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", tag) for tag in value["tags"]
    ):
        raise Fault("the tags are not a list of tags")
    if not isinstance(value["endpoints"], list):
        raise Fault("the endpoints are not a list")
    return {**value, "endpoints": [read_endpoint(endpoint) for endpoint in value["endpoints"]]}


def read_endpoint(value: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "override_path": False,
        "ca": [],
        "client": [],
        "skip_verify": False,
    }
    if (
        not isinstance(value, dict)
        or not isinstance(value.get("url"), str)
        or set(value) - set(defaults) - {"url"}
    ):
        raise Fault(f"an endpoint has a url and perhaps {', '.join(defaults)}, and nothing else")
    endpoint = {**defaults, **value}
    if not isinstance(endpoint["override_path"], bool) or not isinstance(
        endpoint["skip_verify"], bool
    ):
        raise Fault("an endpoint's override_path and skip_verify are true or false")
    if not is_strings(endpoint["ca"]):
        raise Fault("an endpoint's ca is a list of paths")
    if not isinstance(endpoint["client"], list) or not all(
        is_strings(pair) and len(pair) in (1, 2) for pair in endpoint["client"]
    ):
        raise Fault("an endpoint's client is a list of pairs of paths")
    return endpoint


# One image


def look(
    session: Session, tag: str, architecture: str, answers: list[dict[str, Any]], position: int
) -> None:
    """Put the verdict about one tag where it belongs, unless that has been printed by then."""
    verdict: tuple[str, str, tuple[str, ...]] = ("serves", "", ())
    try:
        check_image(session, tag, architecture)
    except Ended as ended:
        verdict = (ended.state, ended.detail, ended.missing)
    except Exception as error:  # a registry that makes us fail must not hide the others
        verdict = (
            "unreachable",
            f"it answers in a way that cannot be judged: {type(error).__name__}",
            (),
        )
    state, detail, missing = verdict
    answers[position] = {
        **answers[position],
        "state": state,
        "detail": inert(session.without_token(detail)),
        "missing": list(dict.fromkeys(missing)),
    }


def check_image(session: Session, tag: str, architecture: str) -> None:
    """Returns where a pull of the tag would succeed; raises Ended where not."""
    document = top(session, tag)
    for _ in range(INDEX_DEPTH):
        if "manifests" not in document:
            check_blobs(session, [document["config"], *document["layers"]])
            return
        digest, size = read_descriptor(child_for(document["manifests"], architecture))
        answer = session.ask("GET", f"manifests/{digest}")
        if answer.status != 200:
            raise part_lost(answer.status, f"{digest}, its image for linux/{architecture}", digest)
        if size is not None and len(answer.body) != size:
            raise Ended(
                "broken",
                (
                    f"{digest}, its image for linux/{architecture}, has {len(answer.body)} bytes "
                    f"instead of {size}"
                ),
                digest,
            )
        document = read_manifest(answer.body, digest)
    raise Ended("broken", "its indexes are nested too deep")


def top(session: Session, tag: str) -> dict[str, Any]:
    """What a tag means. As containerd does it: HEAD by tag (GET where HEAD is not allowed), then
    GET by the digest that came back.
    """
    name = f"{session.repository}:{tag}"
    head = session.ask("HEAD", f"manifests/{tag}")
    if head.status == 405:
        head = session.ask("GET", f"manifests/{tag}")
    if head.status != 200:
        raise Ended(
            "lacks" if head.status == 404 else "unreachable", f"HTTP {head.status} for {name}"
        )
    promised, length = head.headers.get("Docker-Content-Digest"), length_of(head)
    if promised and not re.fullmatch(DIGEST, promised):
        raise Ended("broken", f"what it announces as the digest of {name} is none")
    answer = session.ask("GET", f"manifests/{promised or tag}")
    if answer.status != 200:
        raise part_lost(
            answer.status,
            f"{promised or name}, which it announced for {name}",
            *([promised] if promised else []),
        )
    digest = promised or f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
    document = read_manifest(answer.body, digest)
    if length is not None and length != len(answer.body):
        raise Ended(
            "broken", f"{digest} has {len(answer.body)} bytes, announced were {length}", digest
        )
    return document


def check_blobs(session: Session, descriptors: list[Any]) -> None:
    needs = dict(read_descriptor(descriptor) for descriptor in descriptors)
    asked = {session.blob(digest): digest for digest in needs}
    lost: list[Ended] = []
    # What is known to be gone counts, also where the answer about another part does not come.
    done, late = wait_for(asked, timeout=session.left())
    for future, digest in asked.items():
        if future in done:
            try:
                lost += judge_blob(future.result(), digest, needs[digest])
            except Ended as ended:
                lost.append(ended)
    broken = [ended for ended in lost if ended.state == "broken"]
    if broken:
        words = "; ".join(ended.detail for ended in broken[:2]) + (
            f"; and {len(broken) - 2} more" if len(broken) > 2 else ""
        )
        raise Ended("broken", words, *(digest for ended in broken for digest in ended.missing))
    if lost:
        raise lost[0]
    if late:
        raise Ended("unreachable", session.no_answer)


def judge_blob(answer: Answer, digest: str, size: int | None) -> Iterator[Ended]:
    length = length_of(answer)
    if answer.status != 200:
        yield part_lost(answer.status, digest, digest)
    elif size is not None and length is not None and length != size:
        yield Ended("broken", f"{digest} has {length} bytes instead of {size}", digest)


def part_lost(status: int, what: str, *missing: str) -> Ended:
    # 502 to 504 speak of the server in front, not of the image.
    return (
        Ended("unreachable", f"HTTP {status} for {what}")
        if status in (502, 503, 504)
        else Ended("broken", f"HTTP {status} for {what}", *missing)
    )


def child_for(children: list[Any], architecture: str) -> Any:
    """The child that containerd would take. One without a platform is the last resort; attestations
    are for unknown/unknown.
    """
    wanted = ARCHITECTURES.get(architecture, architecture)
    ranked: list[tuple[int, int]] = []
    for position, child in enumerate(children):
        platform = child.get("platform") if isinstance(child, dict) else None
        variants = VARIANTS.get(wanted, ("",))
        if not isinstance(platform, dict):
            ranked.append((len(variants), position))
        elif (
            platform.get("os") == "linux"
            and ARCHITECTURES.get(str(platform.get("architecture")), platform.get("architecture"))
            == wanted
        ):
            variant = platform.get("variant") or ""
            ranked += [(variants.index(variant), position)] if variant in variants else []
    if not ranked:
        raise Ended("broken", f"its index has no image for linux/{architecture}")
    return children[min(ranked)[1]]


def read_manifest(body: bytes, digest: str) -> dict[str, Any]:
    """An index or a manifest, verified and of the shape that is relied upon here."""
    algorithm = digest.partition(":")[0]
    if f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}" != digest:
        raise Ended("broken", f"what is served as {digest} is something else", digest)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Ended("broken", f"{digest} is no JSON", digest) from None
    if isinstance(document, dict):
        if isinstance(document.get("manifests"), list):
            return {"manifests": document["manifests"]}
        if isinstance(document.get("config"), dict) and isinstance(document.get("layers"), list):
            return {"config": document["config"], "layers": document["layers"]}
    raise Ended(
        "broken", f"{digest} is neither an index nor a manifest that containerd can read", digest
    )


def read_descriptor(value: Any) -> tuple[str, int | None]:
    """Digest and size in bytes."""
    digest, size = (
        (value.get("digest"), value.get("size")) if isinstance(value, dict) else (None, None)
    )
    if not isinstance(digest, str) or not re.fullmatch(DIGEST, digest):
        raise Ended("broken", "it names a part by something that is no digest")
    return digest, size if isinstance(size, int) else None


def length_of(answer: Answer) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if re.fullmatch("[0-9]{1,18}", length) else None


# One endpoint


class Session:
    """One endpoint for one repository: its TLS, its anonymous token, and the blobs that were asked
    for.
    """

    def __init__(
        self, question: dict[str, Any], endpoint: dict[str, Any], began: float, seconds: float
    ) -> None:
        self.repository: str = question["repository"]
        self.no_answer = f"no answer within {seconds:g} s"
        self._endpoint, self._ends_at, self._connect_seconds = (
            endpoint,
            began + seconds,
            min(CONNECT_SECONDS, seconds),
        )
        self._names = urlencode({"ns": question["registry"]})
        self._blobs: dict[str, Future[Answer]] = {}
        self._tls: ssl.SSLContext | None = None
        self._token: str | None = None
        self._no_token: Ended | None = None
        self._lock, self._authorizing = threading.Lock(), threading.Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE)

    def ask(self, method: str, path: str) -> Answer:
        """Ask about the repository. Raises Ended where we are refused or nothing answers; judges no
        other status.
        """
        url, used = f"{base_of(self._endpoint)}/{self.repository}/{path}?{self._names}", self._token
        is_blob = path.startswith("blobs/")
        answer = self._follow(method, url, token=used, is_blob=is_blob)
        is_here = origin(answer.url) == origin(url)
        if answer.status == 401 and is_here and self._authorize(answer, used):
            answer = self._follow(method, url, token=self._token, is_blob=is_blob)
            is_here = origin(answer.url) == origin(url)
        if answer.status in (401, 403, 429):
            why = {
                401: "it wants a login",
                403: "it is not for everybody",
                429: "too many requests",
            }[answer.status]
            raise Ended(
                "refuses",
                f"HTTP {answer.status} for {self.repository}/{path}: {why}"
                + ("" if is_here else f", says {host_of(answer.url)}, where it redirects to"),
            )
        return answer

    def blob(self, digest: str) -> Future[Answer]:
        """Each is asked for once, however many tags need it."""
        with self._lock:
            if digest not in self._blobs:
                self._blobs[digest] = self._pool.submit(self._ask_blob, digest)
            return self._blobs[digest]

    def left(self) -> float:
        return max(0.0, self._ends_at - time.monotonic())

    def without_token(self, text: str) -> str:
        return text.replace(self._token, "(token)") if self._token else text

    def _ask_blob(self, digest: str) -> Answer:
        answer = self.ask("HEAD", f"blobs/{digest}")
        return self.ask("GET", f"blobs/{digest}") if answer.status == 405 else answer

    def _authorize(self, answer: Answer, used: str | None) -> bool:
        """An anonymous token, asked for once; False where there is none to be had, or the one that
        there is was not enough.
        """
        challenges = challenges_of(answer.headers.get_all("WWW-Authenticate", []))
        with self._authorizing:
            if self._no_token is not None:
                raise self._no_token
            if self._token is None and "bearer" in challenges:
                try:
                    self._token = self._ask_token(challenges["bearer"])
                except Ended as ended:
                    self._no_token = ended
                    raise
            return self._token != used

    def _ask_token(self, challenge: dict[str, str]) -> str:
        realm, wanted = challenge.get("realm", ""), challenge.get("scope", "")
        form = {"service": challenge["service"]} if challenge.get("service") else {}
        form["scope"] = (
            wanted if wanted.startswith("repository:") else f"repository:{self.repository}:pull"
        )
        where = f"its token service {host_of(realm)}"
        try:
            answer = self._follow("GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(form)}")
        except Ended as ended:
            raise Ended(ended.state, f"{where}: {ended.detail}") from ended
        if answer.status in (400, 401, 403, 429):
            raise Ended("refuses", f"{where} gives no token without a login: HTTP {answer.status}")
        try:
            document = json.loads(answer.body) if answer.status == 200 else {}
            token = str(document.get("token") or document.get("access_token") or "")
        except (ValueError, AttributeError, RecursionError):
            token = ""
        if not re.fullmatch("[!-~]+", token):
            raise Ended("unreachable", f"{where}: HTTP {answer.status} without a token")
        return token

    def _follow(
        self, method: str, url: str, *, token: str | None = None, is_blob: bool = False
    ) -> Answer:
        """One request and the redirects that it leads through. The token goes to the first server
        only.
        """
        target, accept = url, {"Accept": "*/*" if is_blob else ACCEPT}
        try:
            for _ in range(REDIRECTS + 1):
                allowed = (
                    {"Authorization": f"Bearer {token}"}
                    if token and origin(target) == origin(url)
                    else {}
                )
                # Of a blob that only GET tells about nothing is taken along.
                answer = self._send(
                    method,
                    target,
                    {**accept, **allowed},
                    takes_body=method != "HEAD" and not is_blob,
                )
                location = answer.headers.get("Location")
                if location is None or answer.status not in REDIRECTIONS:
                    return answer
                target = urljoin(target, location)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Ended(
                "unreachable",
                self._words(error)
                if target == url
                else f"redirected to {host_of(target)}: {self._words(error)}",
            ) from error
        raise Ended("unreachable", "it redirects without end")

    def _send(self, method: str, url: str, headers: dict[str, str], *, takes_body: bool) -> Answer:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise http.client.InvalidURL
        wire = self._connect(
            parts.hostname,
            parts.port or (443 if parts.scheme == "https" else 80),
            is_tls=parts.scheme == "https",
        )
        connection = http.client.HTTPConnection(parts.hostname)
        connection.sock = wire
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            about = {
                "Host": parts.netloc.rpartition("@")[2],
                "User-Agent": "breakglass",
                "Accept-Encoding": "identity",
                "Connection": "close",
            }
            connection.request(method, path, headers={**about, **headers})
            with connection.getresponse() as response:
                content = response.read(BODY_BYTES + 1) if takes_body else b""
                if len(content) > BODY_BYTES:
                    raise Ended(
                        "broken", f"more than {BODY_BYTES} bytes where a manifest should be"
                    )
                if takes_body and response.length:
                    raise http.client.IncompleteRead(content, response.length)
                return Answer(response.status, response.headers, content, url)
        finally:
            connection.close()
            wire.close()

    def _connect(self, host: str, port: int, *, is_tls: bool) -> socket.socket:
        context = self._context() if is_tls else None
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        until = time.monotonic() + self._connect_seconds
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            wire = socket.socket(family, kind, protocol)
            try:
                # An address that swallows everything must leave time for the next.
                wire.settimeout(
                    self._timeout(
                        min(until - time.monotonic(), self.left()) / (len(addresses) - index)
                    )
                )
                wire.connect(address)
                wire.settimeout(self._timeout(self.left()))
                return context.wrap_socket(wire, server_hostname=host) if context else wire
            except OSError as error:
                wire.close()
                is_last = index == len(addresses) - 1
                if (
                    is_last
                    and isinstance(error, (TimeoutError, socket.timeout))
                    and self.left() > 0.05
                ):  # two things until Python 3.10
                    raise OSError(f"no connection within {self._connect_seconds:g} s") from error
                if is_last or isinstance(error, ssl.SSLError):
                    raise
        raise OSError("its name has no address")

    def _timeout(self, seconds: float) -> float:
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def _context(self) -> ssl.SSLContext:
        """What containerd, a Go program, would accept; neither stricter nor laxer."""
        with self._lock:
            if self._tls is None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                if ssl.HAS_NEVER_CHECK_COMMON_NAME:
                    context.hostname_checks_common_name = False
                context.load_default_certs()
                # Python 3.13 judges private CAs more strictly than Go; Go trusts what it was given
                # without looking for a root above it.
                context.verify_flags = (
                    context.verify_flags | ssl.VerifyFlags(0x80000)
                ) & ~ssl.VERIFY_X509_STRICT
                if self._endpoint["skip_verify"]:
                    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                for file in self._endpoint["ca"]:
                    self._load(file, context.load_verify_locations, file)
                for pair in reversed(
                    self._endpoint["client"]
                ):  # the last one loaded is the one that is shown
                    # Without a password of its own OpenSSL would ask a terminal for it.
                    self._load(
                        pair[0],
                        context.load_cert_chain,
                        pair[0],
                        (pair[1:] or [""])[0] or None,
                        lambda: "",
                    )
                self._tls = context
            return self._tls

    def _load(self, file: str, load: Any, *arguments: Any) -> None:
        try:
            load(*arguments)
        except (OSError, ValueError) as error:
            reason = (
                "it holds nothing usable"
                if isinstance(error, (ssl.SSLError, ValueError))
                else (error.strerror or "it cannot be read").lower()
            )
            raise Ended("unreachable", f"the TLS file {file} cannot be used: {reason}") from error

    def _words(self, error: Exception) -> str:
        """Why there is no answer."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {error.verify_message}"
        if isinstance(error, (TimeoutError, socket.timeout)) and not error.errno:
            return self.no_answer
        if isinstance(error, socket.gaierror):
            return f"its name does not resolve: {error.strerror}"
        if isinstance(error, ssl.SSLError):
            return f"TLS fails: {(error.reason or 'no reason given').replace('_', ' ').lower()}"
        if isinstance(error, http.client.IncompleteRead):
            return "the connection was cut in the middle of an answer"
        if isinstance(error, (ValueError, http.client.InvalidURL)):
            return "its address cannot be used"
        if isinstance(error, http.client.RemoteDisconnected) or not isinstance(error, OSError):
            return f"it does not answer in HTTP: {error}"
        return (error.strerror or str(error)).lower()


def base_of(endpoint: dict[str, Any]) -> str:
    """containerd's rule: the path as it is with override_path, else ending in /v2."""
    url: str = (
        endpoint["url"] if endpoint["url"].startswith("http") else f"https://{endpoint['url']}"
    )
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # and asking it says that it cannot be used
    path = posixpath.normpath("/" + parts.path.strip("/")).rstrip("/")
    if not endpoint["override_path"] and not path.endswith("/v2"):
        path += "/v2"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{quote(path, safe='/%:@!$&+,;=~')}"


def origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def host_of(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "(no host)"
    except ValueError:
        return "(no host)"


def challenges_of(headers: list[str]) -> dict[str, dict[str, str]]:
    """Scheme -> parameters. Several challenges may share a header, and a quoted value may hold
    commas (RFC 9110, 11.6.1).
    """
    found: dict[str, dict[str, str]] = {}
    for header in headers:
        parameters: dict[str, str] = {}
        for name, quoted, plain in re.findall(
            r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|([^\s,"]+)))?""", header
        ):
            if quoted:
                parameters.setdefault(name.lower(), plain or re.sub(r"\\(.)", r"\1", quoted[1:-1]))
            else:
                parameters = found.setdefault(name.lower(), {})
    return found


def is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def inert(text: str) -> str:
    """Text from elsewhere is data: one line, no control characters, no megabytes."""
    line = " ".join(
        "".join(
            character if character.isprintable() else " "
            for character in text
            if unicodedata.category(character) != "Cf"
        ).split()
    )
    return line if len(line) <= DETAIL_CHARACTERS else line[: DETAIL_CHARACTERS - 1] + "…"


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    except BaseException:
        traceback.print_exc()
        status = 1
    # Threads that still wait for a registry or a resolver are not waited for.
    os._exit(status)
