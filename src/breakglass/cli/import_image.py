"""`breakglass import`: the tarball on the node into its containerd."""

from breakglass.cli.names import checked_tag, chosen, keeping
from breakglass.cli.run import Options, run_command
from breakglass.cli.session import Session
from breakglass.commands import import_image, import_mark, verdict
from breakglass.commands.target import Target
from breakglass.errors import BreakglassError, then
from breakglass.observe.machine import Machine


def run_import(
    options: Options,
    *,
    node: str | None,
    tag: str,
    answer_pulls: bool | None,
    anyway: bool,
    dry_run: bool,
) -> int:
    """Bring the image into the node's containerd."""

    def work(session: Session) -> import_image.ImportResult:
        session.go_on_anyway(anyway)
        wanted = checked_tag(tag)
        with keeping(wanted):
            return _work(session, node=node, wanted=wanted, answer_pulls=answer_pulls)

    return run_command("import", work, options, dry_run=dry_run)


def _work(
    session: Session, *, node: str | None, wanted: str | None, answer_pulls: bool | None
) -> import_image.ImportResult:
    choice = chosen(session, node, command="import", tag=wanted)
    target = choice.target
    result = import_into(
        session, target, tag=wanted, answer_pulls=answer_pulls, machine=choice.machine
    )
    _mark(session, target)
    if not session.outcome.dry_run:
        session.say_next(then(f"breakglass pin {result.node}"))
    return result


def _mark(session: Session, target: Target) -> None:
    """Mark the node in the cluster. An import is good without that, for in an outage the API may
    be away.
    """
    try:
        job = import_mark.job(session.environment, target.host.name)
        if job is not None:
            session.carry_out(job)
    except BreakglassError as error:
        session.screen.warn(
            f"{target.host} carries no mark in the cluster: {error.message}; from another machine "
            f"name it: breakglass restore {target.host}"
        )


def import_into(
    session: Session,
    target: Target,
    *,
    tag: str | None,
    answer_pulls: bool | None = None,
    machine: Machine | None = None,
    searched: bool = False,
) -> import_image.ImportResult:
    """Import, then print the verdict: which pods start on the node now. `machine`: the node's,
    where it was read already. `searched`: nobody else has a tarball.
    """
    environment = session.environment
    answers = environment.config.nodes.answer_pulls if answer_pulls is None else answer_pulls
    job = import_image.job(
        environment, target, tag=tag, answer_pulls=answers, machine=machine, searched=searched
    )
    done = session.carry_out(job)
    if session.outcome.dry_run:
        return import_image.result(done.facts)
    cluster = verdict.read_cluster(environment, target.host.name, nodes=target.nodes)
    records = verdict.read_records(environment, done.facts, cluster)
    for line in verdict.verdict(done.facts, cluster, before=done.before, records=records):
        session.screen.show(line)
    return import_image.result(done.facts, verdict.by_name(done.facts, cluster, records))
