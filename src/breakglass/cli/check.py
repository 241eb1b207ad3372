"""`breakglass check`: is this the right runbook?"""

from breakglass.cli.run import Options, run_command
from breakglass.cli.session import Session
from breakglass.commands import check
from breakglass.commands.check_advice import CHECK
from breakglass.commands.check_verdict import judge
from breakglass.config import check_tag
from breakglass.errors import Unreachable


def run_check(options: Options, *, tag: str | None, expect_served: bool) -> int:
    """Ask the registries, and report whether the runbook is needed."""
    return run_command(
        "check",
        lambda session: _work(session, tag=tag, expect_served=expect_served),
        options,
    )


def _work(session: Session, *, tag: str | None, expect_served: bool) -> check.CheckResult:
    facts = check.observe(session.environment, tag=check_tag(tag or "latest"))
    session.say_host_keys(unread.error for unread in facts.unread)
    for line in check.lines(facts):
        session.screen.show(line)
    again = [CHECK, *(("--tag", tag) if tag else ()), *(("--expect-served",) * expect_served)]
    verdict = judge(
        facts.registries,
        check.elsewhere(facts),
        tag=facts.tag,
        expect_served=expect_served,
        again=" ".join(again),
    )
    session.outcome.exit_code = verdict.exit_code
    if verdict.exit_code == Unreachable.exit_code:
        session.outcome.error = Unreachable(verdict.sentence, next_step=verdict.next_step)
    else:
        session.say_next(verdict.next_step)
        session.screen.show(f"Exit code {verdict.exit_code}: {verdict.sentence}")
    return check.result(facts, verdict)
