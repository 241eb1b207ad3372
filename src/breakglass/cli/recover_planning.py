"""The stages `check` and `node` of `recover`: they read and plan, and change nothing."""

from collections.abc import Callable
from dataclasses import replace

from breakglass.cli.checklist import Checklist
from breakglass.cli.on_cluster import plan_on
from breakglass.cli.session import Session
from breakglass.commands import check, recover
from breakglass.commands.check_asked import Asked
from breakglass.commands.check_verdict import Need, Verdict
from breakglass.commands.choose import Chosen
from breakglass.commands.recover_own import describe
from breakglass.deadline import together
from breakglass.errors import BreakglassError


def plan_stages(
    session: Session,
    checklist: Checklist,
    *,
    node: str | None,
    tag: str | None,
    restores: bool,
) -> tuple[recover.Facts, tuple[recover.Stage, ...]]:
    """The facts on the node, and the stages that follow."""
    with checklist.doing("check"):
        choice = _check(session, node=node, tag=tag)
    with checklist.doing("node"):
        if isinstance(choice, BreakglassError):
            raise choice
        facts = _read_node(session, choice, tag=tag, restores=restores)
        stages = recover.plan(
            facts,
            config=session.config,
            identity=session.environment.identity,
            tag=tag,
            restores=restores,
        )
    named = session.cluster.name
    return facts, tuple(
        replace(stage, plan=stage.plan and plan_on(stage.plan, named)) for stage in stages
    )


def _check(session: Session, *, node: str | None, tag: str | None) -> Chosen | BreakglassError:
    """Whether the runbook is needed. Meanwhile the node is chosen: the answer is that node, or why
    there is none.
    """
    session.environment.note("asking the registries")
    registries, choice = _looked(session, node=node, tag=tag)
    again = recover.again_with(node)
    verdict = recover.judge(registries, tag=tag, again=again)
    if not session.environment.anyway and not session.outcome.dry_run:
        recover.check_needed(verdict, again=again)
    session.screen.show(f"    {verdict.sentence} ({recover.states(registries)})")
    _warn_of_need(session, verdict)
    return choice


def _looked(
    session: Session, *, node: str | None, tag: str | None
) -> tuple[tuple[Asked, ...], Chosen | BreakglassError]:
    """The registries, and meanwhile the nodes: each may take its deadline."""

    def choose() -> Chosen | BreakglassError:
        try:
            return recover.choose(session.environment, node=node, tag=tag)
        except BreakglassError as error:
            return error

    questions: list[Callable[[], tuple[Asked, ...] | Chosen | BreakglassError]] = [
        lambda: check.ask(session.environment, tag or "latest"),
        choose,
    ]
    found, choice = together(questions)
    assert isinstance(found, tuple)
    assert isinstance(choice, Chosen | BreakglassError)
    return found, choice


def _warn_of_need(session: Session, verdict: Verdict) -> None:
    """What is planned all the same, though the runbook may not be needed."""
    if verdict.word in (Need.NOT_NEEDED, Need.UNKNOWN):
        session.screen.warn(
            f"the image may not be needed on a node ({verdict.word}): "
            + (
                "going on because of --anyway"
                if session.environment.anyway
                else "the run itself needs --anyway"
            )
        )


def _read_node(
    session: Session, choice: Chosen, *, tag: str | None, restores: bool
) -> recover.Facts:
    """The facts, and on the screen what an earlier run has left."""
    screen = session.screen
    screen.show(f"    {choice.why}")
    facts = recover.observe(session.environment, choice, tag=tag)
    for pin_in_force in facts.in_force:
        screen.show(f"    pinned {describe(pin_in_force)}: this run goes on with that pin")
    if facts.answers_already:
        also = ": that is restored too" if restores else ""
        screen.show(f"    {facts.node} has the image of an earlier import{also}")
    return facts
