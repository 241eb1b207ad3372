"""Each command from its arguments to its result. What is decided stands in `commands`; here it is
put in order.
"""

from collections.abc import Mapping
from typing import Any

from breakglass.cli.looking import tell_host_keys
from breakglass.cli.session import Session
from breakglass.commands import check, choose, fetch, import_image, pin, restore, snapshot, verdict
from breakglass.config import check_node_name, check_snapshot_tag, check_source, check_tag
from breakglass.errors import BreakglassError, Failed, Unreachable, Usage, worst
from breakglass.plan import Plan


def run_snapshot(
    session: Session, *, tag: str | None, environ: Mapping[str, str]
) -> dict[str, Any]:
    commit = environ.get("CI_COMMIT_SHA", "")
    wanted = tag if tag is not None else commit[:8]
    if not wanted:
        raise Usage(
            "no tag: neither --tag nor CI_COMMIT_SHA is there",
            next_step="breakglass snapshot --tag TAG",
        )
    check_snapshot_tag(wanted)
    config, identity = session.config, session.estate.identity
    facts = snapshot.observe(session.estate, tag=wanted)
    after, done = session.carry_out(
        facts,
        decide=lambda facts: snapshot.plan(
            facts, image=config.image, settings=config.registry_vm, identity=identity
        ),
        again=lambda: snapshot.observe_again(session.estate, facts, saved=False),
        after=lambda: snapshot.observe_again(session.estate, facts, saved=True),
        state=snapshot.state,
        explain=lambda step, ended: snapshot.explain(step, ended, facts=facts),
    )
    return snapshot.result(after, done, before=facts)


def run_fetch(
    session: Session, *, node: str | None, tag: str | None, source: str | None, via: str
) -> dict[str, Any]:
    wanted = checked_tag(tag)
    if source is not None:
        check_source(source)
    choice = chosen(session, node, command="fetch")
    known = fetch.observe(
        session.estate, node=choice.node, source=source, via=via, known=choice.sources
    )
    after, option = fetch_to(session, choice.node, tag=wanted, source=source, via=via, known=known)
    if not session.outcome.dry_run:
        session.screen.say(f"Next: breakglass import {after.node}")
    return fetch.result(after, option, tag=wanted)


def fetch_to(
    session: Session,
    node: str,
    *,
    tag: str | None,
    source: str | None = None,
    via: str = "auto",
    known: fetch.Facts | None = None,
) -> tuple[fetch.Facts, fetch.Option]:
    """A transfer that failed is followed by the next source or way: a new read and a new plan,
    without what has failed. `known`: what was read already.
    """
    failed: fetch.Failures = {}
    from_start: set[tuple[str, str, str]] = set()
    tried: list[str] = []
    while True:
        try:
            facts = known or fetch.observe(session.estate, node=node, source=source, via=via)
        except Unreachable as error:
            if not tried:
                raise
            kind = type(worst([Failed(""), *failed.values()]))
            state = f"{node} may hold a hidden partial; no tarball was touched."
            raise kind(
                "; then ".join([*tried, error.message]),
                state=state,
                next_step="run the same command again: it goes on where this one stopped",
            ) from error
        known = None
        option, others = fetch.choose_way(facts, tag=tag, via=via, failed=failed)
        before = len(session.outcome.steps)
        try:
            return _fetch_once(session, facts, option, others=others, tag=tag), option
        except BreakglassError as error:
            step = next(
                (told.step for told in session.outcome.steps[before:] if told.status == "failed"),
                None,
            )
            if step is None or not fetch.is_transfer(step):
                raise
            tried.append(f"{option}: {error.message}")
            if fetch.resumes(step) and option.key not in from_start:
                from_start.add(option.key)
                session.screen.warn(f"{error.message}; trying the same once more")
            else:
                failed[option.key] = error
                session.screen.warn(
                    f"{option}: {error.message}{'; trying the next way' if others else ''}"
                )


