"""import: the tarball on the node into its containerd; every name that the pods use resolves to the
recorded image ID.
"""

from dataclasses import dataclass, replace
from functools import partial

from breakglass.commands.answering import Part, set_up, take_back
from breakglass.commands.containerd_steps import confirm, load
from breakglass.commands.directory_steps import enter
from breakglass.commands.environment import Environment, Identity
from breakglass.commands.import_facts import Facts, expected_images, observe, observe_again
from breakglass.commands.import_names import BEFORE, KEEP, OURS, keep_name, untag
from breakglass.commands.import_refusals import check_room, check_usable, no_tarball
from breakglass.commands.import_steps import (
    await_marks,
    give_names,
    keep_images,
    names_to_give,
    names_to_remove,
    source_name,
)
from breakglass.commands.job import Job
from breakglass.commands.node_record import begin, end
from breakglass.commands.tarball_steps import verify
from breakglass.commands.target import Target
from breakglass.config import Nodes
from breakglass.errors import then
from breakglass.observe.answering import Taken
from breakglass.observe.containerd import Ctr, honours_pinned
from breakglass.observe.machine import Machine
from breakglass.observe.record import Record
from breakglass.observe.shelf import Tarball
from breakglass.plan import Plan, Run, Step


@dataclass(frozen=True)
class ImportResult:
    tag: str | None
    node: str
    image_id: str | None
    names: tuple[str, ...]
    answers_pulls: bool
    kept: bool
    """Whether the containerd there keeps the image from kubelet's image garbage collection."""


def job(
    environment: Environment,
    target: Target,
    *,
    tag: str | None,
    answer_pulls: bool,
    machine: Machine | None = None,
) -> Job[Facts]:
    """`machine`: the node's, where it was read already."""
    nodes, identity = environment.config.nodes, environment.identity
    return Job(
        observe=partial(
            observe, environment, target, tag=tag, answer_pulls=answer_pulls, machine=machine
        ),
        decide=partial(plan, nodes=nodes, identity=identity, tag=tag),
        observe_again=partial(observe_again, environment, tag=tag, answer_pulls=answer_pulls),
        state=state,
    )


def plan(facts: Facts, *, nodes: Nodes, identity: Identity, tag: str | None) -> Plan:
    """Raises Refused when there is no such tarball on the node, or it is for another
    architecture.
    """
    node, shelf, tarball = facts.node, facts.shelf, facts.tarball
    if tarball is None or tarball.record is None or not tarball.verified:
        raise no_tarball(facts, tag)
    check_usable(tarball.file, tarball.record, facts.machine, name=facts.names[0])
    ctr = Ctr(nodes.ctr, nodes.namespace)
    expected = expected_images(tarball, facts.names)
    importing, undo = _import_steps(facts, tarball, tarball.record, ctr, nodes)
    doubts = (
        check_room(facts, tarball, ctr)
        if load(facts.shelf, tarball, ctr, into="containerd") in importing
        else ()
    )
    answering = _answering(facts, expected, ctr, nodes)
    settling = _settling_steps(facts, expected, ctr, answering)
    goal = _goal(facts, tarball.record, expected)
    if not (importing or settling):
        return Plan(goal, notes=(facts.how, *answering.notes), warnings=answering.warnings)
    first = enter(node, shelf.directory, identity, present=True)
    source = f"tarball: {tarball.file}, taken {tarball.record.created_at}"
    return Plan(
        goal,
        (*first, *importing, *settling),
        undo=undo,
        settled=len(first) + len(importing),
        notes=(facts.how, source, *answering.notes),
        warnings=(*doubts, *answering.warnings),
    )


def _goal(facts: Facts, record: Record, expected: dict[str, str]) -> str:
    goal = f"{', '.join(expected)} on {facts.node} are image ID {record.image_id}"
    if record.companions:
        goal += " and the companions theirs"
    if honours_pinned(facts.containerd.version):
        goal += ", kept there"
    if facts.answers.answering:
        goal += ", and the node serves them locally"
    return goal


