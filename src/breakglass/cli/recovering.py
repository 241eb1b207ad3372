"""`recover`: the runbook from one end to the other, as a checklist."""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from breakglass.errors import BreakglassError, Failed, Usage, worst
from breakglass.observe.text import inert
from breakglass.observe.together import together
from breakglass.plan import Step
from breakglass.registry import Found

Result = dict[str, Any]


@dataclass
class Item:
    """One line of the checklist. `status`: to do, done, failed, not done."""

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
        except BaseException:
            item.status = "failed"
            raise
        else:
            item.status = "done"
        finally:
            item.seconds = time.monotonic() - started
            self._screen.close()
            self._screen.say(_line(item), style="bold")

    def show(self) -> None:
        """All of it, at the end."""
        for item in self.items:
            item.status = "not done" if item.status == "to do" else item.status
            self._screen.say(_line(item))


def run_recover(session: Session, *, node: str | None, tag: str | None, command: tuple[str, ...], yes: bool) -> Result:
    """The exit code is COMMAND's, if the rest went well."""
    if node is not None:
        check_node_name(node)
    if command and shutil.which(command[0]) is None:
        raise Usage(f"there is no command {command[0]!r} here", next_step="breakglass recover [NODE] -- COMMAND ...")
    screen, outcome, config = session.screen, session.outcome, session.config
    names = ("check", "node", "fetch", "import", "pin", *(("command", "restore") if command else ()))
    checklist = Checklist(screen, names)
    with checklist.doing("check"):
        session.estate.note("asking the registries")
        found, choice = _looked(session, node=node, tag=tag)
        screen.say(f"    {recover.judge(found)}")
    with checklist.doing("node"):
        if isinstance(choice, BreakglassError):
            raise choice
        screen.say(f"    {choice.why}")
        facts = recover.observe(session.estate, choice, tag=tag)
        stages = recover.plan(facts, config=config, identity=session.estate.identity, tag=tag, gives_back=bool(command))
    steps = _show(session, stages, command)
    if outcome.dry_run:
        outcome.steps = [StepTold(step) for step in steps]
        return _result(facts, checklist, stages, tag=tag)
    if steps or command:
        session.agree(f"Do all this{', and give it back after the command' if command else ''}?", yes=yes)
    session.announced = tuple(stage.plan for stage in stages if stage.plan)
    result = _result(facts, checklist, stages, tag=tag)
    try:
        with checklist.doing("fetch"):
            fetch_to(session, facts.node.name, tag=tag, known=facts.fetching)
        if command:
            result["status"] = outcome.exit_code = _all_and_back(session, checklist, facts, tag=tag, command=command)
        else:
            _import_and_pin(session, checklist, facts, tag=tag)
    except (BreakglassError, KeyboardInterrupt):
        left = [step for step in steps if str(step) not in {str(told.step) for told in outcome.steps}]
        outcome.steps += [StepTold(step, status="not run") for step in left]
        raise
    finally:
        checklist.show()
        result["stages"] = _told(checklist)
        outcome.result = result
    if not command:
        screen.say(f"Next: run the pipeline; its pods land on {facts.node}. Then give everything back: breakglass restore")
    return result


def _looked(session: Session, *, node: str | None, tag: str | None) -> tuple[tuple[Found, ...], Choice | BreakglassError]:
    """The registries, and meanwhile the nodes: each may take its deadline."""

    def choose() -> Choice | BreakglassError:
        try:
            return recover.choose(session.estate, node=node)
        except BreakglassError as error:
            return error

    questions: list[Callable[[], tuple[Found, ...] | Choice | BreakglassError]] = [lambda: session.estate.look(tag or "latest"), choose]
    found, choice = together(questions)
    assert isinstance(found, tuple)
    assert isinstance(choice, Choice | BreakglassError)
    return found, choice


def _import_and_pin(session: Session, checklist: Checklist, facts: recover.Facts, *, tag: str | None) -> None:
    node = facts.node.name
    with checklist.doing("import"):
        import_into(session, node, tag=tag)
    with checklist.doing("pin"):
        pin_to(session, node, reason=recover.REASON, yes=True)


def _all_and_back(session: Session, checklist: Checklist, facts: recover.Facts, *, tag: str | None, command: tuple[str, ...]) -> int:
    """COMMAND's status. Whatever fails, and whatever signal comes, what was taken is given back before that is told."""
    failure: BreakglassError | KeyboardInterrupt | None = None
    status = 0
    with undisturbed():
        try:
            with disturbed():
                _import_and_pin(session, checklist, facts, tag=tag)
                with checklist.doing("command"):
                    status = _run(session, command)
        except (BreakglassError, KeyboardInterrupt) as error:
            failure = error
        with checklist.doing("restore"):
            try:
                after, _, left = give_back(session, only=facts.node, yes=True)
            except BreakglassError as error:
                left = error
            if left is not None:
                raise _not_given_back(left, failure)
    if failure is None and (number := noted()) is not None:
        failure = Signalled(number)
    if isinstance(failure, BreakglassError):
        failure.state = f"{failure.state} Then everything was given back: {restore.state(after)}".strip()
    elif failure is not None:
        failure.add_note(f"Everything was given back: {restore.state(after)}")
    if failure is not None:
        raise failure
    return status


def _run(session: Session, command: tuple[str, ...]) -> int:
    ended = companion.run(command, environ=os.environ, stdout=sys.stderr.fileno() if session.screen.json else None)
    if ended.asked is not None:
        raise Signalled(ended.asked)
    session.screen.say(f"    the command ended with {ended.status}")
    return ended.status


def _not_given_back(left: BreakglassError, failure: BreakglassError | KeyboardInterrupt | None) -> BreakglassError:
    """Both causes; that something is left on the estate decides."""
    message = f"not everything was given back: {left.message}"
    if isinstance(failure, BreakglassError):
        message = f"{failure.message}; then {message}"
        return type(worst([Failed(""), left, failure]))(message, state=left.state, next_step=f"breakglass restore; {left.next_step}")
    if failure is not None:
        message = f"a signal came; then {message}"
    return Failed(message, state=left.state, next_step=left.next_step or "breakglass restore")


def _show(session: Session, stages: tuple[recover.Stage, ...], command: tuple[str, ...]) -> list[Step]:
    """The whole plan, part by part; its steps."""
    screen, first = session.screen, 1
    if session.outcome.dry_run:
        screen.say("Dry run, nothing is changed.")
    steps: list[Step] = []
    for stage in stages:
        if stage.name == "restore":
            screen.say(f"--- command, on this machine: {inert(shlex.join(command))}")
        screen.say(f"--- {stage.name}{', whatever happens' if stage.name == 'restore' else ''}")
        if stage.plan is None:
            screen.say("It can be planned, and will be shown, once the tarball is on the node: it has no sidecars that say what is in it.")
            continue
        screen.plan(stage.plan, dry_run=False, first=first)
        steps += stage.plan.steps
        first += len(stage.plan.steps)
    return steps


def _result(facts: recover.Facts, checklist: Checklist, stages: tuple[recover.Stage, ...], *, tag: str | None) -> Result:
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
    return [{"name": item.name, "status": item.status, "seconds": None if item.seconds is None else round(item.seconds, 3)} for item in checklist.items]


def _line(item: Item) -> str:
    mark = {"done": "x", "failed": "!"}.get(item.status, " ")
    seconds = f", {item.seconds:.1f} s" if item.seconds is not None else ""
    return f"[{mark}] {item.name}: {item.status}{seconds}"
