"""The commands that only look, from their arguments to their result."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from breakglass.cli import journal
from breakglass.cli.session import Session
from breakglass.commands import Unread, status, status_page
from breakglass.errors import BreakglassError
from breakglass.known_hosts import Refusal


def run_status(session: Session) -> dict[str, Any]:
    """With the last run that changed something from this machine, as its journal has it."""
    facts = status.observe(session.estate)
    last = journal.last_run(journal.place(os.environ, Path.home()))
    errors = [
        source.found.error for source in facts.sources if isinstance(source.found, Unread)
    ] + [unread.error for seen in facts.nodes for unread in seen.unread]
    # First, so that the page is whole at the end of a screen.
    tell_host_keys(session, errors)
    for line in status_page.lines(
        facts, last_run=f"Last run here: {journal.describe(last, now=facts.now)}" if last else ""
    ):
        session.screen.say(line)
    return {**status.result(facts), "next": status_page.next_step(facts), "last_run": last}


def tell_host_keys(session: Session, errors: Iterable[BreakglassError]) -> None:
    """What goes past a host all the same says how it is let in: nothing but a person adds a host
    key.
    """
    for next_step in dict.fromkeys(
        error.next_step for error in errors if isinstance(error, Refusal)
    ):
        session.screen.say(next_step)
