"""`recover`: the runbook from one end to the other, as a checklist."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from breakglass.cli import companion
from breakglass.cli.main import Signalled, disturbed, noted, undisturbed
from breakglass.cli.outcome import StepTold
from breakglass.cli.screen import Screen
from breakglass.cli.session import Session
from breakglass.cli.verbs import fetch_to, give_back, import_into, pin_to
from breakglass.commands import fetch, import_image, pin, recover, restore
from breakglass.commands.choose import Choice
from breakglass.config import check_node_name
from breakglass.deadline import together
from breakglass.errors import (
    BreakglassError,
    Busy,
    Failed,
    Integrity,
    Refused,
    Unreachable,
    Usage,
    worst,
)
from breakglass.observe.cluster import Node
from breakglass.plan import PatchNode, Step
from breakglass.registry import Found
from breakglass.text import inert

Result = dict[str, Any]

SETTLE_SECONDS = 12.0
"""Longer than a patch may take."""
GIVE_BACK_SECONDS, AGAIN_SECONDS = 60.0, 3.0


@dataclass
class Item:
    """One line of the checklist. `status`: to do, done, not done, signal, or the kind of the error
    that ended it.
    """

    name: str
    status: str = "to do"
    seconds: float | None = None


class Checklist:
    """What is done, what is under way, what is left."""

    def __init__(self, screen: Screen, names: tuple[str, ...]) -> None:
        self._screen, self.items = screen, [Item(name) for name in names]

    @contextmanager
    def doing(self, name: str) -> Iterator[None]:
        item = next(item for item in self.items if item.name == name)
        started = time.monotonic()
        self._screen.say(f"[>] {name}", style="bold")
        try:
            yield
        except BaseException as error:
            item.status = (
                error.kind
                if isinstance(error, BreakglassError)
                else "signal"
                if isinstance(error, KeyboardInterrupt)
                else "failed"
            )
            raise
        else:
            item.status = "done"
        finally:
            item.seconds = time.monotonic() - started
            self._screen.close()
            self._screen.say(_line(item), style="bold")

    def show(self) -> None:
        """All of it, at the end."""
        self._screen.say("--- in all")
        for item in self.items:
            item.status = "not done" if item.status == "to do" else item.status
            self._screen.say(_line(item))


def run_recover(
    session: Session, *, node: str | None, tag: str | None, command: tuple[str, ...], yes: bool
) -> Result:
    """The exit code is COMMAND's, if the rest went well."""
    if node is not None:
        check_node_name(node)
    if command and shutil.which(command[0]) is None:
        raise Usage(
            f"there is no command {command[0]!r} here",
            next_step="breakglass recover [NODE] -- COMMAND ...",
        )
    screen, outcome, config = session.screen, session.outcome, session.config
    names = (
        "check",
        "node",
        "fetch",
        "import",
        "pin",
        *(("command", "restore") if command else ()),
    )
    checklist = Checklist(screen, names)
    with _mentioning_a_pin(session), checklist.doing("check"):
        session.estate.note("asking the registries")
        found, choice = _looked(session, node=node, tag=tag)
        screen.tell(f"    {recover.judge(found)}")
    with _mentioning_a_pin(session), checklist.doing("node"):
        if isinstance(choice, BreakglassError):
            raise choice
        screen.tell(f"    {choice.why}")
        facts = recover.observe(session.estate, choice, tag=tag)
        for found_pin in facts.in_force:
            screen.tell(f"    pinned {recover.told(found_pin)}: this run goes on with that pin")
        if facts.answers_already:
            screen.tell(
                f"    {facts.node} keeps the image or answers pulls from an earlier "
                f"import{': that is given back too' if command else ''}"
            )
        stages = recover.plan(
            facts,
            config=config,
            identity=session.estate.identity,
            tag=tag,
            gives_back=bool(command),
        )
    steps = _show(session, stages, command)
    if outcome.dry_run:
        outcome.steps = [StepTold(step) for step in steps]
        return _result(facts, checklist, stages, tag=tag)
    if steps or command:
        screen.tell(_in_short(facts, stages, len(steps)))
        session.agree(
            f"Do all this{', and give it back after the command' if command else ''}?", yes=yes
        )
    session.announced = tuple(stage.plan for stage in stages if stage.plan)
    result = _result(facts, checklist, stages, tag=tag)
    try:
        with checklist.doing("fetch"):
            fetch_to(session, facts.node.name, tag=tag, known=facts.fetching)
        if command:
            _all_and_back(session, checklist, facts, result, tag=tag, command=command)
        else:
            _import_and_pin(session, checklist, facts, tag=tag)
    except BaseException as error:
        begun = {item.name for item in checklist.items if item.seconds is not None}
        outcome.steps += [
            StepTold(step, status="not run")
            for stage in stages
            if stage.plan and stage.name not in begun
            for step in stage.plan.steps
        ]
        if outcome.changed and isinstance(error, Refused | Unreachable | Busy):
            raise Failed(
                error.message,
                state=error.state.removeprefix(type(error).state_by_default).strip(),
                next_step=error.next_step,
            ) from error
        raise
    finally:
        checklist.show()
        result["stages"] = _told(checklist)
        outcome.result = result
    if not command:
        screen.say(
            f"Next: run the pipeline; its pods land on {facts.node}. Then give everything "
            f"back: breakglass restore"
        )
    return result


