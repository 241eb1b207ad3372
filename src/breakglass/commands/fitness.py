"""Whether a node fits: CI pods are scheduled there, and the image can be brought there. One pure
function judges, for every command; it is given what is known, and says nothing about the rest.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from breakglass.commands.ownership import exposed
from breakglass.config import Nodes
from breakglass.errors import NOTHING, Next, Refused, joined, then
from breakglass.observe.cluster import Node
from breakglass.observe.machine import Machine
from breakglass.plan import OLDEST_PYTHON

CONDITION_TAINTS = {
    "not Ready": ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"),
    "DiskPressure": ("node.kubernetes.io/disk-pressure",),
    "MemoryPressure": ("node.kubernetes.io/memory-pressure",),
    "PIDPressure": ("node.kubernetes.io/pid-pressure",),
    "NetworkUnavailable": ("node.kubernetes.io/network-unavailable",),
}
"""The node controller's taints for what is named as a condition already (Kubernetes documentation,
*Taints and Tolerations*).
"""

END_THE_PIN = then("breakglass restore")
HAVE_ANYWAY = ("import", "pin", "recover")
"""Commands that go on with a node that does not fit, with --anyway."""


class Kind(Enum):
    STATE = auto()
    """Ready, the cordon, the conditions: what `kubectl get nodes` is looked at for."""
    PODS = auto()
    """Else what keeps CI pods away: taints, labels, no room for pods."""
    IMAGE = auto()
    """The image could not be brought there, or not be used there."""


@dataclass(frozen=True)
class Reason:
    """Why a node does not fit."""

    kind: Kind
    words: str
    """Behind the node's name and a colon."""
    remedy: Next = NOTHING
    """What to do, where there is more than to choose another node."""

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Needs:
    """What the CI pods and the image ask of a node."""

    tolerates: tuple[str, ...] = ()
    """Keys of taints that the CI pods tolerate."""
    selector: tuple[tuple[str, str], ...] = ()
    """Labels that a node must have."""
    programs: tuple[str, ...] = ("python3", "ctr")
    architecture: str = ""
    """Of the image; empty: not known."""


NONE = Needs()
"""Nothing but what every node must be."""


def needs_of(nodes: Nodes, *, architecture: str = "") -> Needs:
    return Needs(
        nodes.tolerates, tuple(nodes.selector.items()), ("python3", nodes.ctr[0]), architecture
    )


def unfit(
    needs: Needs, *, node: Node | None = None, machine: Machine | None = None
) -> tuple[Reason, ...]:
    """Each reason why the node does not fit; empty: it fits, as far as is known.

    `node`: what the API says of it. `machine`: what it says itself, over SSH.
    """
    return (
        *(_by_the_api(needs, node) if node else ()),
        *(_by_itself(needs, machine, node) if machine else ()),
    )


def in_words(reasons: Iterable[Reason]) -> str:
    return ", ".join(map(str, reasons))


def refusal(
    name: str,
    reasons: tuple[Reason, ...],
    *,
    command: str,
    nodes: Iterable[Node] = (),
) -> Refused:
    """The error for a node that was named. `nodes`: all of the cluster."""
    choose = then(f"breakglass {command}", advice="breakglass chooses a node that fits.")
    if any(node.mark.annotation is not None for node in nodes):
        # No other node fits as long as the pin keeps them cordoned.
        choose = then(*END_THE_PIN.commands, advice="end the pin that is in force.")
    insist = then(
        f"breakglass {command} {name} --anyway", advice=f"--anyway uses {name} all the same."
    )
    ways = (remedies_of(reasons), choose, *((insist,) if command in HAVE_ANYWAY else ()))
    return Refused(f"{name} does not fit: {in_words(reasons)}", next_step=joined(ways))


def remedies_of(reasons: Iterable[Reason]) -> Next:
    """What mends them, each once."""
    return joined([reason.remedy for reason in reasons])


def warning(name: str, reasons: tuple[Reason, ...]) -> str:
    """What is said where the operator goes on with a node that does not fit."""
    return f"{name} does not fit, so pods may not start: {in_words(reasons)}"


def _by_the_api(needs: Needs, node: Node) -> tuple[Reason, ...]:
    """What keeps the CI pods away from the node."""
    states = [] if node.ready else ["not Ready"]
    states += node.conditions
    explained = {taint for state in states for taint in CONDITION_TAINTS.get(state, ())}
    taints = [key for key in node.taints if key not in explained and key not in needs.tolerates]
    by_us = node.mark.annotation is not None
    cordon = Reason(
        Kind.STATE,
        "cordoned by a pin" if by_us else "cordoned",
        END_THE_PIN if by_us else then(f"kubectl uncordon {node.name}"),
    )
    return (
        *([cordon] if node.mark.unschedulable else []),
        *(Reason(Kind.STATE, state) for state in states),
        *([Reason(Kind.STATE, "is being deleted")] if node.is_being_deleted else []),
        *(map(_taint, taints)),
        *_labels(needs, node),
        *([Reason(Kind.PODS, "may hold no pods (allocatable: 0)")] if node.pods == 0 else []),
        *_system(needs, node),
    )


def _taint(key: str) -> Reason:
    remedy = then(advice=f"if the CI pods tolerate it, add {key} to nodes.tolerates.")
    return Reason(Kind.PODS, f"has the taint {key}", remedy)


def _labels(needs: Needs, node: Node) -> tuple[Reason, ...]:
    labels = dict(node.labels)
    return tuple(
        Reason(Kind.PODS, f"lacks the label {key}={value} of nodes.selector")
        for key, value in needs.selector
        if labels.get(key) != value
    )


def _system(needs: Needs, node: Node) -> tuple[Reason, ...]:
    reasons = _architecture(needs, node.architecture)
    if node.operating_system not in ("", "linux"):
        reasons = (Reason(Kind.IMAGE, f"operating system {node.operating_system}"), *reasons)
    runtime, _, version = node.runtime.partition("://")
    if runtime not in ("", "containerd"):
        used = f"{runtime} {version}".rstrip()
        reasons = (*reasons, Reason(Kind.IMAGE, f"its kubelet uses {used}, not containerd"))
    return reasons


def _architecture(needs: Needs, architecture: str) -> tuple[Reason, ...]:
    if not needs.architecture or architecture in ("", needs.architecture):
        return ()
    words = f"architecture {architecture}, the image is for {needs.architecture}"
    return (Reason(Kind.IMAGE, words),)


def _by_itself(needs: Needs, machine: Machine, node: Node | None) -> tuple[Reason, ...]:
    host, missing = machine.host, [each for each in needs.programs if each not in machine.commands]
    reasons = () if node and node.architecture else _architecture(needs, machine.architecture)
    if missing:
        words = f"has no {', '.join(missing)}"
        remedy = then(advice=f"install it on {host}.")
        reasons = (*reasons, Reason(Kind.IMAGE, words, remedy))
    others = (Reason(Kind.IMAGE, each.words, each.remedy) for each in exposed(machine))
    return (*reasons, *old_python(machine), *others)


def old_python(machine: Machine) -> tuple[Reason, ...]:
    """Where python3 is too old for breakglass-remote.pyz."""
    if machine.python is None or machine.python >= OLDEST_PYTHON:
        return ()
    there, oldest = (".".join(map(str, version)) for version in (machine.python, OLDEST_PYTHON))
    look = machine.host.by_hand("python3", "--version")
    return (
        Reason(
            Kind.IMAGE,
            f"python3 is {there} there, and breakglass needs {oldest} or newer",
            then(look, advice=f"install a newer python3 on {machine.host}."),
        ),
    )
