"""`breakglass restore`: undo what pin and import changed."""

from breakglass.cli.run import Options, run_command
from breakglass.cli.session import Session
from breakglass.commands import restore, restore_facts, restore_leftovers
from breakglass.commands.job import Done
from breakglass.config import check_node_name
from breakglass.errors import BreakglassError


def run_restore(
    options: Options, *, nodes: tuple[str, ...], yes: bool, anyway: bool, dry_run: bool
) -> int:
    """Undo what pin and import changed, on all nodes or on those that are named."""

    def work(session: Session) -> restore.RestoreResult:
        session.go_on_anyway(anyway)
        return _work(session, nodes=nodes, yes=yes)

    return run_command("restore", work, options, dry_run=dry_run)


def _work(session: Session, *, nodes: tuple[str, ...], yes: bool) -> restore.RestoreResult:
    for node in nodes:
        check_node_name(node)
    done, left = restore_nodes(session, names=nodes, yes=yes)
    session.outcome.error = left
    return restore.result(done.facts, done.plan)


def restore_nodes(
    session: Session,
    *,
    names: tuple[str, ...] = (),
    own: restore_facts.Own | None = None,
    yes: bool,
) -> tuple[Done[restore_facts.Facts], BreakglassError | None]:
    """Restore, with what could not be restored, though all that was planned was done."""
    done = session.carry_out(restore.job(session.environment, names=names, own=own), yes=yes)
    if session.outcome.dry_run:
        return done, None
    left = restore_leftovers.left_over(
        done.facts, done.plan, names=names, nodes=session.config.nodes
    )
    return done, left