@contextmanager
def _mentioning_a_pin(session: Session) -> Iterator[None]:
    """Where nothing is begun, a pin that an earlier run has left is the more important thing to
    know.
    """
    try:
        yield
    except BreakglassError as error:
        with suppress(BreakglassError):
            marked = [
                node.name for node in session.estate.nodes() if node.mark.annotation is not None
            ]
            if marked and "breakglass restore" not in error.next_step:
                error = error.replaced(
                    state=f"{error.state} But a pin is in force, on {', '.join(marked)}.".strip(),
                    next_step=f"breakglass restore gives that pin back, if nobody is at work; "
                    f"{error.next_step}",
                )
        raise error from error.__cause__


def _looked(
    session: Session, *, node: str | None, tag: str | None
) -> tuple[tuple[Found, ...], Choice | BreakglassError]:
    """The registries, and meanwhile the nodes: each may take its deadline."""

    def choose() -> Choice | BreakglassError:
        try:
            return recover.choose(session.estate, node=node)
        except BreakglassError as error:
            return error

    questions: list[Callable[[], tuple[Found, ...] | Choice | BreakglassError]] = [
        lambda: session.estate.look(tag or "latest"),
        choose,
    ]
    found, choice = together(questions)
    assert isinstance(found, tuple)
    assert isinstance(choice, Choice | BreakglassError)
    return found, choice


def _import_and_pin(
    session: Session, checklist: Checklist, facts: recover.Facts, *, tag: str | None
) -> tuple[Node, ...]:
    """The nodes as the pin has left them."""
    node = facts.node.name
    with checklist.doing("import"):
        import_into(session, node, tag=tag)
    with checklist.doing("pin"):
        after, _ = pin_to(session, node, reason=recover.REASON, yes=True)
    return after.nodes


def _all_and_back(
    session: Session,
    checklist: Checklist,
    facts: recover.Facts,
    result: Result,
    *,
    tag: str | None,
    command: tuple[str, ...],
) -> None:
    """Whatever fails, and whatever signal comes, what was taken is given back before that is
    told.
    """
    failure: BaseException | None = None
    own = recover.own_of(facts, session.estate.identity)
    with undisturbed():
        try:
            with disturbed():
                nodes = _import_and_pin(session, checklist, facts, tag=tag)
                with checklist.doing("command"):
                    recover.check_alone(nodes, own)
                    _run(session, command, result)
                    _check_still_pinned(session, own, nodes)
        except BaseException as error:  # a bug too: it is told when nothing is left taken
            failure = error
        with checklist.doing("restore"):
            if noted() is not None:
                session.screen.warn(
                    "everything is being given back; a further signal, two seconds from now "
                    "or later, ends that at once"
                )
            _let_patches_settle(session)
            after, left = _give_back(session, own)
            if left is not None:
                if isinstance(failure, Exception) and not isinstance(failure, BreakglassError):
                    session.screen.bug(failure)
                raise _not_given_back(left, failure) from failure
    if failure is None and (number := noted()) is not None:
        failure = Signalled(number)
    if isinstance(failure, BreakglassError):
        before = failure.state.removeprefix(type(failure).state_by_default)
        failure = failure.replaced(state=f"{before} Everything was given back. {after}".strip())
    elif failure is not None:
        failure.add_note(f"Everything was given back. {after}")
    if failure is not None:
        raise failure
    session.outcome.exit_code = result["status"]


def _run(session: Session, command: tuple[str, ...], result: Result) -> None:
    ended = companion.run(
        command, environ=os.environ, stdout=sys.stderr.fileno() if session.screen.json else None
    )
    result["status"] = ended.status
    if ended.asked is not None:
        raise Signalled(ended.asked)
    session.screen.say(f"    the command ended with {ended.status}")


def _check_still_pinned(session: Session, own: restore.Own, before: tuple[Node, ...]) -> None:
    """What the command ran under is read once more: a pin that somebody gave back meanwhile held
    nothing to this node.
    """
    with suppress(Unreachable):  # then giving back will say so
        for name in recover.check_still_pinned(before, session.estate.nodes(), own):
            session.screen.warn(
                f"{name} takes pods now: it joined, or somebody uncordoned it, while the "
                f"command ran; what that started may have run there"
            )