def _fetch_once(
    session: Session,
    facts: fetch.Facts,
    option: fetch.Option,
    *,
    others: tuple[fetch.Option, ...],
    tag: str | None,
) -> fetch.Facts:
    after, _ = session.carry_out(
        facts,
        decide=lambda known: fetch.plan(
            known,
            option,
            image=session.config.image,
            identity=session.estate.identity,
            tag=tag,
            others=others,
        ),
        again=lambda: fetch.observe_again(session.estate, facts),
        state=fetch.state,
    )
    return after


def run_import(
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


def run_pin(session: Session, *, node: str | None, reason: str, yes: bool) -> dict[str, Any]:
    name = chosen(session, node, command="pin").node
    after, done = pin_to(session, name, reason=reason, yes=yes)
    if not session.outcome.dry_run:
        session.screen.say("Next: run the pipeline; then give everything back: breakglass restore")
    return pin.result(after, done)


def pin_to(session: Session, node: str, *, reason: str, yes: bool) -> tuple[pin.Facts, Plan]:
    facts = pin.observe(session.estate, node=node)
    after, done = session.carry_out(
        facts,
        again=lambda: pin.observe_again(session.estate, facts),
        after=lambda: pin.without_newcomers(pin.observe_again(session.estate, facts), facts),
        decide=lambda known: pin.plan(known, identity=session.estate.identity, reason=reason),
        state=pin.state,
        question=f"Cordon these nodes, so that pods are scheduled on {node} only?",
        yes=yes,
    )
    if not session.outcome.dry_run:
        for joined in after.newcomers:
            session.screen.warn(
                f"{joined} joined while this was at work, and is not cordoned: breakglass "
                f"pin {node} cordons it"
            )
    return after, done


def run_restore(session: Session, *, nodes: tuple[str, ...], yes: bool) -> dict[str, Any]:
    for node in nodes:
        check_node_name(node)
    after, done, left = give_back(session, names=nodes, yes=yes)
    session.outcome.error = left
    return restore.result(after, done)


def give_back(
    session: Session, *, names: tuple[str, ...] = (), own: restore.Own | None = None, yes: bool
) -> tuple[restore.Facts, Plan, BreakglassError | None]:
    """With what could not be given back, though all that was planned was done."""
    config, identity = session.config, session.estate.identity
    facts = restore.observe(session.estate, names=names, own=own)
    after, done = session.carry_out(
        facts,
        again=lambda: restore.observe_again(session.estate, facts),
        decide=lambda known: restore.plan(
            known, names=names, nodes=config.nodes, identity=identity
        ),
        state=restore.state,
        question="Give this back?",
        yes=yes,
    )
    return (
        after,
        done,
        None
        if session.outcome.dry_run
        else restore.left_over(after, done, names=names, nodes=config.nodes),
    )


def run_check(session: Session, *, tag: str | None, expect_served: bool) -> dict[str, Any]:
    facts = check.observe(session.estate, tag=checked_tag(tag) or "latest")
    tell_host_keys(session, (unread.error for unread in facts.unread))
    for line in check.lines(facts):
        session.screen.tell(line)
    verdict = check.judge(
        facts.registries, expect_served=expect_served, way_back=check.way_back(facts)
    )
    session.outcome.exit_code = verdict.exit_code
    if verdict.exit_code == Unreachable.exit_code:
        session.outcome.error = Unreachable(verdict.sentence, next_step=verdict.next_step)
    else:
        session.screen.tell(f"{verdict.sentence}. Next: {verdict.next_step}")
    return check.result(facts, verdict)


def checked_tag(tag: str | None) -> str | None:
    """None for `latest`: then it is what the link means."""
    if tag is not None:
        check_tag(tag)
    return None if tag == "latest" else tag


def chosen(session: Session, node: str | None, *, command: str) -> choose.Choice:
    """The node that was named, else the one that fits best, with the reason on the screen."""
    if node is not None:
        check_node_name(node)
        return choose.Choice(node, f"{node} was named")
    choice = choose.choose_for(session.estate, command=command)
    session.screen.tell(choice.why)
    return choice
