"""`breakglass import`: the tarball on the node into its containerd."""

from typing import Any

from breakglass.cli.names import checked_tag, chosen
from breakglass.cli.run import Options, carry
from breakglass.cli.session import Session
from breakglass.commands import import_image, verdict


def run_import(
    options: Options, *, node: str | None, tag: str, answer_pulls: bool | None, dry_run: bool
) -> int:
    """Bring the image into the node's containerd."""
    return carry(
        "import",
        lambda session: _work(session, node=node, tag=tag, answer_pulls=answer_pulls),
        options,
        dry_run=dry_run,
    )


def _work(
    session: Session, *, node: str | None, tag: str | None, answer_pulls: bool | None
) -> dict[str, Any]:
    wanted = checked_tag(tag)
    name = chosen(session, node, command="import").node
    after = import_into(session, name, tag=wanted, answer_pulls=answer_pulls)
    if not session.outcome.dry_run:
        session.screen.say(f"Next: breakglass pin {after.node}")
    return import_image.result(after)


def import_into(
    session: Session, node: str, *, tag: str | None, answer_pulls: bool | None = None
) -> import_image.Facts:
    """The verdict closes it."""
    config, identity = session.config, session.estate.identity
    answers = config.nodes.answer_pulls if answer_pulls is None else answer_pulls
    facts = import_image.observe(session.estate, node=node, tag=tag, answer_pulls=answers)
    after, _ = session.carry_out(
        facts,
        again=lambda: import_image.observe_again(
            session.estate, facts, tag=tag, answer_pulls=answers
        ),
        decide=lambda known: import_image.plan(
            known, nodes=config.nodes, identity=identity, tag=tag
        ),
        state=import_image.state,
    )
    if not session.outcome.dry_run:
        for line in verdict.verdict(
            after, verdict.read_cluster(session.estate, after.node.name), before=facts
        ):
            session.screen.tell(line)
    return after
