"""Which node fits: facts to reasons."""

from dataclasses import replace

import pytest

from breakglass.commands.fitness import Kind, Needs, in_words, needs_of, refusal, unfit
from breakglass.commands.room import no_room_for_tarball, no_room_to_import
from breakglass.config import Nodes
from breakglass.observe.cluster import Node, parse_node
from breakglass.observe.containerd import Ctr, read_disk_of_content
from breakglass.observe.machine import Disk, Machine, read_machine
from breakglass.plan import Argv, Host
from breakglass.ports import Result
from tests.facts import MANY, NODE, machine, node

NEEDS = Needs(tolerates=("ci.example/only",), selector=(("role", "ci"),), architecture="amd64")
FITS = replace(
    node("k8s-node1"),
    labels=(("kubernetes.io/arch", "amd64"), ("role", "ci")),
    taints=("ci.example/only",),
    operating_system="linux",
    runtime="containerd://2.1.4",
    pods=110,
)


def test_a_node_that_is_all_that_is_asked_for_fits() -> None:
    there = replace(machine(NODE), python=(3, 8))
    assert unfit(NEEDS, node=FITS, machine=there) == ()


def test_what_is_not_known_is_no_reason() -> None:
    bare = replace(FITS, operating_system="", runtime="", pods=None, architecture="", taints=())
    assert unfit(Needs(), node=bare, machine=machine(NODE)) == ()
    assert unfit(NEEDS) == ()


CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (replace(FITS, ready=False), "not Ready"),
        (replace(FITS, mark=node("a", cordoned=True).mark), "cordoned"),
        (
            replace(FITS, conditions=("MemoryPressure", "PIDPressure")),
            "MemoryPressure, PIDPressure",
        ),
        (replace(FITS, conditions=("NetworkUnavailable",)), "NetworkUnavailable"),
        (replace(FITS, taints=(CONTROL_PLANE,)), f"has the taint {CONTROL_PLANE}"),
        (replace(FITS, taints=("dedicated",)), "has the taint dedicated"),
        (replace(FITS, labels=()), "lacks the label role=ci of nodes.selector"),
        (
            replace(FITS, labels=(("role", "gpu"),)),
            "lacks the label role=ci of nodes.selector",
        ),
        (replace(FITS, pods=0), "may hold no pods (allocatable: 0)"),
        (replace(FITS, architecture="arm64"), "architecture arm64, the image is for amd64"),
        (replace(FITS, operating_system="windows"), "operating system windows"),
        (
            replace(FITS, runtime="docker://24.0.7"),
            "its kubelet uses docker 24.0.7, not containerd",
        ),
        (
            replace(FITS, runtime="cri-o://1.33.0"),
            "its kubelet uses cri-o 1.33.0, not containerd",
        ),
        (replace(FITS, is_being_deleted=True), "is being deleted"),
    ],
)
def test_a_node_on_which_no_ci_pod_would_start_does_not_fit(known: Node, words: str) -> None:
    assert in_words(unfit(NEEDS, node=known)) == words


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (machine(NODE, commands=MANY - {"python3"}), "has no python3"),
        (machine(NODE, commands=MANY - {"ctr"}), "has no ctr"),
        (
            replace(machine(NODE), python=(3, 6)),
            "python3 is 3.6 there, and breakglass needs 3.8 or newer",
        ),
        (machine(NODE, architecture="arm64"), "architecture arm64, the image is for amd64"),
    ],
)
def test_a_host_to_which_the_image_cannot_be_brought_does_not_fit(
    there: Machine, words: str
) -> None:
    assert in_words(unfit(NEEDS, machine=there)) == words


def test_the_taint_of_a_condition_is_not_named_beside_the_condition() -> None:
    pressed = replace(
        FITS, conditions=("DiskPressure",), taints=("node.kubernetes.io/disk-pressure",)
    )
    assert in_words(unfit(NEEDS, node=pressed)) == "DiskPressure"
    lingering = replace(pressed, conditions=())
    assert in_words(unfit(NEEDS, node=lingering)) == (
        "has the taint node.kubernetes.io/disk-pressure"
    )


def test_k3s_is_asked_for_its_own_program() -> None:
    needs = needs_of(Nodes(ctr=("k3s", "ctr")))
    assert in_words(unfit(needs, machine=machine(NODE))) == "has no k3s"


def test_the_refusal_names_what_can_be_typed() -> None:
    known = replace(FITS, mark=node("a", cordoned=True).mark, taints=("dedicated",))
    reasons = unfit(NEEDS, node=known)
    assert {reason.kind for reason in reasons} == {Kind.STATE, Kind.PODS}
    error = refusal("k8s-node1", reasons, command="pin")
    assert error.exit_code == 3
    assert error.message == "k8s-node1 does not fit: cordoned, has the taint dedicated"
    for words in (
        "kubectl uncordon k8s-node1",
        "add dedicated to nodes.tolerates",
        "breakglass pin k8s-node1 --anyway",
    ):
        assert words in str(error.next_step)
    assert "--anyway" not in str(refusal("k8s-node1", reasons, command="fetch").next_step)


