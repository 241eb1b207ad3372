"""`breakglass snapshot`: the image into a verified tarball on the registry VM."""

import os
from collections.abc import Mapping
from dataclasses import replace

from breakglass.cli.run import Options, run_command
from breakglass.cli.session import Session
from breakglass.commands import snapshot
from breakglass.commands.job import Done
from breakglass.commands.snapshot_companions import missing_after
from breakglass.commands.snapshot_facts import Facts, Missing
from breakglass.config import check_snapshot_tag, check_tarball_name
from breakglass.errors import BreakglassError, Usage, then
from breakglass.plan import Step
from breakglass.ports import Result


def run_snapshot(
    options: Options, *, tag: str | None, via: str, tolerate_failure: bool, dry_run: bool
) -> int:
    """Take a snapshot of the image under a tag."""
    return run_command(
        "snapshot",
        lambda session: _work(session, tag=tag, via=via, environ=os.environ),
        options,
        dry_run=dry_run,
        tolerate_failure=tolerate_failure,
    )


def _work(
    session: Session, *, tag: str | None, via: str, environ: Mapping[str, str]
) -> snapshot.SnapshotResult:
    commit = environ.get("CI_COMMIT_SHA", "")
    wanted = tag if tag is not None else commit[:8]
    if not wanted:
        raise Usage(
            "no tag: neither --tag nor CI_COMMIT_SHA is there",
            next_step=then(
                "breakglass snapshot --help", advice="give the tag of a build with --tag TAG"
            ),
        )
    check_snapshot_tag(wanted)
    check_tarball_name(session.environment.config.image.tarball(wanted))
    done = _carry_out(session, wanted, via=via)
    return snapshot.result(done.facts, done.plan, before=done.before)


def _carry_out(session: Session, tag: str, *, via: str) -> Done[Facts]:
    """Takes the snapshot. Where the VM cannot read from the registry it begins again with docker;
    where a companion cannot be had, without that one: it does not cost the image.
    """
    missing: tuple[Missing, ...] = ()
    while True:
        job = snapshot.job(session.environment, tag=tag, via=via, missing=missing)
        lost: list[Missing] = []

        def explain(facts: Facts, step: Step, ended: Result) -> BreakglassError | None:
            found = missing_after(facts, step, ended)
            lost.extend([found] if found else [])  # noqa: B023
            return job.explain(facts, step, ended) if job.explain else None  # noqa: B023

        try:
            return session.carry_out(replace(job, explain=explain))
        except BreakglassError:
            if not lost:
                raise
        missing = (*missing, *lost)
