"""import: the tarball on the node into its containerd, or the image that it still has; every name
that the pods use resolves to that image ID.
"""

from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands import ownership
from breakglass.commands.answering import Part, set_up, take_back
from breakglass.commands.containerd_steps import compare, confirm, load
from breakglass.commands.directory_steps import enter
from breakglass.commands.environment import Environment, Identity
from breakglass.commands.import_adopted import adopting_steps
from breakglass.commands.import_facts import Facts, observe, observe_again
from breakglass.commands.import_names import BEFORE, KEEP, OURS, keep_name, kept_name, tag, untag
from breakglass.commands.import_refusals import (
    check_image,
    check_room,
    source_notes,
    warnings_of_adoption,
)
from breakglass.commands.import_steps import (
    Undo,
    await_marks,
    digests_to_give,
    give_names,
    keep_images,
    names_to_give,
    names_to_remove,
    record_import,
    source_name,
)
from breakglass.commands.job import Job
from breakglass.commands.node_record import end
from breakglass.commands.tarball_steps import verify
from breakglass.commands.target import Target
from breakglass.commands.verdict_names import NameVerdict
from breakglass.config import Nodes
from breakglass.errors import then, with_tag
from breakglass.observe.answering import Taken
from breakglass.observe.containerd import Ctr, honours_pinned
from breakglass.observe.machine import Machine
from breakglass.plan import Plan, Step


@dataclass(frozen=True)
class ImportResult:
    tag: str | None
    node: str
    image_id: str | None
    names: tuple[str, ...]
    answers_pulls: bool
    kept: bool
    """Whether the containerd there keeps the image from kubelet's image garbage collection."""
    adopted: bool
    """Whether the image was taken as containerd had it, without a tarball."""
    verdicts: tuple[NameVerdict, ...]
    """Empty in a dry run."""


def job(
    environment: Environment,
    target: Target,
    *,
    tag: str | None,
    answer_pulls: bool,
    machine: Machine | None = None,
    searched: bool = False,
) -> Job[Facts]:
    """`machine`: the node's, where it was read already. `searched`: no source and no other node
    has a tarball.
    """
    nodes, identity = environment.config.nodes, environment.identity
    return Job(
        observe=partial(
            observe,
            environment,
            target,
            tag=tag,
            answer_pulls=answer_pulls,
            machine=machine,
            searched=searched,
        ),
        decide=partial(plan, nodes=nodes, identity=identity, tag=tag),
        observe_again=partial(observe_again, environment, tag=tag, answer_pulls=answer_pulls),
        state=state,
    )


def plan(facts: Facts, *, nodes: Nodes, identity: Identity, tag: str | None) -> Plan:
    """Raises Refused when there is no such image on the node, or it is for another architecture."""
    ownership.check(facts.machine)
    check_image(facts, tag)
    ctr = Ctr(nodes.ctr, nodes.namespace, facts.answers.unpacking)
    importing, undo = (adopting_steps if facts.adopted else _import_steps)(facts, ctr, nodes)
    doubts = (
        check_room(facts, facts.tarball, ctr)
        if facts.tarball and load(facts.shelf, facts.tarball, ctr, into="containerd") in importing
        else ()
    )
    answering = _answering(facts, ctr, nodes)
    settling = _settling_steps(facts, ctr, answering)
    goal = _goal(facts)
    if not (importing or settling):
        return Plan(goal, notes=(facts.how, *answering.notes), warnings=answering.warnings)
    first = enter(facts.node, facts.shelf.directory, identity, present=facts.shelf.present)
    return Plan(
        goal,
        (*first, *importing, *settling),
        undo=undo,
        settled=len(first) + len(importing),
        notes=(facts.how, *source_notes(facts), *answering.notes),
        warnings=(*doubts, *warnings_of_adoption(facts), *answering.warnings),
    )


def _goal(facts: Facts) -> str:
    record = facts.tarball.record if facts.tarball else None
    goal = f"{', '.join(facts.expected)} on {facts.node} are image ID {facts.image_id}"
    if record and record.companions:
        goal += " and the companions theirs"
    if honours_pinned(facts.containerd.version):
        goal += ", kept there"
    if facts.answers.answering:
        goal += ", and the node serves them locally"
    return goal


