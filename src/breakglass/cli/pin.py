"""`breakglass pin`: cordon every other node."""

from typing import Any

from breakglass.cli.names import chosen
from breakglass.cli.run import Options, carry
from breakglass.cli.session import Session
from breakglass.commands import pin
from breakglass.plan import Plan


def run_pin(options: Options, *, node: str | None, reason: str, yes: bool, dry_run: bool) -> int:
    """Cordon every node but one."""
    return carry(
        "pin",
        lambda session: _work(session, node=node, reason=reason, yes=yes),
        options,
        dry_run=dry_run,
    )


def _work(session: Session, *, node: str | None, reason: str, yes: bool) -> dict[str, Any]:
    name = chosen(session, node, command="pin").node
    after, done = pin_to(session, name, reason=reason, yes=yes)
    if not session.outcome.dry_run:
        session.screen.say("Next: run the pipeline; then give everything back: breakglass restore")
    return pin.result(after, done)


def pin_to(session: Session, node: str, *, reason: str, yes: bool) -> tuple[pin.Facts, Plan]:
    facts = pin.observe(session.estate, node=node)
    after, done = session.carry_out(
        facts,
        again=lambda: pin.observe_again(session.estate, facts),
        after=lambda: pin.without_newcomers(pin.observe_again(session.estate, facts), facts),
        decide=lambda known: pin.plan(known, identity=session.estate.identity, reason=reason),
        state=pin.state,
        question=f"Cordon these nodes, so that pods are scheduled on {node} only?",
        yes=yes,
    )
    if not session.outcome.dry_run:
        for joined in after.newcomers:
            session.screen.warn(
                f"{joined} joined while this was at work, and is not cordoned: breakglass "
                f"pin {node} cordons it"
            )
    return after, done
