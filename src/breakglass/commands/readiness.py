"""What recovery needs besides tarballs, and what can be known of it without changing
anything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from breakglass.cluster_name import BIND_THE_ROLE
from breakglass.commands.answering import set_up
from breakglass.commands.answering_facts import Answers, read_answers
from breakglass.commands.environment import Environment
from breakglass.commands.fetch_facts import Login
from breakglass.commands.fitness import Needs, Reason, in_words, remedies_of, unfit
from breakglass.config import Nodes
from breakglass.errors import (
    BreakglassError,
    Failed,
    Refused,
    Unreachable,
    joined,
    then,
)
from breakglass.observe.containerd import Ctr
from breakglass.observe.containerd_config import BY_DEFAULT, Unpacking
from breakglass.observe.machine import Machine
from breakglass.plan import Host

T = TypeVar("T")


@dataclass(frozen=True)
class Readings:
    """Each as it was read, or why it could not be."""

    answers: Answers | BreakglassError | None
    """None: it is not known, for the node lacks what would be asked with."""
    may_patch: bool | BreakglassError | None
    """None: the API would not say."""

    @property
    def unpacking(self) -> Unpacking:
        return self.answers.unpacking if isinstance(self.answers, Answers) else BY_DEFAULT


@dataclass(frozen=True)
class Check:
    """One finding. Without an error it is as it should be, or, as a warning, recovery works
    without it.
    """

    name: str
    detail: str
    error: BreakglassError | None = None
    warns: bool = False

    def __str__(self) -> str:
        return (
            f"{'FAILED' if self.error else 'warning' if self.warns else 'ok':<8}{self.name}: "
            f"{self.detail}"
        )


def programs(nodes: Nodes) -> tuple[str, ...]:
    """What fetch and import run on a node; ssh is not among them, for a tarball may come through
    the operator's machine.
    """
    return ("python3", "bash", "sha256sum", nodes.ctr[0])


def observe(environment: Environment, machine: Machine, names: tuple[str, ...]) -> Readings:
    """`names`: what the image is to be called."""

    def answers() -> Answers:
        # The registries are not asked: whether they serve the image today says nothing of the way
        # back.
        return read_answers(
            environment,
            machine.host,
            names,
            architecture=machine.architecture,
            wanted=True,
            pulls=(),
        )

    ready = not unusable(machine, environment.config.nodes)
    return Readings(_attempt(answers) if ready else None, _attempt(environment.may_patch))


def unusable(machine: Machine, nodes: Nodes) -> tuple[Reason, ...]:
    """Why nothing can be brought to this machine: a program is missing or too old."""
    return unfit(Needs(programs=programs(nodes)), machine=machine)


def checks(
    readings: Readings, machine: Machine, *, nodes: Nodes, login: Login | None
) -> tuple[Check, ...]:
    """`login`: how the node's root would log in to the VM; None where the VM was not reached."""
    node = machine.host
    return (
        _programs(machine, nodes),
        *(_answering(node, nodes, readings) if nodes.answer_pulls else ()),
        *(_login(node, login) if login else ()),
        _rights(readings),
    )


def _programs(machine: Machine, nodes: Nodes) -> Check:
    node, reasons = machine.host, unusable(machine, nodes)
    if not reasons:
        return Check("programs", f"{node} has {', '.join(programs(nodes))}")
    return _failed(
        "programs",
        Refused(
            f"{node}: {in_words(reasons)}",
            next_step=joined([remedies_of(reasons), then("breakglass drill")]),
        ),
    )


def _answering(node: Host, nodes: Nodes, readings: Readings) -> tuple[Check, ...]:
    """Whether an import could let the node serve the image locally: containerd reads hosts.toml,
    each can be extended, a port is free.
    """
    answers = readings.answers
    if answers is None:
        return ()
    if isinstance(answers, BreakglassError):
        return (_failed("answering pulls", answers),)
    assert answers.answering is not None
    try:
        warnings = set_up(
            node,
            nodes.directory,
            nodes.registry_config,
            Ctr(nodes.ctr, nodes.namespace),
            answers,
            kept={},
            targets={},
        ).warnings
    except Refused as error:
        return (_failed("answering pulls", error),)
    responder = answers.answering.responder
    port = (
        f"the responder runs on port {responder.port}"
        if responder.port
        else f"port {responder.free_port} is free for the responder"
    )
    found = Check(
        "answering pulls",
        f"containerd reads hosts.toml below {nodes.registry_config} (config_path); {port}",
    )
    return (found, *(Check("answering pulls", warning, warns=True) for warning in warnings))


def _login(node: Host, login: Login) -> tuple[Check, ...]:
    if login.why_not:
        return (
            Check(
                "login to the VM",
                f"{login.why_not}; fetch goes through the operator's machine then",
                warns=True,
            ),
        )
    return (Check("login to the VM", f"{node}'s root logs in to registry-vm"),)


def _rights(readings: Readings) -> Check:
    may = readings.may_patch
    if isinstance(may, BreakglassError):
        return _failed("rights", may)
    if may is None:
        return Check("rights", "the API does not say whether we may patch nodes", warns=True)
    if not may:
        return _failed(
            "rights",
            Unreachable(
                "the API does not let us patch nodes, so pin would not work",
                next_step=BIND_THE_ROLE,
            ),
        )
    return Check("rights", "the API lets us patch nodes")


def _failed(name: str, error: BreakglassError) -> Check:
    return Check(name, error.message, error)


def _attempt(read: Callable[[], T]) -> T | BreakglassError:
    try:
        return read()
    except Failed as error:
        # Nothing was begun that could have failed part-way.
        return Refused(error.message, next_step=error.next_step)
    except BreakglassError as error:
        return error