def _import_steps(
    facts: Facts, tarball: Tarball, record: Record, ctr: Ctr, nodes: Nodes
) -> tuple[tuple[Step, ...], tuple[tuple[Step, Run], ...]]:
    """(steps, undo): every name means its image. What fails here is undone."""
    node, path = facts.node, facts.shelf.path(tarball)
    expected = expected_images(tarball, facts.names)
    wanting = names_to_give(facts, expected)
    source = source_name(facts, wanting)
    companions = dict(record.companions)
    loads = source in wanting or any(name in wanting for name in companions)
    loading = load(facts.shelf, tarball, ctr, into="containerd")
    loaded = {*companions, *record.references} if loads else set()
    naming = give_names(facts, ctr, wanting, source=source, loaded=loaded, load=loading)
    confirming = [
        confirm(facts.machine, ctr, name, expected[name])
        for name in (source, *companions)
        if name in wanting
    ]
    repair = then(f"breakglass fetch {node}", advice="fetch replaces the copy that is there")
    verifying = verify(node, path, total_bytes=tarball.size_bytes, repair=repair)
    is_recorded = facts.answers.taken.is_recorded
    recording = () if is_recorded else (begin(node, nodes.directory, ctr),)
    steps = (
        *((verifying,) if loads else ()),
        *recording,
        *naming.keeping,
        *((loading,) if loads else ()),
        *confirming,
        *naming.tagging,
        *await_marks(facts, ctr, expected, wanting),
    )
    return steps, (*naming.undo, *((step, end(node, nodes.directory)) for step in recording))


def _settling_steps(
    facts: Facts, expected: dict[str, str], ctr: Ctr, answering: Part
) -> tuple[Step, ...]:
    """What follows once every name means its image. What fails here is not undone."""
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
    expected = expected_images(facts.tarball, facts.names)
    keeps = {keep_name(image_id) for image_id in expected.values()}
    others = {
        name
        for name in facts.containerd.targets
        if name.startswith(OURS) and not name.startswith((BEFORE, KEEP))
    }
    taken = _answering(facts, expected, Ctr(nodes.ctr, nodes.namespace), nodes).taken
    namespace = taken.namespace or nodes.namespace
    return (
        replace(taken, is_recorded=True, is_begun=True, namespace=namespace),
        tuple(sorted(keeps | others)),
    )


def _answering(facts: Facts, expected: dict[str, str], ctr: Ctr, nodes: Nodes) -> Part:
    if facts.answers.answering is None:
        return take_back(facts.node, nodes.directory, facts.answers.taken)
    kept = {name: keep_name(image_id) for name, image_id in expected.items()}
    return set_up(
        facts.node,
        nodes.directory,
        nodes.registry_config,
        ctr,
        facts.answers,
        kept=kept,
        targets=facts.containerd.targets,
    )


def result(facts: Facts) -> ImportResult:
    record = facts.tarball.record if facts.tarball else None
    return ImportResult(
        tag=facts.tarball.tag if facts.tarball else None,
        node=facts.node.name,
        image_id=record.image_id if record else None,
        names=(*facts.names, *(dict(record.companions) if record else ())),
        answers_pulls=facts.answers.answering is not None,
        kept=honours_pinned(facts.containerd.version),
    )


def state(facts: Facts) -> str:
    """What each name means now."""
    recorded = facts.tarball.record.image_id if facts.tarball and facts.tarball.record else None
    meanings = "; ".join(f"{name} is {_meaning(facts, name, recorded)}" for name in facts.names)
    answering = facts.answers.answering
    if answering is None:
        pulls = ""
    elif answering.responder.port:
        pulls = f" Pulls are answered on 127.0.0.1:{answering.responder.port}."
    else:
        pulls = " Pulls are not answered: pods with Always do not start."
    return f"On {facts.node}: {meanings or 'no name was touched'}.{pulls}"


def _meaning(facts: Facts, name: str, recorded: str | None) -> str:
    if name not in facts.containerd.targets:
        return "absent"
    image_id = facts.containerd.image_ids.get(name)
    if image_id == recorded:
        return "the recorded image"
    return f"another image ({image_id or 'its content is not whole'})"
