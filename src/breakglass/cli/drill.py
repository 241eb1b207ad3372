"""`breakglass drill`: every source tried one after the other, every finding reported, the worst one
decides.
"""

from contextlib import suppress

from breakglass.cli.names import chosen
from breakglass.cli.run import Options, run_command
from breakglass.cli.session import Session
from breakglass.commands import drill, readiness
from breakglass.commands.drill_candidate import Candidate, candidate_of, renewal
from breakglass.commands.drill_facts import Facts, observe, observe_again, tidied
from breakglass.commands.drill_removal import leftover, state
from breakglass.commands.fitness import in_words, remedies_of
from breakglass.config import REGISTRY_VM
from breakglass.errors import RUN_AGAIN, BreakglassError, Busy, Integrity, Refused, joined, worst
from breakglass.plan import Confirm


def run_drill(options: Options, *, node: str | None, dry_run: bool) -> int:
    """Try today whether the recovery works."""
    return run_command("drill", lambda session: _work(session, node=node), options, dry_run=dry_run)


def _work(session: Session, *, node: str | None) -> drill.DrillResult:
    """A finding that fails ends nothing but its own part. Raises Busy, and what makes the node
    unusable as such.
    """
    environment, config = session.environment, session.config
    choice = chosen(session, node, command="drill")
    facts = observe(environment, choice.target, known=choice.sources)
    checks = readiness.checks(
        facts.readings,
        facts.reach.machine,
        nodes=config.nodes,
        login=facts.reach.logins.get(REGISTRY_VM),
    )
    unusable = readiness.unusable(facts.reach.machine, config.nodes)
    tried: list[tuple[Candidate, list[BreakglassError]]] = []
    for host, _ in environment.sources:
        candidate = candidate_of(
            facts, host.name, at=environment.identity.at, max_age_hours=config.status.max_age_hours
        )
        errors = [candidate.fault] if candidate.fault else []
        if unusable:
            errors = errors or [
                Refused(
                    f"not tried: {facts.node}: {in_words(unusable)}",
                    next_step=remedies_of(unusable),
                )
            ]
        elif candidate.is_tried:
            facts, error = _try(session, facts, candidate)
            errors += [error] if error else []
        tried.append((candidate, errors))
    return _report(session, facts, tried, checks)


def _try(
    session: Session, facts: Facts, candidate: Candidate
) -> tuple[Facts, BreakglassError | None]:
    """One source's tarball in and out again; the node as it is afterwards, and what went wrong."""
    option, outcome = candidate.option, session.outcome
    assert option is not None
    before = len(outcome.steps)
    try:
        reached = session.carry_out(drill.job(session.environment, facts, option)).facts
        # What it has changed it has changed back.
        outcome.changed = False
        return tidied(reached), None
    except Busy as error:
        raise error.replaced(state=Busy.state_by_default) from error.__cause__
    except BreakglassError as error:
        step = next((each.step for each in outcome.steps[before:] if each.status == "failed"), None)
        if isinstance(error, Integrity) and not isinstance(step, Confirm):
            error = error.replaced(next_step=renewal(option.shelf, option.tarball))
        session.screen.warn(f"{candidate.source}: {error.message}")
        with suppress(BreakglassError):
            facts = observe_again(session.environment, facts)
            outcome.changed = bool(leftover(facts).steps)
        return facts, error


def _report(
    session: Session,
    facts: Facts,
    tried: list[tuple[Candidate, list[BreakglassError]]],
    checks: tuple[readiness.Check, ...],
) -> drill.DrillResult:
    """A line for each finding, and what they come to."""
    screen, is_dry = session.screen, session.outcome.dry_run
    sources = [(candidate, _together(errors)) for candidate, errors in tried]
    for candidate, error in sources:
        for warning in candidate.warnings:
            screen.show(str(readiness.Check(candidate.source, warning, warns=True)))
        sentence = error.message if error else _success(candidate, is_dry=is_dry)
        screen.show(str(readiness.Check(candidate.source, sentence, error)))
    for check in checks:
        screen.show(str(check))
    findings = [
        *((candidate.source, error) for candidate, error in sources),
        *((check.name, check.error) for check in checks),
    ]
    faults = [(name, error) for name, error in findings if error]
    if faults:
        session.outcome.error = _failure(facts, faults, len(findings))
    elif is_dry:
        screen.show("Nothing was tried yet: the same command without --dry-run.")
    else:
        good = " and from ".join(candidate.source for candidate, _ in sources)
        screen.show(f"Recovery works today: from {good} into containerd on {facts.node}.")
    return drill.result(facts, sources, checks)


def _success(candidate: Candidate, *, is_dry: bool) -> str:
    option, record = candidate.option, candidate.record
    tarball = f"{option.tarball.file}, via {option.via}" if option else ""
    if is_dry:
        return f"{tarball}, is to be tried"
    image = f"is image ID {record.image_id[:19]}, as recorded" if record else ""
    signed = f", {option.tarball.signature.words}" if option else ""
    return f"{tarball}, {image}{signed}"


def _failure(
    facts: Facts, faults: list[tuple[str, BreakglassError]], count: int
) -> BreakglassError:
    kind = type(worst([error for _, error in faults]))
    listed = "; ".join(f"{name}: {error.unnamed(name)}" for name, error in faults)
    next_steps = [error.next_step for _, error in faults]
    return kind(
        f"{len(faults)} of {count} findings say that recovery does not work as it should: {listed}",
        state=state(facts),
        next_step=joined([*next_steps, RUN_AGAIN]),
    )


def _together(errors: list[BreakglassError]) -> BreakglassError | None:
    """Several faults of one source as one: the worst, with the words of all."""
    if len(errors) < 2:
        return errors[0] if errors else None
    kind = type(worst(errors))
    return kind(
        "; ".join(error.message for error in errors),
        next_step=joined([error.next_step for error in errors]),
    )
