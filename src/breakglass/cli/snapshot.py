"""`breakglass snapshot`: the image into a verified tarball on the registry VM."""

import os
from collections.abc import Mapping

from breakglass.cli.run import Options, run_command
from breakglass.cli.session import Session
from breakglass.commands import snapshot
from breakglass.config import check_snapshot_tag, check_tarball_name
from breakglass.errors import Usage


def run_snapshot(
    options: Options, *, tag: str | None, tolerate_failure: bool, dry_run: bool
) -> int:
    """Take a snapshot of the image under a tag."""
    return run_command(
        "snapshot",
        lambda session: _work(session, tag=tag, environ=os.environ),
        options,
        dry_run=dry_run,
        tolerate_failure=tolerate_failure,
    )


def _work(
    session: Session, *, tag: str | None, environ: Mapping[str, str]
) -> snapshot.SnapshotResult:
    commit = environ.get("CI_COMMIT_SHA", "")
    wanted = tag if tag is not None else commit[:8]
    if not wanted:
        raise Usage(
            "no tag: neither --tag nor CI_COMMIT_SHA is there",
            next_step="breakglass snapshot --tag TAG",
        )
    check_snapshot_tag(wanted)
    check_tarball_name(session.environment.config.image.tarball(wanted))
    done = session.carry_out(snapshot.job(session.environment, tag=wanted))
    return snapshot.result(done.facts, done.plan, before=done.before)
