"""`status` on real hosts, with each part of the environment down in turn."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from . import process
from .answering import TAG, responder
from .environment import Environment
from .faults.arrangements import fetched
from .faults.rows import row
from .furniture import EXAMPLE
from .operator_host import CONFIGURATION
from .roles import NAS_DIRECTORY, NODES, VM_DIRECTORY
from .runs import run, stop_registries

TARGET, DEAF, LOST = "k8s-node1", "k8s-node2", "k8s-node3"
WITHIN_SECONDS = 60


@dataclass(frozen=True)
class Reported:
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


def status(environment: Environment, *, within_seconds: float = WITHIN_SECONDS) -> Reported:
    began = time.monotonic()
    ran = run(environment, "status", timeout=within_seconds + 60)
    seconds = time.monotonic() - began
    assert seconds < within_seconds
    page = ran.stderr.partition("\nNext:  ")[0]
    lines = [line for line in page.splitlines() if not line.startswith("looking at ")]
    assert max(map(len, lines)) <= 80, ran.stderr
    return Reported(" ".join(" ".join(lines).split()), ran.result, seconds)


def arrange(environment: Environment) -> None:
    """Both registries are down, every other part is there: a tarball on VM and NAS, the image on
    one node, which serves it locally and is the target of a pin; the addresses of all nodes in the
    configuration.
    """
    hosts = ", ".join(f"{name}: {node.address}" for name, node in NODES.items())
    example = EXAMPLE.read_text()
    assert "  hosts: {}\n" in example
    assert "connect_timeout_seconds: 5 " in example
    environment.operator.write(
        CONFIGURATION,
        example.replace("  hosts: {}\n", f"  hosts: {{{hosts}}}\n").replace(
            "connect_timeout_seconds: 5 ", "connect_timeout_seconds: 3 "
        ),
    )
    fetched(environment, TARGET)
    environment.mirror()
    run(environment, "import", TARGET)
    run(environment, "pin", TARGET, "--yes", "--reason", "Forgejo is down")
    stop_registries(environment)


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
    "the node should serve the image locally and does not: `breakglass import NODE` comes next",
    exit_code=0,
)
def test_each_part_that_is_down_in_turn_is_named_and_the_rest_is_still_reported(
    fresh: Environment,
) -> None:
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
    next_step = " ".join(whole.result["next"].split())
    assert next_step == "run the pipeline, then undo everything: breakglass restore"

    with without_its(lambda: fresh.vm.cable(up=False), lambda: fresh.vm.cable(up=True)):
        reported = status(fresh)
    assert reported.unread == {"registry-vm"}
    assert (
        reported.result["stale"],
        reported.source("synology")["lags"],
        reported.result["newest"],
    ) == (
        False,
        None,
        {"tag": TAG, "age_seconds": reported.source("synology")["tarballs"][0]["age_seconds"]},
    )
    assert "registry-vm: " in reported.page

    with without_its(lambda: fresh.nas.kill("sshd"), lambda: fresh.nas.start("sshd")):
        reported = status(fresh)
    assert (
        reported.unread,
        reported.source("synology")["lags"],
        reported.source("registry-vm")["latest"],
    ) == (
        {"synology"},
        None,
        TAG,
    )
    assert "refused the connection" in reported.page

    answering = responder(fresh.nodes[TARGET])
    assert answering
    process.end(answering[0])
    reported = status(fresh)
    assert (reported.node(TARGET)["should_answer"], reported.node(TARGET)["answers_pulls"]) == (
        True,
        False,
    )
    assert "should serve it locally and does NOT" in reported.page
    assert f"breakglass import {TARGET}" in reported.result["next"].splitlines()

    fresh.nodes["k8s-node10"].stop("containerd")
    fresh.nodes[DEAF].black_hole(on=True)
    fresh.nodes[LOST].unplug()
    reported = status(fresh)
    assert reported.unread == {DEAF, LOST}
    dead = reported.node("k8s-node10")
    assert (dead["holds"], dead["answers_pulls"]) == (None, False)
    assert "containerd on k8s-node10 does not answer" in dead["error"]
    assert (reported.node(TARGET)["holds"], reported.node("k8s-master")["holds"]) == (True, False)

    fresh.nodes["k8s-node10"].start("containerd")
    fresh.nodes[DEAF].black_hole(on=False)
    fresh.api.kill("kube-apiserver")
    reported = status(fresh)
    assert reported.unread == {"api", LOST}
    assert reported.result["pin"] is None
    assert "Whether a pin is in force is not known" in reported.page
    assert [reported.node(TARGET)[key] for key in ("ready", "holds", "should_answer")] == [
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
def test_what_accepts_and_never_answers_holds_up_nothing_else(fresh: Environment) -> None:
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
        reported = status(fresh)
    finally:
        for host, daemon in frozen:
            with suppress(OSError):
                host.resume(daemon)
    assert reported.unread == {"synology", "api"}
    target = reported.node(TARGET)
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
def test_what_others_have_changed_since_is_named(fresh: Environment) -> None:
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
        reported = status(fresh)
    finally:
        fresh.nas.path(f"{directory}.away").rename(fresh.nas.path(directory))
    assert reported.node(TARGET)["edited"] == [file]
    assert f"{file} was edited after breakglass wrote it" in reported.page
    assert reported.result["pin"]["joined"] == [LOST]
    assert reported.source("registry-vm")["unverified_bytes"] == 19
    assert "0ld0ld00" in reported.page
    assert f"synology: there is no {directory}" in reported.page
    assert reported.source("synology")["lags"] == 1
