"""drill: the newest tarball of every source to a node, into a namespace of containerd that only
drill uses, and out again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from breakglass.commands import ownership, readiness, room
from breakglass.commands.containerd_steps import compare, confirm, load
from breakglass.commands.directory_steps import create, enter
from breakglass.commands.drill_candidate import Candidate
from breakglass.commands.drill_facts import NAMESPACE, Facts, observe_again, tidied
from breakglass.commands.drill_removal import (
    leftover,
    remove_all_leases,
    remove_directory,
    remove_images,
    remove_leftovers,
    remove_namespace,
    state,
)
from breakglass.commands.environment import Environment, Identity
from breakglass.commands.fetch_copy import copying
from breakglass.commands.fetch_options import Option
from breakglass.commands.import_refusals import check_usable
from breakglass.commands.job import Job
from breakglass.commands.record_names import check_names
from breakglass.commands.tarball_steps import discard, removal, verify
from breakglass.config import Image, Nodes
from breakglass.errors import BreakglassError
from breakglass.observe.record import Record
from breakglass.observe.shelf import Tarball
from breakglass.plan import Plan, Run, Step


@dataclass(frozen=True)
class SourceResult:
    name: str
    tag: str | None
    sha256: str | None
    image_id: str | None
    via: str | None
    ok: bool
    error: str | None
    signature: str | None
    """Of the tarball's record: as in status; null: there is no tarball."""
    signed_by: str | None


@dataclass(frozen=True)
class CheckResult:
    name: str
    ok: bool
    warns: bool
    detail: str


@dataclass(frozen=True)
class DrillResult:
    node: str
    sources: tuple[SourceResult, ...]
    checks: tuple[CheckResult, ...]


def job(environment: Environment, facts: Facts, option: Option) -> Job[Facts]:
    """One source's tarball in and out again. The option was chosen from these facts."""
    config = environment.config
    return Job(
        observe=lambda: facts,
        decide=partial(
            plan,
            option=option,
            image=config.image,
            nodes=config.nodes,
            identity=environment.identity,
        ),
        observe_again=partial(observe_again, environment),
        state=state,
        left_over=leftover,
    )


def plan(facts: Facts, option: Option, *, image: Image, nodes: Nodes, identity: Identity) -> Plan:
    """One tarball in, and everything of it out again. Raises Refused or Integrity."""
    ownership.check(facts.reach.machine)
    node, ctr, scratch = facts.node, facts.ctr, facts.reach.shelf
    tarball, record = option.tarball, option.tarball.record
    assert record is not None
    usual_name = f"{image.repository}:{tarball.tag}"
    check_names(image, option.shelf, tarball)
    check_usable(tarball.file, record, facts.reach.machine, name=usual_name)
    warnings = _check_room(facts, tarball)

    make = () if scratch.present else (create(node, scratch.directory),)
    # The leftovers are removed before the copy begins.
    copy = copying(tidied(facts).reach, option, image, identity)
    loading = load(scratch, tarball, ctr, into=NAMESPACE)
    out = (remove_images(node, ctr, tuple(record.image_ids)), remove_namespace(node, ctr))
    files = (removal(scratch, tarball), remove_directory(node, scratch.directory))
    steps = (
        *enter(node, nodes.directory, identity, present=facts.has_directory),
        *remove_leftovers(facts),
        *make,
        *copy,
        verify(scratch, tarball),
        loading,
        compare(node, ctr, record.image_ids, before={}),
        *(confirm(facts.reach.machine, ctr, *each) for each in record.image_ids.items()),
        *out,
        *files,
    )
    undo: tuple[tuple[Step, Run], ...] = (
        *((loading, step) for step in (out[0], *remove_all_leases(node, ctr), out[1])),
        (copy[0], discard(node, scratch.directory, tarball.file)),
        (copy[0], files[0]),
        (make[0] if make else copy[0], files[1]),
    )
    goal, notes = _goal(facts, option, record), (facts.reach.how, f"source: {option}")
    return Plan(goal, steps, undo=undo, notes=notes, warnings=warnings)


def result(
    facts: Facts,
    tried: Iterable[tuple[Candidate, BreakglassError | None]],
    checks: Iterable[readiness.Check],
) -> DrillResult:
    """`tried`: what each source offers, and what is wrong with it."""
    return DrillResult(
        facts.node.name,
        tuple(_source_result(candidate, error) for candidate, error in tried),
        tuple(
            CheckResult(check.name, check.error is None, check.warns, check.detail)
            for check in checks
        ),
    )


def _check_room(facts: Facts, tarball: Tarball) -> tuple[str, ...]:
    """Warnings. Raises Refused where the import would leave so little that kubelet begins to delete
    images. `copying` checks the room for the tarball itself.
    """
    if facts.disk is None:
        return (room.not_known(facts.node, facts.ctr.command),)
    return room.check(
        facts.node, facts.disk, tarball.size_bytes, with_tarball=True, command="drill"
    )


def _goal(facts: Facts, option: Option, record: Record) -> str:
    return (
        f"{option.tarball.file} of {option.shelf.host} is image ID {record.image_id} in containerd "
        f"on {facts.node}, and all of it is removed again"
    )


def _source_result(candidate: Candidate, error: BreakglassError | None) -> SourceResult:
    option, record = candidate.option, candidate.record
    return SourceResult(
        name=candidate.source,
        tag=option.tarball.tag if option else None,
        sha256=record.sha256 if record else None,
        image_id=record.image_id if record else None,
        via=option.via if option else None,
        ok=error is None,
        error=error.message if error else None,
        signature=option.tarball.signature.state if option else None,
        signed_by=(option.tarball.signature.by or None) if option else None,
    )