def test_a_node_that_a_pin_has_cordoned_is_not_uncordoned_by_hand() -> None:
    known = replace(FITS, mark=node("a", cordoned=True, annotation="{}").mark)
    reasons = unfit(NEEDS, node=known)
    assert in_words(reasons) == "cordoned by a pin"
    error = refusal("k8s-node1", reasons, command="fetch", nodes=(known,))
    assert error.next_step.commands == ("breakglass restore",)


@pytest.mark.parametrize(
    ("disk", "size_bytes", "with_tarball", "fits"),
    [
        (Disk(100_000, 24_000), 1000, True, True),
        (Disk(100_000, 23_999), 1000, True, False),
        (Disk(100_000, 23_000), 1000, False, True),
        (Disk(100_000, 22_999), 1000, False, False),
        (None, 1000, True, True),
    ],
    ids=["15 % stay free", "one byte less", "the tarball is there", "and one less", "not known"],
)
def test_an_import_may_not_wake_the_collection_of_images(
    disk: Disk | None, size_bytes: int, with_tarball: bool, fits: bool
) -> None:
    reason = no_room_to_import(disk, size_bytes, with_tarball=with_tarball)
    assert bool(reason) is not fits
    assert fits or "kubelet deletes images" in reason


def test_a_tarball_fits_to_the_last_byte() -> None:
    assert no_room_for_tarball(1000, 1000) == ""
    assert "MB needed" in no_room_for_tarball(999, 1000)


def test_the_facts_are_those_of_the_node_object() -> None:
    node_info = {
        "architecture": "amd64",
        "operatingSystem": "linux",
        "containerRuntimeVersion": "cri-o://1.33.0",
    }
    taints = [
        {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
        {"key": "dedicated", "effect": "NoSchedule"},
        {"key": "dedicated", "effect": "NoExecute"},
        {"key": "slow", "effect": "PreferNoSchedule"},
    ]
    conditions = [
        {"type": "Ready", "status": "True"},
        {"type": "PIDPressure", "status": "True"},
        {"type": "MemoryPressure", "status": "Unknown"},
        {"type": "NetworkUnavailable", "status": "True"},
    ]
    known = parse_node(
        {
            "metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"unschedulable": True, "taints": taints},
            "status": {
                "conditions": conditions,
                "allocatable": {"pods": "0"},
                "nodeInfo": node_info,
            },
        }
    )
    assert known.taints == ("dedicated",)
    assert known.conditions == ("PIDPressure", "NetworkUnavailable")
    assert (known.pods, known.runtime, known.operating_system, known.is_being_deleted) == (
        0,
        "cri-o://1.33.0",
        "linux",
        True,
    )


class Answers:
    """ports.Reads, of a host that prints what is given for the first word of a command."""

    def __init__(self, **printed: str) -> None:
        self.printed = printed

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:  # noqa: ARG002 (the protocol has them)
        return Result(0, self.printed[pipeline[0][0]].encode(), b"")


@pytest.mark.parametrize(
    ("printed", "commands", "python"),
    [
        ("python3 3 6\nctr\n", {"python3", "ctr"}, (3, 6)),
        ("python3 3 13\n", {"python3"}, (3, 13)),
        ("ctr\n", {"ctr"}, None),
    ],
)
def test_the_version_of_python3_is_read_with_the_programs(
    printed: str, commands: set[str], python: tuple[int, int] | None
) -> None:
    answer = Answers(sh=f"x86_64\n1000\n{printed}end\n")
    there = read_machine(answer, NODE, "/var/breakglass", ("python3", "ctr"))
    assert (set(there.commands), there.python) == (commands, python)


def test_the_disk_of_containerd_is_the_one_that_its_content_lies_on() -> None:
    df = (
        "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sdb1 100 60 40 60% /data\n"
    )
    plugins = (
        "Type:         io.containerd.content.v1\nExports:     \n"
        "              root      /data/containerd/io.containerd.content.v1.content\n"
    )
    ctr = Ctr(("ctr",), "k8s.io")
    disk = read_disk_of_content(Answers(ctr=plugins, df=df), NODE, ctr)
    directory = "/data/containerd/io.containerd.content.v1.content"
    assert disk == Disk(102400, 40960, directory)
    assert read_disk_of_content(Answers(ctr="", df=df), NODE, ctr) is None
    assert read_disk_of_content(Answers(ctr=plugins, df=""), NODE, ctr) is None
