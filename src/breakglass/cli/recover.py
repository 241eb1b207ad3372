"""`recover`: the runbook from one end to the other, as a checklist."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from breakglass.cli.arguments import before_dashes, typed_again
from breakglass.cli.checklist import Checklist, StageResult
from breakglass.cli.fetch import fetch_to, naming_whole_images
from breakglass.cli.names import checked_tag, keeping
from breakglass.cli.outcome import StepOutcome
from breakglass.cli.recover_command import import_and_pin, run_and_restore
from breakglass.cli.recover_planning import plan_stages
from breakglass.cli.recover_screen import in_short, show_stages
from breakglass.cli.run import Options, run_command
from breakglass.cli.session import Session
from breakglass.commands import fetch, import_image, pin, recover
from breakglass.config import check_node_name
from breakglass.errors import BreakglassError, Usage, joined, then
from breakglass.quoting import join

STAGES, WITH_COMMAND = ("check", "node", "fetch", "import", "pin"), ("command", "restore")


@dataclass(frozen=True)
class RecoverResult:
    node: str
    fetch: fetch.FetchResult | None
    """None: nobody has a tarball, and the node's containerd has the image."""
    import_: import_image.ImportResult | None
    pin: pin.PinResult | None
    status: int | None
    """How COMMAND ended; None: it did not run."""
    stages: tuple[StageResult, ...]


def run_recover(
    options: Options,
    *,
    node: str | None,
    tag: str,
    command: tuple[str, ...],
    yes: bool,
    anyway: bool,
    dry_run: bool,
) -> int:
    """Do the whole runbook; with COMMAND the exit code is COMMAND's, if the rest went well."""

    def work(session: Session) -> RecoverResult:
        session.go_on_anyway(anyway)
        wanted = checked_tag(tag)
        ours = join(["breakglass", *before_dashes(session.typed)])
        behind = typed_again(session.typed).removeprefix(ours)
        with keeping(wanted, behind=(" --yes" if yes else "") + behind):
            return _work(session, node=node, tag=wanted, command=command, yes=yes)

    return run_command(
        "recover",
        work,
        options,
        dry_run=dry_run,
    )


def _work(
    session: Session, *, node: str | None, tag: str | None, command: tuple[str, ...], yes: bool
) -> RecoverResult:
    """The exit code is COMMAND's, if the rest went well."""
    if node is not None:
        check_node_name(node)
    if command and shutil.which(command[0]) is None:
        raise Usage(
            f"there is no command {command[0]!r} here",
            next_step=then("breakglass recover --help", advice="a COMMAND stands behind --"),
        )
    outcome = session.outcome
    checklist = Checklist(session.screen, (*STAGES, *(WITH_COMMAND if command else ())))
    with _mentioning_a_pin(session):
        facts, stages = plan_stages(session, checklist, node=node, tag=tag, restores=bool(command))
    steps = show_stages(session, stages, command)
    if outcome.dry_run:
        outcome.steps = [StepOutcome(step) for step in steps]
        return _result(facts, checklist, stages, tag=tag)
    if steps or command:
        session.screen.show(in_short(facts, stages, len(steps), session.cluster.name()))
        also = ", and give it back after the command" if command else ""
        session.agree(f"Do all this{also}?", yes=yes)
    session.announced = tuple(stage.plan for stage in stages if stage.plan)
    try:
        _do(session, checklist, facts, tag=tag, command=command)
    except BaseException:
        outcome.steps += _not_begun(checklist, stages)
        raise
    finally:
        checklist.show()
        result = outcome.result = _result(facts, checklist, stages, tag=tag)
    if not command:
        session.say_next(
            then(
                "breakglass restore",
                advice=f"run the pipeline; its pods land on {facts.node}. Then undo everything",
            )
        )
    return result


def _do(
    session: Session,
    checklist: Checklist,
    facts: recover.Facts,
    *,
    tag: str | None,
    command: tuple[str, ...],
) -> None:
    """The stages that change something."""
    with checklist.doing("fetch"):
        if facts.option is not None:
            with naming_whole_images(session, facts.fetching, tag=tag):
                fetch_to(session, facts.target, tag=tag, known=facts.fetching)
    if command:
        run_and_restore(session, checklist, facts, tag=tag, command=command)
    else:
        import_and_pin(session, checklist, facts, tag=tag)


def _not_begun(checklist: Checklist, stages: tuple[recover.Stage, ...]) -> list[StepOutcome]:
    """The steps of the stages that did not come to their turn."""
    begun = {item.name for item in checklist.items if item.seconds is not None}
    return [
        StepOutcome(step, status="not run")
        for stage in stages
        if stage.plan and stage.name not in begun
        for step in stage.plan.steps
    ]


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
                node.name
                for node in session.environment.nodes()
                if node.mark.annotation is not None
            ]
            if marked and "breakglass restore" not in error.next_step.commands:
                error = error.replaced(
                    state=f"{error.state} But a pin is in force, on {', '.join(marked)}.".strip(),
                    next_step=joined(
                        [
                            then(
                                "breakglass restore",
                                advice="if nobody is at work, restore undoes that pin.",
                            ),
                            error.next_step,
                        ]
                    ),
                )
        raise error from error.__cause__


def _result(
    facts: recover.Facts,
    checklist: Checklist,
    stages: tuple[recover.Stage, ...],
    *,
    tag: str | None,
) -> RecoverResult:
    pinning = next(stage.plan for stage in stages if stage.name == "pin")
    return RecoverResult(
        node=facts.node.name,
        fetch=fetch.result(facts.fetching, facts.option, tag=tag) if facts.option else None,
        import_=import_image.result(facts.into) if facts.into else None,
        pin=pin.result(facts.pinning, pinning) if pinning else None,
        status=checklist.command_status,
        stages=checklist.results(),
    )
