"""`breakglass drill`: every source tried one after the other, every finding told, the worst one
decides.
"""

from contextlib import suppress

from breakglass.cli.names import chosen
from breakglass.cli.run import Options, run_command
from breakglass.cli.session import Session
from breakglass.commands import drill, readiness
from breakglass.config import REGISTRY_VM
from breakglass.errors import BreakglassError, Busy, Integrity, Refused, worst
from breakglass.plan import Confirm


def run_drill(options: Options, *, node: str | None, dry_run: bool) -> int:
    """Try today whether the recovery works."""
    return run_command("drill", lambda session: _work(session, node=node), options, dry_run=dry_run)


def _work(session: Session, *, node: str | None) -> drill.DrillResult:
    """A finding that fails ends nothing but its own part. Raises Busy, and what makes the node
    unusable as such.
    """
    estate, config = session.estate, session.config
    choice = chosen(session, node, command="drill")
    facts = drill.observe(estate, choice.target, known=choice.sources)
    checks = readiness.checks(
        facts.readings,
        facts.reach.machine,
        nodes=config.nodes,
        login=facts.reach.ways.get(REGISTRY_VM),
    )
    lacks = readiness.missing(facts.reach.machine, config.nodes)
    tried: list[tuple[drill.Candidate, list[BreakglassError]]] = []
    for host, _ in estate.sources:
        found = drill.candidate(
            facts, host.name, at=estate.identity.at, max_age_hours=config.status.max_age_hours
        )
        errors = [found.fault] if found.fault else []
        if lacks:
            errors = errors or [
                Refused(
                    f"not tried: {facts.node} has no {', '.join(lacks)}",
                    next_step=f"install it on {facts.node}",
                )
            ]
        elif drill.is_tried(found):
            facts, error = _try(session, facts, found)
            errors += [error] if error else []
        tried.append((found, errors))
    return _tell(session, facts, tried, checks)


def _try(
    session: Session, facts: drill.Facts, found: drill.Candidate
) -> tuple[drill.Facts, BreakglassError | None]:
    """One source's tarball in and out again; the node as it is afterwards, and what went wrong."""
    option, outcome = found.option, session.outcome
    assert option is not None
    before = len(outcome.steps)
    try:
        reached = session.carry_out(drill.job(session.estate, facts, option)).facts
        # What it has changed it has changed back.
        outcome.changed = False
        return drill.tidied(reached), None
    except Busy as error:
        raise error.replaced(state=Busy.state_by_default) from error.__cause__
    except BreakglassError as error:
        step = next((told.step for told in outcome.steps[before:] if told.status == "failed"), None)
        if isinstance(error, Integrity) and not isinstance(step, Confirm):
            error = error.replaced(next_step=drill.bad_copy(option))
        session.screen.warn(f"{found.source}: {error.message}")
        with suppress(BreakglassError):
            facts = drill.observe_again(session.estate, facts)
            outcome.changed = bool(drill.leftover(facts).steps)
        return facts, error


def _tell(
    session: Session,
    facts: drill.Facts,
    tried: list[tuple[drill.Candidate, list[BreakglassError]]],
    checks: tuple[readiness.Check, ...],
) -> drill.DrillResult:
    """A line for each finding, and what they come to."""
    screen, is_dry = session.screen, session.outcome.dry_run
    told: list[tuple[drill.Candidate, BreakglassError | None]] = []
    for found, errors in tried:
        decisive = _together(errors)
        told.append((found, decisive))
        what = f"{found.option.tarball.file}, via {found.option.way}" if found.option else ""
        good = f"{what}, " + (
            "is to be tried"
            if is_dry
            else f"is image ID {found.record.image_id[:19]}, as recorded"
            if found.record
            else ""
        )
        for warning in found.warnings:
            screen.tell(str(readiness.Check(found.source, warning, warns=True)))
        screen.tell(
            str(readiness.Check(found.source, decisive.message if decisive else good, decisive))
        )
    for check in checks:
        screen.tell(str(check))
    wrong = [
        (name, error)
        for name, error in [
            *((found.source, error) for found, error in told),
            *((check.name, check.error) for check in checks),
        ]
        if error
    ]
    good_sources = [found.source for found, error in told if error is None]
    if not wrong:
        sentence = (
            "Nothing was tried yet: the same command without --dry-run"
            if is_dry
            else (
                f"The way back works today: from {' and from '.join(good_sources)} into "
                f"containerd on {facts.node}"
            )
        )
        screen.tell(f"{sentence}.")
    else:
        kind = type(worst([error for _, error in wrong]))
        message = (
            f"{len(wrong)} of {len(told) + len(checks)} findings say that the way back does "
            f"not work as it should: "
        ) + "; ".join(f"{name}: {error.unnamed(name)}" for name, error in wrong)
        following = "; ".join(
            dict.fromkeys(
                [
                    *(error.next_step.rstrip(".") for _, error in wrong if error.next_step),
                    f"then: breakglass drill {facts.node}",
                ]
            )
        )
        session.outcome.error = kind(message, state=drill.state(facts), next_step=following)
    return drill.result(facts, told, checks)


def _together(errors: list[BreakglassError]) -> BreakglassError | None:
    """Several faults of one source as one: the worst, with the words of all."""
    if len(errors) < 2:
        return errors[0] if errors else None
    kind = type(worst(errors))
    return kind(
        "; ".join(error.message for error in errors),
        next_step="; ".join(dict.fromkeys(error.next_step for error in errors)),
    )
