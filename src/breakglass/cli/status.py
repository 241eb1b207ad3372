"""`breakglass status`: what is there, and what to type next."""

import os
from pathlib import Path

from breakglass.cli.journal_file import place
from breakglass.cli.past_runs import describe, last_run
from breakglass.cli.run import Options, run_command
from breakglass.cli.session import Session
from breakglass.commands import status, status_next, status_page
from breakglass.commands.environment import Unread
from breakglass.commands.status_result import StatusResult, result


def run_status(options: Options) -> int:
    """Report the state of everything that was reached."""
    return run_command("status", _work, options)


def _work(session: Session) -> StatusResult:
    """With the last run that changed something from this machine, as its journal has it."""
    facts = status.observe(session.environment)
    last = last_run(place(os.environ, Path.home()))
    errors = [
        source.found.error for source in facts.sources if isinstance(source.found, Unread)
    ] + [unread.error for seen in facts.nodes for unread in seen.unread]
    # First, so that the page is whole at the end of a screen.
    session.say_host_keys(errors)
    for line in status_page.lines(
        facts, last_run=f"Last run here: {describe(last, now=facts.now)}" if last else ""
    ):
        session.screen.say(line)
    step = session.say_next(status_next.next_step(facts))
    return result(facts, next_step=step, last_run=last)
