"""`breakglass pin`: cordon every other node."""

from breakglass.cli.names import chosen
from breakglass.cli.run import Options, run_command
from breakglass.cli.session import Session
from breakglass.commands import pin, pin_facts
from breakglass.commands.job import Done
from breakglass.commands.target import Target
from breakglass.errors import then
from breakglass.observe.cluster import Node


def run_pin(
    options: Options, *, node: str | None, reason: str, yes: bool, anyway: bool, dry_run: bool
) -> int:
    """Cordon every node but one."""

    def work(session: Session) -> pin.PinResult:
        session.go_on_anyway(anyway)
        return _work(session, node=node, reason=reason, yes=yes)

    return run_command("pin", work, options, dry_run=dry_run)


def _work(session: Session, *, node: str | None, reason: str, yes: bool) -> pin.PinResult:
    target = chosen(session, node, command="pin").target
    done = pin_to(session, target, reason=reason, yes=yes, nodes=target.nodes)
    if not session.outcome.dry_run:
        session.say_next(
            then("breakglass restore", advice="run the pipeline; then undo everything")
        )
    return pin.result(done.facts, done.plan)


def pin_to(
    session: Session,
    target: Target,
    *,
    reason: str,
    yes: bool,
    nodes: tuple[Node, ...] | None = None,
) -> Done[pin_facts.Facts]:
    """`nodes`: the cluster, where it was read already."""
    done = session.carry_out(
        pin.job(session.environment, target, reason=reason, nodes=nodes), yes=yes
    )
    if not session.outcome.dry_run:
        for joined in done.facts.newcomers:
            session.screen.warn(
                f"{joined} joined while this was at work, and is not cordoned: breakglass "
                f"pin {target.host} cordons it"
            )
    return done
