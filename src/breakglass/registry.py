"""What registries serve, asked as a client that pulls would ask. The only module that speaks HTTP to registries.

The protocol: OCI distribution specification 1.1; the token service: distribution's "Token Authentication Specification".
No proxy is used, and nothing is believed unseen: a manifest counts when its bytes hash to its digest, a blob when it is there at its length.
"""

import base64
import contextlib
import hashlib
import http.client
import io
import json
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from breakglass import __version__
from breakglass.config import Registry
from breakglass.observe.text import inert

State = Literal["serves", "unreachable", "refuses", "lacks the tag", "broken"]
T = TypeVar("T")

DEADLINE_SECONDS = 8.0
AT_ONCE = 8
MAX_BYTES = 4 << 20
MAX_REDIRECTS = 5
MAX_INDEX_DEPTH = 3
ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
DIGEST = re.compile("sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True)
class Found:
    """What one registry serves under a tag."""

    name: str
    state: State
    digest: str | None = None
    """Of what the tag means, index or manifest."""
    missing: tuple[str, ...] = ()
    """Digests of what is gone, or not what its digest and size say."""
    image_ids: Mapping[str, str] = field(default_factory=dict)
    """Platform -> digest of the configuration."""
    detail: str = ""


@dataclass(frozen=True)
class ImageId:
    """What a registry says that a reference means now."""

    state: State
    image_id: str | None = None
    """None unless the state is `serves`."""
    missing: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class Login:
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Credentials:
    """The logins of one file. The format: docker's config.json, containers-auth.json(5)."""

    source: str = "(no file)"
    logins: Mapping[str, Login] = field(default_factory=dict, repr=False)
    excuses: Mapping[str, str] = field(default_factory=dict)
    """Host -> why its login is of no use; the key "" stands for every host."""

    def find(self, host: str, repository: str) -> Login | None:
        """The login for a host; one for a part of its repositories comes first."""
        keys = [*_prefixes(f"{host}/{repository}"), *(("index.docker.io", "docker.io") if host == "registry-1.docker.io" else ())]
        return next((self.logins[key] for key in keys if key in self.logins), None)

    def explain(self, host: str) -> str:
        """Why there is no login for a host."""
        return self.excuses.get(host) or self.excuses.get("") or f"there is no login for {host} in {self.source}"


def look_all(registries: Sequence[Registry], tag: str, *, credentials: Credentials, deadline_seconds: float = DEADLINE_SECONDS, platform: str | None = None) -> tuple[Found, ...]:
    """Look at all registries at the same time, each with its own deadline."""
    if not registries:
        return ()
    with ThreadPoolExecutor(len(registries)) as pool:
        return tuple(pool.map(lambda registry: look(registry, tag, credentials=credentials, deadline_seconds=deadline_seconds, platform=platform), registries))


def look(registry: Registry, tag: str, *, credentials: Credentials, deadline_seconds: float = DEADLINE_SECONDS, platform: str | None = None) -> Found:
    """Whether a pull would succeed, without pulling. Never raises for what a registry does, and ends at the deadline.

    With a platform, only what that platform's image needs decides; what else is missing is told.
    """
    session = _Session(registry, credentials, deadline_seconds)
    digest = None
    try:
        session.ping()
        digest, top = _top(session, tag)
        return _judge(session, registry.name, digest, top, platform)
    except _Ended as ended:
        return Found(registry.name, ended.state, digest or ended.digest, ended.missing, detail=ended.detail)


def image_id(reference: str, registries: Iterable[Registry], *, platform: str, credentials: Credentials, deadline_seconds: float = DEADLINE_SECONDS) -> ImageId:
    """The configuration's digest of REGISTRY/REPOSITORY:TAG, from the configured registry of that host, else from https://REGISTRY."""
    host, _, path = reference.partition("/")
    repository, _, tag = path.rpartition(":")
    session = _Session(_registry_of(host, repository, registries), credentials, deadline_seconds)
    try:
        session.ping()
        _, manifest = _top(session, tag)
        for _ in range(MAX_INDEX_DEPTH):
            if "manifests" not in manifest:
                return ImageId("serves", _descriptor(manifest["config"])[0])
            offered = {_platform(child): child for child in manifest["manifests"]}
            if _normal(platform) not in offered:
                raise _Ended("broken", f"its index has no image for {platform}")
            manifest = _child(session, offered[_normal(platform)])
        raise _Ended("broken", "its indexes are nested too deep")
    except _Ended as ended:
        return ImageId(ended.state, None, ended.missing, ended.detail)


def read_credentials(environ: Mapping[str, str], home: Path) -> Credentials:
    """From $REGISTRY_AUTH_FILE, else ~/.docker/config.json. A file that cannot be read is an excuse, told when a registry refuses us."""
    path = Path(environ.get("REGISTRY_AUTH_FILE") or home / ".docker" / "config.json")
    try:
        document = json.loads(path.read_bytes())
        auths, helpers = document.get("auths") or {}, document.get("credHelpers") or {}
        entries = {_key(name): entry for name, entry in auths.items() if isinstance(entry, dict)}
        stores = {_key(host): str(helper) for host, helper in helpers.items()} | ({"": str(document["credsStore"])} if document.get("credsStore") else {})
    except OSError as error:
        return Credentials(str(path), excuses={"": f"{path} cannot be read: {error.strerror}"})
    except (ValueError, AttributeError, RecursionError):
        return Credentials(str(path), excuses={"": f"{path} is not a file of registry logins"})
    logins: dict[str, Login] = {}
    elsewhere = "its login is kept by docker-credential-{}, which breakglass does not run: put it into a file and name that in $REGISTRY_AUTH_FILE"
    excuses = {host: elsewhere.format(inert(helper)) for host, helper in stores.items()}
    for key, entry in entries.items():
        if key in stores or not any(entry.get(name) for name in ("auth", "username", "identitytoken")):
            continue
        try:
            logins[key] = _login(entry)
        except ValueError:
            excuses[key] = f"the login for {inert(key)} in {path} is malformed"
    return Credentials(str(path), logins, excuses)


def _key(name: str) -> str:
    """`https://HOST/v1/` means HOST; `HOST/some/path` without a scheme is for those repositories."""
    bare = re.sub("^https?://", "", name)
    return bare.partition("/")[0] if bare != name else bare.rstrip("/")


def _prefixes(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _login(entry: Mapping[str, Any]) -> Login:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        # docker pads with NULs.
        username, colon, password = base64.b64decode(str(entry["auth"]), validate=True).decode().rstrip("\0").partition(":")
        if not colon:
            raise ValueError("no colon")
    return Login(username, password, str(entry.get("identitytoken") or ""))


def _registry_of(host: str, repository: str, registries: Iterable[Registry]) -> Registry:
    for registry in registries:
        if registry.url.partition("://")[2].removesuffix(":443" if registry.url.startswith("https:") else ":80") == host.removesuffix(":443"):
            return replace(registry, repository=repository)
    # As docker and containerd do: docker.io lives elsewhere, and this machine's own registry needs no TLS.
    scheme = "http" if re.fullmatch(r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]+)?", host) else "https"
    return Registry(host, f"{scheme}://{'registry-1.docker.io' if host == 'docker.io' else host}", repository)


class _Ended(Exception):
    """The look ended, or one part of it, with this."""

    def __init__(self, state: State, detail: str = "", *, missing: tuple[str, ...] = (), digest: str | None = None) -> None:
        super().__init__(detail)
        self.state, self.detail, self.missing, self.digest = state, detail, missing, digest


def _top(session: "_Session", tag: str) -> tuple[str, dict[str, Any]]:
    """What a tag means: its digest and the index or manifest. As containerd does it: HEAD by tag, GET by the digest that came back."""
    head = session.ask("HEAD", f"manifests/{tag}")
    if head.status == 404:
        raise _Ended("lacks the tag", f"HTTP 404 for {session.repository}:{tag}")
    said = head.headers.get("Docker-Content-Digest", "")
    promised = said if head.status == 200 and DIGEST.fullmatch(said) else None
    if head.status >= 500:
        raise _Ended("unreachable", f"HTTP {head.status} for {session.repository}:{tag}")
    answer = session.ask("GET", f"manifests/{promised or tag}")
    if answer.status == 404 and promised is None:
        raise _Ended("lacks the tag", f"HTTP 404 for {session.repository}:{tag}")
    if answer.status != 200:
        if promised is None:
            raise _Ended("unreachable", f"HTTP {answer.status} for {session.repository}:{tag}")
        raise _part_lost(promised, "what the tag means", answer.status)
    digest = promised or f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
    return digest, _manifest(answer.body, digest)


def _judge(session: "_Session", name: str, digest: str, top: dict[str, Any], platform: str | None) -> Found:
    """Look at every child and every blob; then say what that comes to."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        descriptors: list[Any] | None = top.get("manifests")
        reads = pool.map(_caught(lambda child: _leaves(session, child)), descriptors) if descriptors is not None else iter([[(None, top)]])
        lost: list[tuple[str | None, _Ended]] = []
        leaves: list[tuple[str | None, dict[str, Any]]] = []
        for index, read in enumerate(reads):
            if isinstance(read, _Ended):
                lost.append((_platform(descriptors[index]) if descriptors else None, read))
            else:
                leaves += read
        platforms = list(pool.map(_caught(lambda leaf: leaf[0] or _configured_platform(session, leaf[1])), leaves))
        needs: dict[tuple[str, int | None], list[str | None]] = {}
        image_ids: dict[str, str] = {}
        for (_, manifest), its in zip(leaves, platforms, strict=True):
            its_platform = None if isinstance(its, _Ended) else its
            lost += [(None, its)] if isinstance(its, _Ended) else []
            image_ids |= {its_platform: manifest["config"]["digest"]} if its_platform and not its_platform.startswith("unknown/") else {}
            for descriptor in (manifest["config"], *manifest["layers"]):
                needs.setdefault(_descriptor(descriptor), []).append(its_platform)
        for users, ended in zip(needs.values(), pool.map(_caught(lambda need: _find_blob(session, *need)), needs), strict=True):
            if ended is not None:
                lost += [(user, ended) for user in users]
    return _verdict(Found(name, "serves", digest, image_ids=image_ids), lost, _normal(platform) if platform else None)


def _verdict(found: Found, lost: list[tuple[str | None, _Ended]], platform: str | None) -> Found:
    broken = [ended for _, ended in lost if ended.state == "broken"]
    missing = tuple(dict.fromkeys(digest for ended in broken for digest in ended.missing))
    details = list(dict.fromkeys(ended.detail for ended in broken))
    words = "; ".join(details[:3]) + (f"; and {len(details) - 3} more" if len(details) > 3 else "")
    # A part whose platform nobody knows may be anybody's.
    decisive = [ended for its, ended in lost if platform is None or its is None or its == platform]
    if any(ended.state == "broken" for ended in decisive):
        return replace(found, state="broken", missing=missing, detail=words)
    if decisive:
        return replace(found, state=decisive[0].state, detail=decisive[0].detail)
    if platform is not None and platform not in found.image_ids:
        return replace(found, state="broken", missing=missing, detail=f"there is no image for {platform}, only for {inert(', '.join(found.image_ids)) or 'none'}")
    return replace(found, missing=missing, detail=f"only for other platforms: {words}" if words else "")


def _caught(function: Callable[[Any], T]) -> Callable[[Any], "T | _Ended"]:
    def call(argument: Any) -> T | _Ended:
        try:
            return function(argument)
        except _Ended as ended:
            return ended

    return call


def _leaves(session: "_Session", descriptor: Any, depth: int = 1) -> list[tuple[str | None, dict[str, Any]]]:
    """(platform, manifest) of a child, which may be an index itself."""
    manifest = _child(session, descriptor)
    if "manifests" not in manifest:
        return [(_platform(descriptor), manifest)]
    if depth == MAX_INDEX_DEPTH:
        raise _Ended("broken", "its indexes are nested too deep")
    return [leaf for child in manifest["manifests"] for leaf in _leaves(session, child, depth + 1)]


def _child(session: "_Session", descriptor: Any) -> dict[str, Any]:
    digest, size = _descriptor(descriptor)
    answer = session.ask("GET", f"manifests/{digest}")
    if answer.status != 200:
        raise _part_lost(digest, "a child of the index", answer.status)
    if size is not None and len(answer.body) != size:
        raise _Ended("broken", f"{digest} (a child of the index) has {len(answer.body)} bytes instead of {size}", missing=(digest,))
    return _manifest(answer.body, digest)


def _find_blob(session: "_Session", digest: str, size: int | None) -> None:
    answer = session.ask("HEAD", f"blobs/{digest}")
    if answer.status != 200:
        raise _part_lost(digest, "a blob", answer.status)
    length = answer.headers.get("Content-Length", "")
    if size is not None and length.isascii() and length.isdigit() and int(length[:20]) != size:
        raise _Ended("broken", f"{digest} (a blob) has {length[:20]} bytes instead of {size}", missing=(digest,))


def _part_lost(digest: str, what: str, status: int) -> _Ended:
    # 502 to 504 speak of the server in front, not of the image.
    if status in (502, 503, 504):
        return _Ended("unreachable", f"HTTP {status} for {digest} ({what})", digest=digest)
    return _Ended("broken", f"HTTP {status} for {digest} ({what})", missing=(digest,), digest=digest)


def _manifest(body: bytes, digest: str) -> dict[str, Any]:
    """An index or manifest, verified and of the shape that is relied upon here."""
    _verify(body, digest)
    try:
        manifest = json.loads(body)
    except (ValueError, RecursionError):
        manifest = None
    if isinstance(manifest, dict) and isinstance(manifest.get("manifests"), list):
        return {"manifests": manifest["manifests"]}
    if isinstance(manifest, dict) and isinstance(manifest.get("layers"), list) and "config" in manifest:
        for descriptor in (manifest["config"], *manifest["layers"]):
            _descriptor(descriptor)
        return {"config": manifest["config"], "layers": manifest["layers"]}
    raise _Ended("broken", f"{digest} is not a manifest that containerd can read", missing=(digest,), digest=digest)


def _descriptor(value: Any) -> tuple[str, int | None]:
    """Digest and size in bytes."""
    digest, size = (value.get("digest"), value.get("size")) if isinstance(value, dict) else (None, None)
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise _Ended("broken", "it names a part by something that is no digest")
    return digest, size if isinstance(size, int) else None


def _platform(descriptor: Any) -> str | None:
    return _spelled(descriptor.get("platform") if isinstance(descriptor, dict) else None)


def _configured_platform(session: "_Session", manifest: dict[str, Any]) -> str | None:
    """The platform of an image outside an index: its configuration says it."""
    digest, _ = _descriptor(manifest["config"])
    answer = session.ask("GET", f"blobs/{digest}")
    if answer.status != 200:
        return None
    _verify(answer.body, digest)
    with contextlib.suppress(ValueError, RecursionError):
        return _spelled(json.loads(answer.body))
    return None


def _verify(body: bytes, digest: str) -> None:
    algorithm = digest.partition(":")[0]
    if f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}" != digest:
        raise _Ended("broken", f"{digest}: what is served under this digest is something else", missing=(digest,), digest=digest)


def _spelled(value: Any) -> str | None:
    if not isinstance(value, dict) or not value.get("os") or not value.get("architecture"):
        return None
    return _normal("/".join(str(value[key]) for key in ("os", "architecture", "variant") if value.get(key)))


def _normal(platform: str) -> str:
    return re.sub("/arm64/v8$", "/arm64", platform)


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    url: str
    """Where it came from, after redirects."""


class _Session:
    """One registry for the time of one look: its login, and the moment at which everything ends."""

    def __init__(self, registry: Registry, credentials: Credentials, deadline_seconds: float) -> None:
        self.repository, self._url, self._ca = registry.repository, registry.url, registry.ca
        self._deadline_seconds, self._ends_at = deadline_seconds, time.monotonic() + deadline_seconds
        host = urlsplit(registry.url).netloc
        self._login = credentials.find(host, registry.repository)
        self._login_words = f"the login in {credentials.source} was not enough" if self._login else credentials.explain(host)
        self._authorization: str | None = None
        self._authorizing = threading.Lock()
        self._addresses: dict[tuple[str, int], list[Any]] = {}
        self._tls: ssl.SSLContext | None = None

    def ping(self) -> None:
        """Whether there is a registry at all, and which login it wants."""
        answer = self._send("GET", f"{self._url}/v2/")
        if answer.status == 401:
            # Where no login will do, the manifest may still be there for everybody.
            self._authorize(answer, None)
        elif answer.status in (403, 429):
            raise _Ended("refuses", f"HTTP {answer.status} for /v2/; {self._login_words}")
        elif answer.status != 200 or urlsplit(answer.url).hostname != urlsplit(self._url).hostname:
            raise _Ended("unreachable", f"what answers there is no registry: HTTP {answer.status} for {inert(answer.url)}")

    def ask(self, method: str, path: str) -> _Answer:
        """Ask about the repository. Raises _Ended where we are refused or nothing answers; judges no other status."""
        url, headers = f"{self._url}/v2/{self.repository}/{path}", {"Accept": ACCEPT} if path.startswith("manifests/") else {}
        used = self._authorization
        answer = self._send(method, url, headers, authorization=used)
        if answer.status == 401 and _origin(answer.url) == _origin(url) and self._authorize(answer, used):
            answer = self._send(method, url, headers, authorization=self._authorization)
        if answer.status in (401, 403, 429):
            words = self._login_words if _origin(answer.url) == _origin(url) else f"said by {inert(urlsplit(answer.url).netloc)}, where it redirects to"
            raise _Ended("refuses", f"HTTP {answer.status} for {self.repository}/{path}; {words}")
        return answer

    def _authorize(self, answer: _Answer, used: str | None) -> bool:
        """Meet the challenge of a 401; False where nothing is left to try. Raises _Ended where the token service fails."""
        challenges = _challenges(answer.headers.get_all("WWW-Authenticate", []))
        with self._authorizing:
            if self._authorization == used:
                if "bearer" in challenges:
                    self._authorization = f"Bearer {self._token(challenges['bearer'])}"
                elif "basic" in challenges and self._login:
                    self._authorization = _basic(self._login)
            return self._authorization != used

    def _token(self, challenge: Mapping[str, str]) -> str:
        realm, wanted = challenge.get("realm", ""), challenge.get("scope", "")
        scope = wanted if wanted.startswith("repository:") else f"repository:{self.repository}:pull"
        form = {"scope": scope} | ({"service": challenge["service"]} if challenge.get("service") else {})
        where = f"its token service {inert(realm.partition('?')[0])}"
        if not realm.startswith("https://") and not (realm.startswith("http://") and self._url.startswith("http://")):
            raise _Ended("refuses", f"{where} is not https://; no login is sent there")
        try:
            if self._login and self._login.identity_token:
                form |= {"grant_type": "refresh_token", "refresh_token": self._login.identity_token, "client_id": "breakglass"}
                answer = self._send("POST", realm, {"Content-Type": "application/x-www-form-urlencoded"}, body=urlencode(form))
            else:
                url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(form)}"
                answer = self._send("GET", url, authorization=_basic(self._login) if self._login else None)
        except _Ended as ended:
            raise _Ended(ended.state, f"{where}: {ended.detail}") from ended
        if answer.status in (400, 401, 403, 429):
            raise _Ended("refuses", f"{where}: HTTP {answer.status}; {self._login_words}")
        try:
            document = json.loads(answer.body) if answer.status == 200 else {}
            token = str(document.get("token") or document.get("access_token") or "")
        except (ValueError, AttributeError, RecursionError):
            token = ""
        if not re.fullmatch("[!-~]+", token):
            raise _Ended("unreachable", f"{where}: HTTP {answer.status} without a token")
        return token

    def _send(self, method: str, url: str, headers: Mapping[str, str] | None = None, *, authorization: str | None = None, body: str | None = None) -> _Answer:
        """One request and the redirects it leads through. The authorization goes to the first server only."""
        origin, target = None, url
        try:
            for _ in range(MAX_REDIRECTS + 1):
                origin = origin or _origin(url)
                logged_in = {"Authorization": authorization} if authorization and _origin(target) == origin else {}
                answer = self._send_once(method, target, {**(headers or {}), **logged_in}, body)
                location = answer.headers.get("Location")
                if method == "POST" or location is None or answer.status not in (301, 302, 303, 307, 308):
                    return answer
                target = urljoin(target, location)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _Ended("unreachable", self._words(error, target, url)) from error
        raise _Ended("unreachable", "it redirects without end")

    def _send_once(self, method: str, url: str, headers: Mapping[str, str], body: str | None) -> _Answer:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url} is no address for HTTP")
        with contextlib.closing(self._connect(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), tls=parts.scheme == "https")) as wire:
            connection = http.client.HTTPConnection(parts.hostname)
            connection.sock = _Timed(wire, self._left)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            about = {"Host": parts.netloc.rpartition("@")[2], "User-Agent": f"breakglass/{__version__}", "Connection": "close"}
            connection.request(method, path, body, {**about, **headers})
            with connection.getresponse() as response:
                content = b"" if method == "HEAD" else response.read(MAX_BYTES + 1)
                if len(content) > MAX_BYTES:
                    raise _Ended("broken", f"more than {MAX_BYTES} bytes for {inert(parts.path)}")
                # What is left of the announced length when nothing more comes: the connection was cut.
                if method != "HEAD" and response.length:
                    raise http.client.IncompleteRead(content, response.length)
                return _Answer(response.status, response.headers, content, url)

    def _connect(self, host: str, port: int, *, tls: bool) -> socket.socket:
        addresses = self._resolve(host, port)
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            wire = socket.socket(family, kind, protocol)
            try:
                # An address that swallows everything must leave time for the next.
                wire.settimeout(self._left() / (len(addresses) - index))
                wire.connect(address)
                wire.settimeout(self._left())
                return self._context().wrap_socket(wire, server_hostname=host) if tls else wire
            except OSError as error:
                wire.close()
                if index == len(addresses) - 1 or isinstance(error, ssl.SSLError):
                    raise
            except BaseException:
                wire.close()
                raise
        raise OSError("its name has no address")

    def _resolve(self, host: str, port: int) -> list[Any]:
        """A resolver without servers takes its time and cannot be interrupted: it gets a thread that may be left behind."""
        if (host, port) not in self._addresses:
            answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

            def resolve() -> None:
                try:
                    answers.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
                except (OSError, ValueError) as error:
                    answers.put(error)

            threading.Thread(target=resolve, daemon=True).start()
            try:
                found = answers.get(timeout=self._left())
            except queue.Empty:
                raise socket.gaierror(0, f"no answer for {host} within {self._deadline_seconds:g} s") from None
            if isinstance(found, Exception):
                raise found
            self._addresses[host, port] = found
        return self._addresses[host, port]

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            context = ssl.create_default_context()
            if self._ca is not None:
                try:
                    context.load_verify_locations(self._ca)
                except OSError as error:
                    raise _Ended("unreachable", f"the CA file {self._ca} cannot be used: {error.strerror or error}") from error
            self._tls = context
        return self._tls

    def _left(self) -> float:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _words(self, error: Exception, target: str, url: str) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            words = f"its certificate is not trusted: {error.verify_message}"
        elif isinstance(error, TimeoutError):
            words = f"no complete answer within {self._deadline_seconds:g} s"
        elif isinstance(error, socket.gaierror):
            words = f"its name does not resolve: {error.strerror}"
        elif isinstance(error, ssl.SSLError):
            words = f"TLS fails: {error.reason or error}"
        elif isinstance(error, http.client.IncompleteRead):
            words = "the connection was cut in the middle of an answer"
        elif isinstance(error, http.client.RemoteDisconnected) or not isinstance(error, OSError):
            words = f"it does not answer in HTTP: {error}"
        else:
            words = (error.strerror or str(error)).lower()
        return inert(words if target == url else f"redirected to {target.partition('?')[0]}: {words}")


class _Timed:
    """A socket as http.client uses one, where every read ends at one moment, however slowly bytes drip."""

    def __init__(self, wire: socket.socket, left: Callable[[], float]) -> None:
        self._wire, self._left = wire, left

    def sendall(self, content: bytes) -> None:
        self._wire.settimeout(self._left())
        self._wire.sendall(content)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReads(self._wire, self._left))

    def close(self) -> None:
        """The wire is closed by who opened it: http.client closes its socket while the answer is still being read."""


class _TimedReads(io.RawIOBase):
    def __init__(self, wire: socket.socket, left: Callable[[], float]) -> None:
        self._wire, self._left = wire, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._wire.settimeout(self._left())
        return self._wire.recv_into(buffer)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


def _challenges(headers: list[str]) -> dict[str, dict[str, str]]:
    """Scheme -> parameters. Several challenges may share a header, and a quoted value may hold commas (RFC 9110, 11.6.1)."""
    found: dict[str, dict[str, str]] = {}
    for header in headers:
        parameters: dict[str, str] = {}
        for name, quoted, plain in re.findall(r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|([^\s,"]+)))?""", header):
            if quoted:
                parameters.setdefault(name.lower(), plain or re.sub(r"\\(.)", r"\1", quoted[1:-1]))
            else:
                parameters = found.setdefault(name.lower(), {})
    return found
