"""`breakglass fetch`: the tarball from a source to the node."""

from breakglass.cli.names import checked_tag, chosen
from breakglass.cli.run import Options, run_command
from breakglass.cli.session import Session
from breakglass.commands import Target, fetch
from breakglass.config import check_source
from breakglass.errors import BreakglassError, Failed, Unreachable, worst


def run_fetch(
    options: Options, *, node: str | None, tag: str, source: str | None, via: str, dry_run: bool
) -> int:
    """Bring the tarball to the node."""
    return run_command(
        "fetch",
        lambda session: _work(session, node=node, tag=tag, source=source, via=via),
        options,
        dry_run=dry_run,
    )


def _work(
    session: Session, *, node: str | None, tag: str, source: str | None, via: str
) -> fetch.FetchResult:
    wanted = checked_tag(tag)
    if source is not None:
        check_source(source)
    choice = chosen(session, node, command="fetch")
    target = choice.target
    known = fetch.observe(
        session.estate, target=target, source=source, via=via, known=choice.sources
    )
    after, option = fetch_to(session, target, tag=wanted, source=source, via=via, known=known)
    if not session.outcome.dry_run:
        session.screen.say(f"Next: breakglass import {after.node}")
    return fetch.result(after, option, tag=wanted)


def fetch_to(
    session: Session,
    target: Target,
    *,
    tag: str | None,
    source: str | None = None,
    via: str = "auto",
    known: fetch.Facts | None = None,
) -> tuple[fetch.Facts, fetch.Option]:
    """Transfer the tarball. If an attempt fails, read and plan anew, without the source or the
    route that failed. `known`: facts that were read already.
    """
    failed: fetch.Failures = {}
    from_start: set[tuple[str, str, str]] = set()
    tried: list[str] = []
    while True:
        try:
            facts = known or fetch.observe(session.estate, target=target, source=source, via=via)
        except Unreachable as error:
            if not tried:
                raise
            kind = type(worst([Failed(""), *failed.values()]))
            state = f"{target.host} may hold a hidden partial; no tarball was touched."
            raise kind(
                "; then ".join([*tried, error.message]),
                state=state,
                next_step="run the same command again: it goes on where this one stopped",
            ) from error
        known = None
        option, others = fetch.choose_way(facts, tag=tag, via=via, failed=failed)
        before = len(session.outcome.steps)
        try:
            job = fetch.job(session.estate, facts, option, tag=tag, others=others)
            return session.carry_out(job).facts, option
        except BreakglassError as error:
            step = next(
                (each.step for each in session.outcome.steps[before:] if each.status == "failed"),
                None,
            )
            if step is None or not fetch.is_transfer(step):
                raise
            tried.append(f"{option}: {error.message}")
            if fetch.resumes(step) and option.key not in from_start:
                from_start.add(option.key)
                session.screen.warn(f"{error.message}; trying the same once more")
            else:
                failed[option.key] = error
                session.screen.warn(
                    f"{option}: {error.message}{'; trying the next way' if others else ''}"
                )
