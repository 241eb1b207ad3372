"""`breakglass fetch`: the tarball from a source to the node."""

from collections.abc import Iterator
from contextlib import contextmanager

from breakglass.cli.names import checked_tag, chosen, keeping
from breakglass.cli.outcome import StepOutcome
from breakglass.cli.run import Options, run_command
from breakglass.cli.session import Session
from breakglass.commands import fetch, fetch_facts
from breakglass.commands.adoption import instead_of_fetch
from breakglass.commands.fetch_copy import is_transfer, resumes
from breakglass.commands.fetch_options import Failures, Key, Option
from breakglass.commands.target import Target
from breakglass.config import check_source
from breakglass.errors import RUN_AGAIN, BreakglassError, Failed, Unreachable, then, with_tag, worst
from breakglass.plan import Step


def run_fetch(
    options: Options, *, node: str | None, tag: str, source: str | None, via: str, dry_run: bool
) -> int:
    """Bring the tarball to the node."""

    def work(session: Session) -> fetch.FetchResult:
        wanted = checked_tag(tag)
        with keeping(wanted):
            return _work(session, node=node, wanted=wanted, source=source, via=via)

    return run_command("fetch", work, options, dry_run=dry_run)


def _work(
    session: Session, *, node: str | None, wanted: str | None, source: str | None, via: str
) -> fetch.FetchResult:
    if source is not None:
        check_source(source)
    choice = chosen(session, node, command="fetch")
    target = choice.target
    known = fetch_facts.observe(
        session.environment,
        target=target,
        source=source,
        via=via,
        known=choice.sources,
        machine=choice.machine,
    )
    with naming_whole_images(session, known, tag=wanted):
        after, option = fetch_to(session, target, tag=wanted, source=source, via=via, known=known)
    if not session.outcome.dry_run:
        session.say_next(then(with_tag(f"breakglass import {after.node}", wanted)))
    return fetch.result(after, option, tag=wanted)


@contextmanager
def naming_whole_images(
    session: Session, facts: fetch_facts.Facts, *, tag: str | None
) -> Iterator[None]:
    """Where a fetch fails, the error names the nodes where nothing has to be fetched."""
    try:
        yield
    except BreakglassError as error:
        raise instead_of_fetch(
            session.environment, facts, tag=tag, error=error, command="import"
        ) from error.__cause__


def fetch_to(
    session: Session,
    target: Target,
    *,
    tag: str | None,
    source: str | None = None,
    via: str = "auto",
    known: fetch_facts.Facts | None = None,
) -> tuple[fetch_facts.Facts, Option]:
    """Transfer the tarball. If an attempt fails, read and plan anew, without the source or the
    route that failed. `known`: facts that were read already.
    """
    failed: Failures = {}
    from_start: set[Key] = set()
    tried: list[str] = []
    while True:
        with _giving_up_after(tried, target, failed):
            facts = known or fetch_facts.observe(
                session.environment, target=target, source=source, via=via
            )
        known = None
        facts, option, others = fetch.choose_source(
            session.environment, facts, tag=tag, via=via, failed=failed
        )
        before = len(session.outcome.steps)
        try:
            job = fetch.job(session.environment, facts, option, tag=tag, others=others)
            return session.carry_out(job).facts, option
        except BreakglassError as error:
            step = _failed_step(session.outcome.steps[before:])
            if step is None or not is_transfer(step):
                raise
            tried.append(f"{option}: {error.message}")
            if resumes(step) and option.key not in from_start:
                from_start.add(option.key)
                warning = f"{error.message}; trying the same once more"
            else:
                failed[option.key] = error
                warning = tried[-1] + ("; trying the next way" if others else "")
            session.screen.warn(warning)


def _failed_step(steps: list[StepOutcome]) -> Step | None:
    return next((reported.step for reported in steps if reported.status == "failed"), None)


@contextmanager
def _giving_up_after(tried: list[str], target: Target, failed: Failures) -> Iterator[None]:
    """Where transfers have failed, and now a source or the node is not reached any more, the error
    has all of it.
    """
    try:
        yield
    except Unreachable as error:
        if not tried:
            raise
        kind = type(worst([Failed(""), *failed.values()]))
        raise kind(
            "; then ".join([*tried, error.message]),
            state=f"{target.host} may hold a hidden partial; no tarball was touched.",
            next_step=RUN_AGAIN,
        ) from error
