"""pin: cordon every other schedulable node, and remember in the cluster that we did."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands.environment import Environment, Identity
from breakglass.commands.fitness import refusal, unfit, warning
from breakglass.commands.job import Job
from breakglass.commands.pin_claim import check_no_other_pin, claim_first
from breakglass.commands.pin_facts import Facts, observe, observe_again, without_newcomers
from breakglass.commands.pin_pods import nodes_with_pods
from breakglass.commands.pin_warnings import (
    queued_pulls,
    reacting_to_cordons,
    tied_to_others,
    waiting_elsewhere,
)
from breakglass.commands.rights import may_not_patch
from breakglass.commands.target import Target
from breakglass.errors import AGAIN, Next, Refused, joined, then
from breakglass.marks import ANNOTATION, Mark
from breakglass.observe.cluster import Node, Pin, parse_pin
from breakglass.observe.pins import pin_held
from breakglass.observe.volumes import tied_elsewhere
from breakglass.plan import PatchNode, Plan, title


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
            next_step=then(
                "kubectl get nodes",
                advice=f"name one of {', '.join(node.name for node in facts.nodes)}",
            ),
        )
    if facts.may_patch is False:
        raise may_not_patch()
    return target


def _check_fits(facts: Facts, target: Node) -> tuple[str, ...]:
    """A warning where the target does not fit and the operator goes on. Raises Refused where pods
    would not be scheduled or not start there.
    """
    name = target.name
    reasons = unfit(facts.needs, node=target, machine=facts.machine)
    if reasons and not facts.anyway:
        raise refusal(name, reasons, command="pin", nodes=facts.nodes)
    if facts.missing:
        raise Refused(
            f"{name} does not have the image: {', '.join(facts.missing)} is not there, not the "
            f"image of its tarball, or not seen by kubelet",
            next_step=then(f"breakglass fetch {name}", f"breakglass import {name}"),
        )
    return (warning(name, reasons),) if reasons else ()


def _then_again(by_hand: list[Next], again: str, *, anyway: bool) -> Next:
    """First what is done by hand. It may be a part of another command, so `restore` is named."""
    steps = joined(by_hand)
    first = [command for command in steps.commands if command is not AGAIN]
    advice = steps.advice or ("" if first else "when that is up")
    if anyway:
        advice += " --anyway, where it is the right machine all the same"
    return then(*first, again, *((f"{again} --anyway",) if anyway else ()), advice=advice)


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
        *queued_pulls(facts.pods, facts.repositories, facts.target),
    ]
    if facts.volumes is None:
        return [
            *waiting,
            "the persistent volumes could not be listed: pods that only other nodes can serve are "
            "not known (docs/security.md, the right to list persistentvolumes)",
        ]
    tied = tied_elsewhere(facts.pods, facts.volumes, facts.nodes, facts.target)
    return [*waiting, *tied_to_others(tied, facts.cluster)]
