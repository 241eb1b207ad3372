"""`status` on real hosts, with each part of the estate down in turn."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from . import process
from .answering import TAG, responder
from .estate import Estate
from .faults.arrangements import fetched
from .faults.rows import row
from .furniture import EXAMPLE
from .operator_host import CONFIGURATION
from .roles import NAS_DIRECTORY, NODES, VM_DIRECTORY
from .runs import run

TARGET, DEAF, LOST = "k8s-node1", "k8s-node2", "k8s-node3"
WITHIN_SECONDS = 60


@dataclass(frozen=True)
class Told:
    """What one run has said."""

    page: str
    result: dict[str, Any]
    seconds: float

    def source(self, name: str) -> dict[str, Any]:
        return next(found for found in self.result["sources"] if found["name"] == name)

    def node(self, name: str) -> dict[str, Any]:
        return next(found for found in self.result["nodes"] if found["name"] == name)

    @property
    def unread(self) -> set[str]:
        """The parts that were not reached."""
        parts = [
            *self.result["sources"],
            *self.result["nodes"],
            {"name": "api", **self.result["api"]},
        ]
        return {part["name"] for part in parts if not part["reached"]}


def status(estate: Estate, *, within_seconds: float = WITHIN_SECONDS) -> Told:
    began = time.monotonic()
    ran = run(estate, "status", timeout=within_seconds + 60)
    seconds = time.monotonic() - began
    assert seconds < within_seconds
    lines = [
        line for line in ran.stderr.splitlines() if not line.startswith(("looking at ", "Next: "))
    ]
    assert max(map(len, lines)) <= 80, ran.stderr
    return Told(" ".join(" ".join(lines).split()), ran.result, seconds)


def arrange(estate: Estate) -> None:
    """Every part there: a tarball on VM and NAS, the image on one node, which answers pulls and is
    pinned to; the addresses of all nodes in the configuration.
    """
    hosts = ", ".join(f"{name}: {node.address}" for name, node in NODES.items())
    example = EXAMPLE.read_text()
    assert "  hosts: {}\n" in example
    assert "connect_timeout_seconds: 5 " in example
    estate.operator.write(
        CONFIGURATION,
        example.replace("  hosts: {}\n", f"  hosts: {{{hosts}}}\n").replace(
            "connect_timeout_seconds: 5 ", "connect_timeout_seconds: 3 "
        ),
    )
    fetched(estate, TARGET)
    estate.mirror()
    run(estate, "import", TARGET)
    run(estate, "pin", TARGET, "--yes", "--reason", "Forgejo is down")


@contextmanager
def without_its(do: Callable[[], object], undo: Callable[[], object]) -> Iterator[None]:
    do()
    try:
        yield
    finally:
        undo()


@row(
    "status",
    "the VM's cable pulled",
    "named, with why; the NAS, the nodes and the pin are reported",
    exit_code=0,
)
@row(
    "status",
    "the NAS's sshd down",
    "named, with why; how far it lags is not known; the rest is reported",
    exit_code=0,
)
@row(
    "status",
    "the API server down",
    (
        "named, with why; the nodes of nodes.hosts are asked over SSH; whether a pin exists is "
        "reported as unknown"
    ),
    exit_code=0,
)
@row(
    "status",
    "a node unplugged, another in a black hole, a third without containerd",
    "each named, with why; of the third all that needs no containerd is reported",
    exit_code=0,
)
@row(
    "status",
    "the responder of a node killed",
    "the node should answer pulls and does not: `breakglass import NODE` is the next command",
    exit_code=0,
)
def test_each_part_that_is_down_in_turn_is_named_and_the_rest_is_still_told(fresh: Estate) -> None:
    arrange(fresh)
    whole = status(fresh)
    assert whole.unread == set()
    assert (
        whole.result["stale"],
        whole.result["newest"]["tag"],
        whole.result["pin"]["target"],
    ) == (False, TAG, TARGET)
    assert whole.result["pin"]["cordoned"] == sorted(name for name in NODES if name != TARGET)
    assert [
        whole.node(TARGET)[key]
        for key in ("ready", "cordoned", "holds", "answers_pulls", "should_answer", "tarballs")
    ] == [True, False, True, True, True, [TAG]]
    assert [
        whole.node(DEAF)[key]
        for key in ("ready", "cordoned", "pinned", "holds", "answers_pulls", "should_answer")
    ] == [True, True, True, False, False, False]
    assert whole.source("synology")["lags"] == 0
    assert whole.result["next"] == "run the pipeline; then: breakglass restore"

    with without_its(lambda: fresh.vm.cable(up=False), lambda: fresh.vm.cable(up=True)):
        told = status(fresh)
    assert told.unread == {"registry-vm"}
    assert (told.result["stale"], told.source("synology")["lags"], told.result["newest"]) == (
        False,
        None,
        {"tag": TAG, "age_seconds": told.source("synology")["tarballs"][0]["age_seconds"]},
    )
    assert "registry-vm: " in told.page

    with without_its(lambda: fresh.nas.kill("sshd"), lambda: fresh.nas.start("sshd")):
        told = status(fresh)
    assert (told.unread, told.source("synology")["lags"], told.source("registry-vm")["latest"]) == (
        {"synology"},
        None,
        TAG,
    )
    assert "refused the connection" in told.page

    answering = responder(fresh.nodes[TARGET])
    assert answering
    process.end(answering[0])
    told = status(fresh)
    assert (told.node(TARGET)["should_answer"], told.node(TARGET)["answers_pulls"]) == (True, False)
    assert "should answer pulls and does NOT" in told.page
    assert told.result["next"].startswith(f"breakglass import {TARGET}; ")

    fresh.nodes["k8s-node10"].stop("containerd")
    fresh.nodes[DEAF].black_hole(on=True)
    fresh.nodes[LOST].unplug()
    told = status(fresh)
    assert told.unread == {DEAF, LOST}
    dead = told.node("k8s-node10")
    assert (dead["holds"], dead["answers_pulls"]) == (None, False)
    assert "containerd on k8s-node10 does not answer" in dead["error"]
    assert (told.node(TARGET)["holds"], told.node("k8s-master")["holds"]) == (True, False)

    fresh.nodes["k8s-node10"].start("containerd")
    fresh.nodes[DEAF].black_hole(on=False)
    fresh.api.kill("kube-apiserver")
    told = status(fresh)
    assert told.unread == {"api", LOST}
    assert told.result["pin"] is None
    assert "Whether a pin is in force is not known" in told.page
    assert [told.node(TARGET)[key] for key in ("ready", "holds", "should_answer")] == [
        None,
        True,
        True,
    ]


@pytest.mark.thorough
@row(
    "status",
    "the NAS's sshd, the API server and a node's containerd frozen: accepting and never answering",
    "the whole is there within a minute, and says who did not answer",
    exit_code=0,
)
def test_what_accepts_and_never_answers_holds_up_nothing_else(fresh: Estate) -> None:
    arrange(fresh)
    answering = responder(fresh.nodes[TARGET])
    assert answering
    process.end(answering[0])
    frozen = (
        (fresh.nas, "sshd"),
        (fresh.api, "kube-apiserver"),
        (fresh.nodes[TARGET], "containerd"),
    )
    for host, daemon in frozen:
        host.pause(daemon)
    try:
        told = status(fresh)
    finally:
        for host, daemon in frozen:
            with suppress(OSError):
                host.resume(daemon)
    assert told.unread == {"synology", "api"}
    target = told.node(TARGET)
    assert (
        target["reached"],
        target["holds"],
        target["should_answer"],
        target["answers_pulls"],
        target["tarballs"],
    ) == (True, None, True, False, [TAG])
    assert "does not answer" in target["error"]


@pytest.mark.thorough
@row(
    "status",
    (
        "a hosts.toml edited after us; a node that joined after the pin; a tarball without its "
        "sidecar; the directory on the NAS gone"
    ),
    "each is named",
    exit_code=0,
)
def test_what_others_have_changed_since_is_named(fresh: Estate) -> None:
    arrange(fresh)
    file = "/etc/containerd/certs.d/forgejo.viktorbarzin.me/hosts.toml"
    node = fresh.nodes[TARGET]
    node.write(file, node.read(file) + "# by hand\n")
    fresh.cluster.uncordon(LOST)
    fresh.cluster.kubectl("annotate", "node", LOST, "breakglass/pinned-")
    fresh.vm.write(f"{VM_DIRECTORY}/infra-ci-0ld0ld00.tar.gz", b"of the old pipeline")
    directory = NAS_DIRECTORY
    fresh.nas.path(directory).rename(fresh.nas.path(f"{directory}.away"))
    try:
        told = status(fresh)
    finally:
        fresh.nas.path(f"{directory}.away").rename(fresh.nas.path(directory))
    assert told.node(TARGET)["edited"] == [file]
    assert f"{file} was edited after breakglass wrote it" in told.page
    assert told.result["pin"]["joined"] == [LOST]
    assert told.source("registry-vm")["unverified_bytes"] == 19
    assert "0ld0ld00" in told.page
    assert f"synology: there is no {directory}" in told.page
    assert told.source("synology")["lags"] == 1