def _import_steps(facts: Facts, ctr: Ctr, nodes: Nodes) -> tuple[tuple[Step, ...], Undo]:
    """(steps, undo): every name means its image. What fails here is undone."""
    tarball, node = facts.tarball, facts.node
    assert tarball is not None
    assert tarball.record is not None
    record = tarball.record
    expected = facts.expected
    wanting = names_to_give(facts, expected)
    source = source_name(facts, wanting)
    companions = dict(record.companions)
    loads = source in wanting or any(name in wanting for name in companions)
    loading = load(facts.shelf, tarball, ctr, into="containerd")
    loaded = set(record.image_ids) if loads else set()
    naming = give_names(facts, ctr, wanting, source=source, loaded=loaded, load=loading)
    confirming = [
        confirm(facts.machine, ctr, name, expected[name])
        for name in (source, *companions)
        if name in wanting
    ]
    repair = then(
        with_tag(f"breakglass fetch {node}", tarball.tag),
        advice="fetch replaces the copy that is there",
    )
    verifying = verify(facts.shelf, tarball, repair=repair)
    targets = facts.containerd.targets
    kept = (kept_name(name) for name in wanting if name in targets)
    comparing = compare(node, ctr, (*record.image_ids, *kept), before=targets)
    recording = record_import(facts, ctr, nodes)
    by_digest = digests_to_give(facts)
    naming_by_digest = tuple(
        (tag(node, ctr, source, name), untag(node, ctr, name)) for name in by_digest
    )
    steps = (
        *((verifying,) if loads else ()),
        *recording,
        *naming.keeping,
        *((loading, comparing) if loads else ()),
        *confirming,
        *naming.tagging,
        *(step for step, _ in naming_by_digest),
        *await_marks(facts, ctr, expected, [*wanting, *by_digest]),
    )
    ending = ((step, end(node, nodes.directory)) for step in recording)
    return steps, (*naming.undo, *naming_by_digest, *ending)


def _settling_steps(facts: Facts, ctr: Ctr, answering: Part) -> tuple[Step, ...]:
    """What follows once every name means its image. What fails here is not undone."""
    expected = facts.expected
    wanting = names_to_give(facts, expected)
    keeps = {keep_name(image_id) for image_id in expected.values()}
    stale = (name for name in sorted(facts.containerd.targets) if name.startswith(KEEP))
    return (
        *(untag(facts.node, ctr, name) for name in names_to_remove(facts, wanting)),
        *keep_images(facts, expected, source_name(facts, wanting), ctr),
        *answering.steps,
        # Last: until then the responder may still answer with the images of these names.
        *(untag(facts.node, ctr, name) for name in stale if name not in keeps),
    )


def left_by(facts: Facts, nodes: Nodes) -> tuple[Taken, tuple[str, ...]]:
    """What is set up on the node, and the names of ours in its containerd, once the plan is
    done.
    """
    keeps = {keep_name(image_id) for image_id in facts.expected.values()}
    others = {
        name
        for name in facts.containerd.targets
        if name.startswith(OURS) and not name.startswith((BEFORE, KEEP))
    }
    taken = _answering(facts, Ctr(nodes.ctr, nodes.namespace), nodes).taken
    namespace = taken.namespace or nodes.namespace
    return (
        replace(taken, is_recorded=True, is_begun=True, namespace=namespace),
        tuple(sorted(keeps | others)),
    )


def _answering(facts: Facts, ctr: Ctr, nodes: Nodes) -> Part:
    if facts.answers.answering is None:
        return take_back(facts.node, nodes.directory, facts.answers.taken)
    kept = {name: keep_name(image_id) for name, image_id in facts.expected.items()}
    return set_up(
        facts.node,
        nodes.directory,
        nodes.registry_config,
        ctr,
        facts.answers,
        kept=kept,
        targets=facts.containerd.targets,
    )


def result(facts: Facts, verdicts: tuple[NameVerdict, ...] = ()) -> ImportResult:
    adopted = facts.adoption if facts.adopted else None
    return ImportResult(
        tag=facts.tarball.tag if facts.tarball else adopted.tag if adopted else None,
        node=facts.node.name,
        image_id=facts.image_id,
        names=tuple(facts.expected) or facts.names,
        answers_pulls=facts.answers.answering is not None,
        kept=honours_pinned(facts.containerd.version),
        adopted=adopted is not None,
        verdicts=verdicts,
    )


def state(facts: Facts) -> str:
    """What each name means now."""
    meanings = "; ".join(f"{name} is {_meaning(facts, name)}" for name in facts.names)
    answering = facts.answers.answering
    if answering is None:
        pulls = ""
    elif answering.responder.port:
        pulls = f" Pulls are answered on 127.0.0.1:{answering.responder.port}."
    else:
        pulls = " Pulls are not answered: pods with Always do not start."
    return f"On {facts.node}: {meanings or 'no name was touched'}.{pulls}"


def _meaning(facts: Facts, name: str) -> str:
    if name not in facts.containerd.targets:
        return "absent"
    image_id = facts.containerd.image_ids.get(name)
    if image_id == facts.image_id:
        return "the recorded image" if facts.tarball else "the image that was there"
    return f"another image ({image_id or 'its content is not whole'})"
