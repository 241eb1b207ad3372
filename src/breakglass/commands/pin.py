"""pin: cordon every other schedulable node, and remember in the cluster that we did."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from breakglass.cluster_name import ClusterName
from breakglass.commands import Environment, Identity, Target
from breakglass.commands.fitness import NONE, Needs, needs_of, refusal, unfit, warning
from breakglass.commands.image_names import missing_names, repository_of
from breakglass.commands.job import Job
from breakglass.commands.pin_claim import check_no_other_pin, claim_first
from breakglass.commands.pin_pods import nodes_with_pods
from breakglass.commands.pin_warnings import reacting_to_cordons, tied_to_others, waiting_elsewhere
from breakglass.commands.right_host import check as check_right_host
from breakglass.errors import Refused, Unreachable
from breakglass.marks import ANNOTATION, Mark
from breakglass.observe.cluster import Node, Pin, Pod, parse_pin, read_pods
from breakglass.observe.machine import Machine, read_machine
from breakglass.observe.pins import pin_held
from breakglass.observe.shelf import read_shelf
from breakglass.observe.volumes import Volume, read_volumes, tied_elsewhere
from breakglass.plan import PatchNode, Plan, title


@dataclass(frozen=True)
class Facts:
    target: str
    how: str
    nodes: tuple[Node, ...]
    missing: tuple[str, ...]
    """Names that pods use and that do not resolve on the target."""
    may_patch: bool | None
    """None: the API would not say."""
    pods: tuple[Pod, ...] | None
    """None: they could not be read."""
    repositories: frozenset[str]
    """What the pods call the image, without tags."""
    volumes: tuple[Volume, ...] | None = ()
    """Those that only some nodes can serve. None: they could not be read."""
    machine: Machine | None = None
    """The target's host; None: not looked at."""
    needs: Needs = NONE
    anyway: bool = False
    """A target that does not fit is a warning."""
    newcomers: tuple[str, ...] = ()
    """Nodes that joined while the pin was at work: no part of what it promised."""
    cluster: ClusterName | None = None
    was_free: bool = False
    """Whether no other pin was in force when this was read before."""


@dataclass(frozen=True)
class PinResult:
    target: str
    cordoned: tuple[str, ...]
    left_alone: tuple[str, ...]
    """Cordoned by somebody else."""
    joined: tuple[str, ...]


def job(
    environment: Environment, target: Target, *, reason: str, nodes: tuple[Node, ...] | None = None
) -> Job[Facts]:
    """`nodes`: the cluster, where it was read already."""

    def observe_after(before: Facts) -> Facts:
        return without_newcomers(observe_again(environment, before), before)

    return Job(
        observe=partial(observe, environment, target, nodes=nodes),
        decide=partial(plan, identity=environment.identity, reason=reason),
        observe_again=partial(observe_again, environment),
        observe_after=observe_after,
        state=state,
        question=f"Cordon these nodes, so that pods are scheduled on {target.host} only?",
    )


def observe(
    environment: Environment, target: Target, *, nodes: tuple[Node, ...] | None = None
) -> Facts:
    """`nodes`: the cluster, where it was read already. Raises Unreachable."""
    nodes = environment.nodes() if nodes is None else nodes
    host = target.host
    node = next((node for node in nodes if node.name == host.name), None)
    may_patch = environment.may_patch()
    try:
        pods: tuple[Pod, ...] | None = read_pods(environment.cluster)
    except Unreachable:
        pods = None
    missing: tuple[str, ...] = ()
    volumes = _volumes(environment)
    needs = needs_of(environment.config.nodes)
    machine = None
    if node and may_patch is not False and (environment.anyway or not unfit(needs, node=node)):
        environment.note(f"looking at {host} ({host.ssh})")
        check_right_host(environment, host, nodes)
        directory = environment.config.nodes.directory
        machine = read_machine(environment.hosts, host, directory, needs.programs)
        if environment.anyway or not unfit(needs, machine=machine):
            shelf = read_shelf(environment.hosts, host, directory, environment.config.image.name)
            missing = missing_names(environment, machine, shelf)
    return Facts(
        host.name,
        target.how,
        nodes,
        missing,
        may_patch,
        pods,
        frozenset(repository_of(name) for name in environment.config.image.names("any")),
        volumes,
        machine,
        needs,
        environment.anyway,
        cluster=environment.cluster_name(),
    )


def _volumes(environment: Environment) -> tuple[Volume, ...] | None:
    try:
        return read_volumes(environment.cluster)
    except Unreachable:
        return None


def observe_again(environment: Environment, facts: Facts) -> Facts:
    """The nodes read anew."""
    return replace(facts, nodes=environment.nodes(), was_free=True)


def without_newcomers(now: Facts, before: Facts) -> Facts:
    """What was read after the patches, of the nodes that there were before them."""
    known = {node.name for node in before.nodes}
    return replace(
        now,
        nodes=tuple(node for node in now.nodes if node.name in known),
        newcomers=tuple(node.name for node in now.nodes if node.name not in known),
    )


