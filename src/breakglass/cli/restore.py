"""`breakglass restore`: undo what pin and import changed."""

from typing import Any

from breakglass.cli.run import Options, carry
from breakglass.cli.session import Session
from breakglass.commands import restore
from breakglass.config import check_node_name
from breakglass.errors import BreakglassError
from breakglass.plan import Plan


def run_restore(options: Options, *, nodes: tuple[str, ...], yes: bool, dry_run: bool) -> int:
    """Undo what pin and import changed, on all nodes or on those that are named."""
    return carry(
        "restore",
        lambda session: _work(session, nodes=nodes, yes=yes),
        options,
        dry_run=dry_run,
    )


def _work(session: Session, *, nodes: tuple[str, ...], yes: bool) -> dict[str, Any]:
    for node in nodes:
        check_node_name(node)
    after, done, left = give_back(session, names=nodes, yes=yes)
    session.outcome.error = left
    return restore.result(after, done)


def give_back(
    session: Session, *, names: tuple[str, ...] = (), own: restore.Own | None = None, yes: bool
) -> tuple[restore.Facts, Plan, BreakglassError | None]:
    """With what could not be given back, though all that was planned was done."""
    config, identity = session.config, session.estate.identity
    facts = restore.observe(session.estate, names=names, own=own)
    after, done = session.carry_out(
        facts,
        again=lambda: restore.observe_again(session.estate, facts),
        decide=lambda known: restore.plan(
            known, names=names, nodes=config.nodes, identity=identity
        ),
        state=restore.state,
        question="Give this back?",
        yes=yes,
    )
    return (
        after,
        done,
        None
        if session.outcome.dry_run
        else restore.left_over(after, done, names=names, nodes=config.nodes),
    )
