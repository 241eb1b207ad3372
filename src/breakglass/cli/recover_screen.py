"""Prints the whole plan of recover, before the question."""

from breakglass.cli.session import Session
from breakglass.cluster_name import ClusterName
from breakglass.commands import recover
from breakglass.plan import PatchNode, Step
from breakglass.text import inert


def show_stages(
    session: Session, stages: tuple[recover.Stage, ...], command: tuple[str, ...]
) -> list[Step]:
    """Print the plan, stage by stage. Returns its steps."""
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
            screen.show(
                "It can be planned, and will be shown, once the tarball is on the node: it "
                "has no sidecars that say what is in it."
            )
            continue
        screen.plan(stage.plan, dry_run=False, first=first)
        steps += stage.plan.steps
        first += len(stage.plan.steps)
    return steps


def in_short(
    facts: recover.Facts,
    stages: tuple[recover.Stage, ...],
    count: int,
    cluster: ClusterName | None,
) -> str:
    """What stands right above the question, when the lines have left the screen."""
    cordoned = [
        step.node
        for stage in stages
        if stage.name == "pin" and stage.plan
        for step in stage.plan.steps
        if isinstance(step, PatchNode)
    ]
    where = f" on cluster {cluster}" if cluster else ""
    source = f"the image that {facts.node} has, under every name"
    if facts.option is not None:
        file, host = facts.option.tarball.file, facts.option.shelf.host
        source = f"{file} from {host} to {facts.node}, into its containerd"
    return (
        f"In short, {count} steps{where}: {source}; cordoned: "
        f"{', '.join(cordoned) or 'no node more'}."
    )
