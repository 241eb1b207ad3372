"""What an import has taken from a node beyond the image, and whether and how the node answers pulls."""

import json
import tomllib
from dataclasses import dataclass, field
from typing import Any

from breakglass.errors import BY_EXIT_CODE, Failed, Unreachable
from breakglass.observe.containerd import Ctr
from breakglass.observe.text import inert
from breakglass.plan import Argv, Host
from breakglass.ports import Reads

MARK = "# added by breakglass"
"""What the first line that we put into a file begins with; `remote/taken.py` has the same."""
CRI = ("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images")
"""The plugins that have the registries' configuration: containerd 1, containerd 2."""


@dataclass(frozen=True)
class TakenFile:
    """A file of the node that the record names."""

    path: str
    original: str | None
    """Its text before us; None: there was none."""
    written: str
    now: str | None

    @property
    def is_ours(self) -> bool:
        return self.now == self.written

    @property
    def is_edited(self) -> bool:
        """Somebody has edited, replaced or deleted it since. What is as it was at first was never written, or somebody has put it back."""
        return not self.is_ours and self.now != self.original


@dataclass(frozen=True)
class Taken:
    """What the record on the node (`.breakglass.json`) says."""

    is_recorded: bool = False
    is_begun: bool = False
    """Recorded, or a record's first writing was cut short."""
    files: tuple[TakenFile, ...] = ()
    has_responder: bool = False
    """Whether the responder's script lies there."""
    namespace: str | None = None
    """Of containerd, where the import has put names of ours."""
    strays: tuple[str, ...] = ()
    """Files with lines of ours that the record does not know."""

    def file(self, path: str) -> TakenFile | None:
        return next((file for file in self.files if file.path == path), None)


@dataclass(frozen=True)
class Site:
    """Where containerd looks for the hosts of one registry, and what it finds there."""

    registry: str
    file: str
    """The hosts.toml, every link followed; it may not exist yet."""
    linked: bool = False
    """Whether a link leads there, so that other registries may share it."""
    text: str | None = None
    default: str | None = None
    """Where the registry has none of its own: the text that it has from `_default`."""
    default_file: str = ""
    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str], ...] = ()
    """Certificates that containerd takes from the directory for want of a hosts.toml."""
    fault: str = ""


@dataclass(frozen=True)
class Responder:
    """The process that answers pulls on the node's loopback."""

    port: int | None
    """None: it does not run."""
    answers: dict[str, str]
    """Name -> digest, of each that it answered just now."""
    free_port: int


@dataclass(frozen=True)
class Answering:
    sites: tuple[Site, ...]
    responder: Responder
    content: str | None
    """The directory of containerd's content store."""
    config_path: str | None
    """Where containerd's configuration lets it look for hosts.toml; None: it could not be read."""
    config_file: str = ""
    config_fault: str = ""
    config_is_newer: bool = False
    """The configuration was changed after containerd started, so another one may be in force."""


@dataclass(frozen=True)
class Pull:
    """What one registry does when the node pulls one name from it. `state`: serves, broken, lacks, refuses, unreachable."""

    registry: str
    name: str
    state: str
    detail: str
    url: str = ""
    missing: tuple[str, ...] = field(default=())


def read_taken(reads: Reads, host: Host, directory: str, *, certs: str) -> Taken:
    """Raises Unreachable, or Failed where the record cannot be read."""
    return _taken(_ask(reads, host, ("python3", "taken.py", "read", directory, "--certs", certs)))


def read_answering(reads: Reads, host: Host, directory: str, *, certs: str, registries: tuple[str, ...], ctr: Ctr) -> tuple[Taken, Answering]:
    wanted = tuple(word for registry in registries for word in ("--registry", registry))
    found = _ask(reads, host, ("python3", "taken.py", "read", directory, "--certs", certs, *wanted, "--", *ctr.line()))
    status = _ask(reads, host, ("python3", "responder.py", "status", directory))
    told = found["containerd"]
    path, fault = _config_path(str(told["configuration"]))
    answering = Answering(
        sites=tuple(_site(registry, found["sites"][registry]) for registry in registries),
        responder=Responder(status["port"], {str(name): str(digest) for name, digest in status["answers"].items()}, int(status["free_port"])),
        content=found["content"],
        config_path=path,
        config_file=str(told["file"]),
        config_fault=inert(str(told["fault"]) or fault),
        config_is_newer=bool(told["newer"]),
    )
    return _taken(found), answering


def read_pulls(reads: Reads, host: Host, questions: list[dict[str, Any]]) -> tuple[Pull, ...]:
    """What the registries do, asked from the node, each by its own deadline."""
    if not questions:
        return ()
    found = _ask(reads, host, ("python3", "registries.py", json.dumps(questions, separators=(",", ":"))))
    return tuple(
        Pull(
            str(each["registry"]),
            f"{each['registry']}/{each['repository']}:{each['tag']}",
            str(each["state"]),
            inert(str(each["detail"])),
            str(each["url"]),
            tuple(inert(str(digest)) for digest in each["missing"]),
        )
        for each in found
    )


def _ask(reads: Reads, host: Host, argv: Argv) -> Any:
    ended = reads.ask(host, argv)
    if not ended.ok:
        kind = BY_EXIT_CODE.get(ended.exit_status or 0, Unreachable)
        if kind.exit_code == 2:
            kind = Failed
        words = inert(ended.stderr.strip().rpartition(b"\n")[2]) or ended.lost or f"{argv[1]} ended with {ended.exit_status}"
        raise kind(f"{host}: {words}", next_step=f"look at it with: {host.by_hand('ls', '-la', argv[3] if len(argv) > 3 else '/')}")
    try:
        return json.loads(ended.stdout)
    except ValueError as error:
        raise Unreachable(f"{host}: {argv[1]} answered something that is no JSON: {inert(ended.stdout)}", next_step="look at the node's python3") from error


def _taken(found: dict[str, Any]) -> Taken:
    record = found["record"]
    files = record["files"] if record else {}
    return Taken(
        is_recorded=record is not None and record["namespace"] is not None,
        is_begun=record is not None,
        files=tuple(TakenFile(path, entry["original"]["text"] if entry["original"] else None, entry["written"], found["now"].get(path)) for path, entry in sorted(files.items())),
        has_responder=bool(found["responder"]),
        namespace=record["namespace"] if record else None,
        strays=tuple(inert(path) for path in found["strays"]),
    )


def _site(registry: str, told: dict[str, Any]) -> Site:
    client = tuple((str(certificate), str(key)) for certificate, key in told["client"])
    return Site(registry, told["file"], told["linked"], told["text"], told["default"], told["default_file"], tuple(told["ca"]), client, inert(str(told["fault"])))


def _config_path(configuration: str) -> tuple[str | None, str]:
    """(config_path of the CRI plugin, fault); of both versions of the configuration."""
    try:
        plugins = tomllib.loads(configuration).get("plugins")
    except tomllib.TOMLDecodeError as error:
        return None, f"its configuration is no TOML: {error}"
    for name in CRI:
        found: Any = plugins
        for key in (name, "registry", "config_path"):
            found = found.get(key) if isinstance(found, dict) else None
        if found:
            return str(found), ""
    return ("" if configuration else None), ""
