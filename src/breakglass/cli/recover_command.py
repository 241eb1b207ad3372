"""The second half of recover: import, pin, COMMAND; and after COMMAND everything is undone."""

import os
import sys
import time
from contextlib import suppress

from breakglass.cli import companion
from breakglass.cli.checklist import Checklist
from breakglass.cli.import_image import import_into
from breakglass.cli.outcome import progress_of
from breakglass.cli.pin import pin_to
from breakglass.cli.preload import preload
from breakglass.cli.restore import restore_nodes
from breakglass.cli.session import Session
from breakglass.cli.signals import Signalled, disturbed, noted, undisturbed
from breakglass.commands import recover, recover_own, restore, restore_facts
from breakglass.errors import (
    BreakglassError,
    Failed,
    Integrity,
    Next,
    Unreachable,
    then,
    worst,
)
from breakglass.observe.cluster import Node
from breakglass.plan import PatchNode

SETTLE_SECONDS = 12.0
"""Longer than a patch may take."""
GIVE_BACK_SECONDS, AGAIN_SECONDS = 60.0, 3.0


def import_and_pin(
    session: Session, checklist: Checklist, facts: recover.Facts, *, tag: str | None
) -> tuple[Node, ...]:
    """The nodes as the pin has left them."""
    with checklist.doing("import"):
        import_into(session, facts.target, tag=tag, searched=facts.option is None)
    with checklist.doing("pin"):
        done = pin_to(session, facts.target, reason=recover.REASON, yes=True)
    return done.facts.nodes


def run_and_restore(
    session: Session,
    checklist: Checklist,
    facts: recover.Facts,
    *,
    tag: str | None,
    command: tuple[str, ...],
) -> None:
    """Whatever fails, and whatever signal comes: everything is restored first, and the failure is
    reported after that.
    """
    preload()
    failure: BaseException | None = None
    own = recover.own_of(facts, session.environment.identity)
    with undisturbed():
        try:
            with disturbed():
                nodes = import_and_pin(session, checklist, facts, tag=tag)
                own = recover_own.with_cordoned(own, nodes)
                with checklist.doing("command"):
                    recover_own.check_alone(nodes, own)
                    _run(session, checklist, command)
                    _check_still_pinned(session, own, nodes)
        except BaseException as error:  # a bug too: it is reported when all is restored
            failure = error
        with checklist.doing("restore"):
            after = _restore(session, own, failure)
    if failure is None and (number := noted()) is not None:
        failure = Signalled(number)
    if isinstance(failure, BreakglassError):
        before = failure.state.removeprefix(type(failure).state_by_default)
        failure = failure.replaced(state=f"{before} Everything was restored. {after}".strip())
    elif failure is not None:
        failure.add_note(f"Everything was restored. {after}")
    if failure is not None:
        raise failure
    session.outcome.exit_code = checklist.command_status or 0


def _restore(session: Session, own: restore_facts.Own, failure: BaseException | None) -> str:
    """The state afterwards. Raises where something is left, chained to the failure before it."""
    if noted() is not None:
        session.screen.warn(
            "everything is being restored; a further signal, two seconds from now or later, "
            "ends that at once"
        )
    _let_patches_settle(session)
    after, left = _restore_own(session, own)
    if left is not None:
        if isinstance(failure, Exception) and not isinstance(failure, BreakglassError):
            session.screen.bug(failure)
        raise _not_restored(left, failure, after) from failure
    return after


def _run(session: Session, checklist: Checklist, command: tuple[str, ...]) -> None:
    ended = companion.run(
        command, environ=os.environ, stdout=sys.stderr.fileno() if session.screen.json else None
    )
    checklist.command_status = ended.status
    if ended.asked is not None:
        raise Signalled(ended.asked)
    session.screen.say(f"    the command ended with {ended.status}")


def _check_still_pinned(session: Session, own: restore_facts.Own, before: tuple[Node, ...]) -> None:
    """What the command ran under is read once more: a pin that somebody removed meanwhile held
    nothing to this node.
    """
    with suppress(Unreachable):  # then _restore_own reports it
        for name in recover_own.check_still_pinned(before, session.environment.nodes(), own):
            session.screen.warn(
                f"{name} takes pods now: it joined, or somebody uncordoned it, while the "
                f"command ran; what that started may have run there"
            )


def _let_patches_settle(session: Session) -> None:
    """A patch that nobody waits for any more may still be on its way: what is read before it
    arrives is not how it ends.
    """
    if any(
        isinstance(each.step, PatchNode) and each.begun and each.status != "done"
        for each in session.outcome.steps
    ):
        session.screen.say(
            f"    waiting {SETTLE_SECONDS:.0f} s for patches that may still be on their way"
        )
        time.sleep(SETTLE_SECONDS)


def _restore_own(session: Session, own: restore_facts.Own) -> tuple[str, BreakglassError | None]:
    """The state afterwards, and what could not be restored. What is busy or not reached is tried
    again for a minute.
    """
    ends_at = time.monotonic() + GIVE_BACK_SECONDS
    while True:
        try:
            done, left = restore_nodes(session, own=own, yes=True)
            state = restore.state(done.facts)
            may_help = left is not None and bool(done.facts.unread or done.facts.api)
        except BreakglassError as error:
            left, may_help = error, not isinstance(error, Integrity)
            state = _state_now(session, own)
        except (
            Exception
        ) as bug:  # then all the more it has to be said that something is still taken
            session.screen.bug(bug)
            left, may_help = (
                Failed(
                    f"a bug in breakglass ({type(bug).__name__}) while restoring",
                    next_step=then("breakglass restore"),
                ),
                False,
            )
            state = _state_now(session, own)
        if not may_help or time.monotonic() > ends_at:
            return state, left
        session.screen.warn(
            f"not everything could be restored yet: {left.message if left else ''}; trying "
            f"again for up to a minute"
        )
        time.sleep(AGAIN_SECONDS)


def _state_now(session: Session, own: restore_facts.Own) -> str:
    """The state, read now. Something was changed, so it is never assumed."""
    try:
        return restore.state(restore_facts.observe(session.environment, names=(), own=own))
    except Exception as error:  # a bug as well: it is reported where things are restored
        return f"{progress_of(session.outcome)} The state could not be read: {error}."


def _restore_first(step: Next) -> Next:
    """What helps `restore`; and not this command again, which would pin once more."""
    commands = (*step.without_again.commands, "breakglass restore")
    return then(*dict.fromkeys(commands), advice=step.advice)


def _not_restored(
    left: BreakglassError, failure: BaseException | None, state: str
) -> BreakglassError:
    """Both causes; that something is left on the environment decides."""
    message = f"not everything was restored: {left.message}"
    kind: type[BreakglassError] = Failed
    if isinstance(failure, BreakglassError):
        message, kind = (
            f"{failure.message}; then {message}",
            type(worst([Failed(""), left, failure])),
        )
    elif failure is not None:
        is_signal = isinstance(failure, KeyboardInterrupt)
        first = "a signal came" if is_signal else f"a bug in breakglass ({type(failure).__name__})"
        message = f"{first}; then {message}"
    return kind(
        message,
        state=state,
        next_step=_restore_first(left.next_step),
    )