def plan(facts: Facts, *, identity: Identity, reason: str) -> Plan:
    """Raises Refused when the target does not fit or another pin is in force."""
    target = _target(facts)
    check_no_other_pin(facts.nodes, facts.target, now=identity.at, was_free=facts.was_free)
    doubts = _check_fits(facts, target)
    pin = Pin(identity.run, target.name, identity.by, identity.at, reason)
    steps = claim_first(facts.nodes, [*_patches(facts, target, pin)])
    alone = left_alone(facts)
    notes = (facts.how, *((f"already cordoned, left alone: {', '.join(alone)}",) if alone else ()))
    return Plan(
        f"pods are scheduled on {target.name} only; every node that was cordoned for it carries "
        f"the annotation {ANNOTATION}",
        steps,
        notes=notes,
        warnings=(*doubts, *_warnings(facts)),
    )


def _patches(facts: Facts, target: Node, pin: Pin) -> Iterator[PatchNode]:
    busy = nodes_with_pods(facts.pods or ())
    for node in facts.nodes:
        mark, version = node.mark, node.resource_version
        if node.name == target.name:
            if pin_held(mark) is None:
                after = replace(mark, holds=pin.text())
                name = title("mark as the target:", node.name)
                yield PatchNode(node.name, mark, after, version, title=name)
        elif not mark.unschedulable:
            text = mark.annotation or replace(pin, had_pods=node.name in busy).text()
            after = Mark(True, text, mark.holds)
            yield PatchNode(node.name, mark, after, version, title=title("cordon", node.name))


def _target(facts: Facts) -> Node:
    """Raises Refused where the cluster has no such node, Unreachable where we may not patch."""
    target = next((node for node in facts.nodes if node.name == facts.target), None)
    if target is None:
        raise Refused(
            f"there is no node {facts.target} in the cluster",
            next_step="one of: " + ", ".join(node.name for node in facts.nodes),
        )
    if facts.may_patch is False:
        raise Unreachable(
            "the API lets us list nodes but not patch them: the right patch on nodes is missing",
            next_step="bind the ClusterRole in docs/security.md to this identity",
        )
    return target


def _check_fits(facts: Facts, target: Node) -> tuple[str, ...]:
    """A warning where the target does not fit and the operator goes on. Raises Refused where pods
    would not be scheduled or not start there.
    """
    name = target.name
    reasons = unfit(facts.needs, node=target, machine=facts.machine)
    if reasons and not facts.anyway:
        raise refusal(name, reasons, command="pin", nodes=facts.nodes, cluster=facts.cluster)
    if facts.missing:
        raise Refused(
            f"{name} does not have the image: {', '.join(facts.missing)} is not there, not the "
            f"image of its tarball, or not seen by kubelet",
            next_step=f"run: breakglass fetch {name} && breakglass import {name}",
        )
    return (warning(name, reasons),) if reasons else ()


def left_alone(facts: Facts) -> list[str]:
    """Nodes that somebody else had cordoned."""
    return [
        node.name
        for node in facts.nodes
        if node.name != facts.target and node.mark.unschedulable and node.mark.annotation is None
    ]


def result(facts: Facts, done: Plan) -> PinResult:
    """Of what was read after the patches, or in a dry run before them."""
    patched = {
        step.node for step in done.steps if isinstance(step, PatchNode) and step.after.unschedulable
    }
    cordoned = tuple(
        node.name
        for node in facts.nodes
        if node.name in patched or (node.mark.unschedulable and node.mark.annotation is not None)
    )
    return PinResult(facts.target, cordoned, tuple(left_alone(facts)), facts.newcomers)


def state(facts: Facts) -> str:
    cordoned: dict[str, list[str]] = {facts.target: []}
    for node in facts.nodes:
        if node.mark.annotation is not None:
            cordoned.setdefault(_target_of(node) or facts.target, []).append(node.name)
    ours = ", ".join(cordoned.pop(facts.target)) or "no node"
    others = (
        f" Cordoned for the pin to {target}: {', '.join(names)}."
        for target, names in cordoned.items()
    )
    return f"Cordoned by us, with our annotation: {ours}.{''.join(others)}"


def _target_of(node: Node) -> str | None:
    try:
        return parse_pin(node.mark.annotation or "").target
    except Refused:
        return None


def _warnings(facts: Facts) -> list[str]:
    if facts.pods is None:
        return ["the pods could not be listed: pods that wait on other nodes are not known"]
    waiting = [
        *reacting_to_cordons(facts.pods),
        *waiting_elsewhere(facts.pods, facts.repositories, facts.target),
    ]
    if facts.volumes is None:
        return [
            *waiting,
            "the persistent volumes could not be listed: pods that only other nodes can serve are "
            "not known (docs/security.md, the right to list persistentvolumes)",
        ]
    tied = tied_elsewhere(facts.pods, facts.volumes, facts.nodes, facts.target)
    return [*waiting, *tied_to_others(tied, facts.cluster)]
