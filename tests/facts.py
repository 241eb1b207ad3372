"""Facts for planners, by hand: what a reader would have found."""

import json
from collections.abc import Iterable

from breakglass.commands.environment import Identity
from breakglass.config import Image, Nodes, RegistryVm
from breakglass.marks import Mark
from breakglass.observe.cluster import Node
from breakglass.observe.docker import Docker
from breakglass.observe.leftovers import Partial
from breakglass.observe.machine import Machine
from breakglass.observe.managers import UNKNOWN, Cordon
from breakglass.observe.record import Record
from breakglass.observe.shelf import Shelf, Tarball, newest_first
from breakglass.plan import Host, Plan

IDENTITY = Identity(run="0badcafe", by="root@operator", at="2026-04-19T03:00:00Z", version="0.1.0")
REPOSITORY = "registry.example:5050/infra-ci"
IMAGE = Image(
    REPOSITORY,
    "infra-ci",
    (
        f"{REPOSITORY}:latest",
        "forgejo.example/viktor/infra-ci:{tag}",
        "forgejo.example/viktor/infra-ci:latest",
    ),
)
VM = Host("registry-vm", "root@10.0.20.10")
NAS = Host("synology", "192.168.1.13")
NODE = Host("k8s-node1", "wizard@10.0.20.101", sudo=True)
SETTINGS = RegistryVm(VM.ssh, "/shelf", keep=5)
NODES = Nodes(ssh_user="wizard")
MANY = frozenset({"docker", "python3", "bash", "gzip", "sha256sum", "ssh", "ctr"})


def image_id(letter: str = "a") -> str:
    return "sha256:" + letter * 64


def tarball(
    tag: str,
    sequence: int = 1,
    *,
    letter: str = "a",
    size_bytes: int = 1000,
    recorded: bool = True,
    being_replaced: bool = False,
    taken: str = "2026-04-19T00:00:00Z",
    companions: tuple[tuple[str, str], ...] = (),
) -> Tarball:
    """A verified tarball, or one of the old pipeline without sidecars."""
    data = {
        "tag": tag,
        "references": [f"{REPOSITORY}:{tag}"],
        "image_id": image_id(letter),
        "companions": dict(companions),
        "platform": "linux/amd64",
        "size_bytes": size_bytes,
        "sha256": letter * 64,
        "sequence": sequence,
        "created_at": taken,
        "version": "0.1.0",
    }
    record = Record(
        tag=tag,
        references=(f"{REPOSITORY}:{tag}",),
        image_id=image_id(letter),
        companions=companions,
        platform="linux/amd64",
        size_bytes=size_bytes,
        sha256=letter * 64,
        sequence=sequence,
        created_at=taken,
        version="0.1.0",
        text=json.dumps(data, separators=(",", ":")),
    )
    return Tarball(
        f"infra-ci-{tag}.tar.gz", tag, size_bytes, record if recorded else None, being_replaced
    )


def shelf(
    host: Host,
    tarballs: Iterable[Tarball] = (),
    *,
    latest: str | None = None,
    fault: str = "",
    partials: Iterable[Partial] = (),
    foreign: Iterable[str] = (),
    present: bool = True,
) -> Shelf:
    """Ordered as a reader orders it."""
    return Shelf(
        host,
        "/shelf" if host != NODE else "/var/breakglass",
        "infra-ci",
        present,
        newest_first(tarballs),
        latest,
        fault or ("" if latest else "is missing"),
        tuple(partials),
        tuple(foreign),
    )


def machine(
    host: Host,
    *,
    free_bytes: int = 10**12,
    commands: frozenset[str] = MANY,
    architecture: str = "amd64",
) -> Machine:
    return Machine(host, architecture, free_bytes, commands)


def docker(
    *, version: str = "20.10.24", driver: str = "overlay2", free_bytes: int | None = 10**12
) -> Docker:
    return Docker(version, driver, "/var/lib/docker", free_bytes)


def node(
    name: str,
    *,
    cordoned: bool = False,
    annotation: str | None = None,
    ready: bool = True,
    pressure: bool = False,
    architecture: str = "amd64",
    holds: str | None = None,
    cordon: Cordon = UNKNOWN,
) -> Node:
    conditions = ("DiskPressure",) if pressure else ()
    mark = Mark(cordoned, annotation, holds)
    return Node(name, ("10.0.20.1",), architecture, ready, conditions, mark, "1", cordon=cordon)


def lines(plan: Plan) -> list[str]:
    """What is shown. Whatever plan it is, a person can tell its steps apart by their titles."""
    check_titles(plan)
    return [str(step) for step in plan.steps]


def check_titles(plan: Plan) -> None:
    titles = [step.title for step in plan.steps]
    assert all(titles), plan.steps
    assert all(title == title.strip() and title.isprintable() for title in titles), titles
    assert max(map(len, titles), default=0) <= 74, titles
    beginnings = [title[:60] for title in titles]
    assert len(set(beginnings)) == len(beginnings), titles
    assert all(step.title for pair in plan.undo for step in pair), plan.undo
