"""What an import has taken from a node beyond the image, and whether and how the node answers
pulls.
"""

from dataclasses import dataclass
from typing import Any

from breakglass.observe.containerd import Ctr
from breakglass.observe.containerd_config import (
    BY_DEFAULT,
    SHAPE,
    Unpacking,
    choose,
    config_path,
    unpacking,
)
from breakglass.observe.program import ask_program
from breakglass.plan import Host
from breakglass.ports import Reads
from breakglass.remote.taken import MARK as MARK
from breakglass.shape import PORT
from breakglass.text import inert

# What the scripts print, as shape.py has it.
_RECORD = {
    "namespace": (str, None),
    "files": {str: {"original": ({"text": str}, None), "written": str}},
}
_TAKEN = {"record": (_RECORD, None), "now": {str: (str, None)}, "responder": bool, "strays": [str]}
_SITE = {
    "file": str,
    "linked": bool,
    "text": (str, None),
    "default": (str, None),
    "default_file": str,
    "ca": [str],
    "client": [[str, str]],
    "fault": str,
}
_STATUS = {
    "port": (PORT, None),
    "answers": {str: str},
    "free_port": PORT,
    "survives_reboot": bool,
    "foreign_unit": str,
}


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
        """Somebody has edited, replaced or deleted it since. What is as it was at first was never
        written, or somebody has put it back.
        """
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
    """Where containerd looks for the hosts of a registry, and what lies there."""

    registry: str
    file: str
    """The hosts.toml, every link followed; it may not exist yet."""
    linked: bool = False
    """Whether a link leads there, so that other registries may share it."""
    text: str | None = None
    default: str | None = None
    """Where the registry has no file: the text that it has from `_default`."""
    default_file: str = ""
    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str], ...] = ()
    """Certificates that containerd takes from the directory for want of a hosts.toml."""
    fault: str = ""


@dataclass(frozen=True)
class Responder:
    """The process that serves the image locally on the node's loopback."""

    port: int | None
    """None: it does not run."""
    answers: dict[str, str]
    """Name -> digest, of each that it answered just now."""
    free_port: int
    survives_reboot: bool = False
    """Whether systemd starts it when the node boots."""
    foreign_unit: str = ""
    """The file of a unit of systemd that has the responder's name and is none of ours."""


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
    """`config_file` was changed after containerd started, so another one may be in force."""
    reads_lists: bool = True
    """Whether a config_path that is a list is read as one."""
    unpacking: Unpacking = BY_DEFAULT


def read_taken(reads: Reads, host: Host, directory: str, *, certs: str) -> Taken:
    """Raises Unreachable, or Failed where the record cannot be read."""
    return _taken(ask_program(reads, host, ("taken", "read", directory, "--certs", certs), _TAKEN))


def read_answering(
    reads: Reads, host: Host, directory: str, *, certs: str, registries: tuple[str, ...], ctr: Ctr
) -> tuple[Taken, Answering]:
    wanted = tuple(word for registry in registries for word in ("--registry", registry))
    shape = {
        **_TAKEN,
        "sites": dict.fromkeys(registries, _SITE),
        "containerd": [SHAPE],
        "content": (str, None),
    }
    arguments = ("taken", "read", directory, "--certs", certs, *wanted, "--", *ctr.line())
    answer = ask_program(reads, host, arguments, shape)
    responder = read_responder(reads, host, directory)
    containerd = choose(answer["containerd"], answer.get("content"))
    found = config_path(containerd["configuration"], containerd["version"])
    answering = Answering(
        sites=tuple(_site(registry, answer["sites"][registry]) for registry in registries),
        responder=responder,
        content=answer.get("content"),
        config_path=None if found.path is None else inert(found.path),
        config_file=inert(containerd["newer"] or containerd["file"]),
        config_fault=inert(containerd["fault"] or found.fault),
        config_is_newer=bool(containerd["newer"]),
        reads_lists=found.reads_lists,
        unpacking=unpacking(containerd["configuration"], containerd["version"]),
    )
    return _taken(answer), answering


def read_unpacking(
    reads: Reads, host: Host, directory: str, *, certs: str, ctr: Ctr
) -> tuple[Taken, Unpacking]:
    """As read_taken, and how containerd's CRI plugin unpacks images."""
    arguments = ("taken", "read", directory, "--certs", certs, "--", *ctr.line())
    shape = {**_TAKEN, "containerd": [SHAPE], "content": (str, None)}
    answer = ask_program(reads, host, arguments, shape)
    containerd = choose(answer["containerd"], answer.get("content"))
    return _taken(answer), unpacking(containerd["configuration"], containerd["version"])


def read_responder(reads: Reads, host: Host, directory: str) -> Responder:
    """Raises Unreachable, or Failed."""
    status = ask_program(reads, host, ("responder", "status", directory), _STATUS)
    return Responder(
        status["port"],
        status["answers"],
        status["free_port"],
        status["survives_reboot"],
        inert(status["foreign_unit"]),
    )


def _taken(answer: dict[str, Any]) -> Taken:
    record = answer.get("record")
    namespace = record.get("namespace") if record else None
    files = record["files"] if record else {}
    return Taken(
        is_recorded=namespace is not None,
        is_begun=record is not None,
        files=tuple(
            _taken_file(path, entry, answer["now"].get(path))
            for path, entry in sorted(files.items())
        ),
        has_responder=answer["responder"],
        namespace=namespace,
        strays=tuple(inert(path) for path in answer["strays"]),
    )


def _taken_file(path: str, entry: dict[str, Any], now: str | None) -> TakenFile:
    original = entry.get("original")
    return TakenFile(
        path=path,
        original=original["text"] if original else None,
        written=entry["written"],
        now=now,
    )


def _site(registry: str, answer: dict[str, Any]) -> Site:
    return Site(
        registry=registry,
        file=answer["file"],
        linked=answer["linked"],
        text=answer.get("text"),
        default=answer.get("default"),
        default_file=answer["default_file"],
        ca=tuple(answer["ca"]),
        client=tuple((certificate, key) for certificate, key in answer["client"]),
        fault=inert(answer["fault"]),
    )
