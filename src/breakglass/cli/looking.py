"""The commands that only look, from their arguments to their result."""

from typing import Any

from breakglass.cli.session import Session
from breakglass.commands import status, status_page


def run_status(session: Session, *, last_run: str = "") -> dict[str, Any]:
    """`last_run`: a line about the last run on this machine."""
    facts = status.observe(session.estate)
    for line in status_page.lines(facts, last_run=last_run):
        session.screen.say(line)
    return {**status.result(facts), "next": status_page.next_step(facts)}
