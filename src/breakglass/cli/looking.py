"""The commands that only look, from their arguments to their result."""

import os
from pathlib import Path
from typing import Any

from breakglass.cli import journal
from breakglass.cli.session import Session
from breakglass.commands import status, status_page


def run_status(session: Session) -> dict[str, Any]:
    """With the last run that changed something from this machine, as its journal has it."""
    facts = status.observe(session.estate)
    last = journal.last_run(journal.place(os.environ, Path.home()))
    for line in status_page.lines(facts, last_run=f"Last run here: {journal.describe(last)}" if last else ""):
        session.screen.say(line)
    return {**status.result(facts), "next": status_page.next_step(facts), "last_run": last}