def _let_patches_settle(session: Session) -> None:
    """A patch that nobody waits for any more may still be on its way: what is read before it
    arrives is not how it ends.
    """
    if any(
        isinstance(told.step, PatchNode) and told.begun and told.status != "done"
        for told in session.outcome.steps
    ):
        session.screen.say(
            f"    waiting {SETTLE_SECONDS:.0f} s for patches that may still be on their way"
        )
        time.sleep(SETTLE_SECONDS)


def _give_back(session: Session, own: restore.Own) -> tuple[str, BreakglassError | None]:
    """The state afterwards, and what could not be given back. What is busy or not reached is tried
    again for a minute.
    """
    ends_at = time.monotonic() + GIVE_BACK_SECONDS
    while True:
        state = ""
        try:
            after, _, left = give_back(session, own=own, yes=True)
            state = restore.state(after)
            may_help = left is not None and bool(after.unread or after.api)
        except BreakglassError as error:
            left, may_help = error, not isinstance(error, Integrity)
        except (
            Exception
        ) as bug:  # then all the more it has to be said that something is still taken
            session.screen.bug(bug)
            left, may_help = (
                Failed(
                    f"a bug in breakglass ({type(bug).__name__}) while giving back",
                    next_step="breakglass restore",
                ),
                False,
            )
        if not may_help or time.monotonic() > ends_at:
            return state, left
        session.screen.warn(
            f"not everything could be given back yet: {left.message if left else ''}; trying "
            f"again for up to a minute"
        )
        time.sleep(AGAIN_SECONDS)


def _not_given_back(left: BreakglassError, failure: BaseException | None) -> BreakglassError:
    """Both causes; that something is left on the estate decides."""
    message = f"not everything was given back: {left.message}"
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
        state=left.state,
        next_step=f"breakglass restore, and not this command again ({left.message})"
        if not left.next_step.startswith("breakglass restore")
        else left.next_step,
    )


def _show(
    session: Session, stages: tuple[recover.Stage, ...], command: tuple[str, ...]
) -> list[Step]:
    """The whole plan, part by part; its steps."""
    screen, first = session.screen, 1
    if session.outcome.dry_run:
        screen.say("Dry run, nothing is changed.")
    steps: list[Step] = []
    for stage in stages:
        if stage.name == "restore":
            screen.say(
                f"--- command, on this machine: {inert(command[0])}{' ...' if command[1:] else ''}"
            )
        screen.say(f"--- {stage.name}{', whatever happens' if stage.name == 'restore' else ''}")
        if stage.plan is None:
            screen.tell(
                "It can be planned, and will be shown, once the tarball is on the node: it "
                "has no sidecars that say what is in it."
            )
            continue
        screen.plan(stage.plan, dry_run=False, first=first)
        steps += stage.plan.steps
        first += len(stage.plan.steps)
    return steps


def _in_short(facts: recover.Facts, stages: tuple[recover.Stage, ...], count: int) -> str:
    """What stands right above the question, when the lines have left the screen."""
    cordoned = [
        step.node
        for stage in stages
        if stage.name == "pin" and stage.plan
        for step in stage.plan.steps
        if isinstance(step, PatchNode)
    ]
    return (
        f"In short, {count} steps: {facts.option.tarball.file} from {facts.option.shelf.host} to "
        f"{facts.node}, into its containerd; cordoned: {', '.join(cordoned) or 'no node more'}."
    )


def _result(
    facts: recover.Facts,
    checklist: Checklist,
    stages: tuple[recover.Stage, ...],
    *,
    tag: str | None,
) -> Result:
    importing = facts.into
    pinning = next(stage.plan for stage in stages if stage.name == "pin")
    return {
        "node": facts.node.name,
        "fetch": fetch.result(facts.fetching, facts.option, tag=tag),
        "import": import_image.result(importing) if importing else None,
        "pin": pin.result(facts.pinning, pinning) if pinning else None,
        "status": None,
        "stages": _told(checklist),
    }


def _told(checklist: Checklist) -> list[Result]:
    return [
        {
            "name": item.name,
            "status": item.status,
            "seconds": None if item.seconds is None else round(item.seconds, 3),
        }
        for item in checklist.items
    ]


def _line(item: Item) -> str:
    mark = {"done": "x", "to do": " ", "not done": " "}.get(item.status, "!")
    seconds = f", {item.seconds:.1f} s" if item.seconds is not None else ""
    return f"[{mark}] {item.name}: {item.status}{seconds}"
