"""Each command from its arguments to its result. What is decided stands in `commands`; here it is put in order."""

from collections.abc import Mapping
from typing import Any

from breakglass.cli.session import Session
from breakglass.commands import check, choose, fetch, import_image, pin, restore, snapshot
from breakglass.config import check_node_name, check_snapshot_tag, check_source, check_tag
from breakglass.errors import BreakglassError, Busy, Refused, Usage
from breakglass.plan import Plan


def run_snapshot(session: Session, *, tag: str | None, environ: Mapping[str, str]) -> dict[str, Any]:
    commit = environ.get("CI_COMMIT_SHA", "")
    wanted = tag if tag is not None else commit[:8]
    if not wanted:
        raise Usage("no tag: neither --tag nor CI_COMMIT_SHA is there", next_step="breakglass snapshot --tag TAG")
    check_snapshot_tag(wanted)
    config, identity = session.config, session.estate.identity
    after, done = session.carry_out(
        observe=lambda: snapshot.observe(session.estate, tag=wanted),
        decide=lambda facts: snapshot.plan(facts, image=config.image, settings=config.registry_vm, identity=identity),
        state=snapshot.state,
        explain=lambda facts: lambda step, ended: snapshot.explain(step, ended, facts=facts),
        observe_after=lambda: snapshot.observe(session.estate, tag=wanted, saved=True),
    )
    return snapshot.result(after, done, image=config.image)


def run_fetch(session: Session, *, node: str | None, tag: str | None, source: str | None, via: str) -> dict[str, Any]:
    """A way that failed is followed by the next one: a new read and a new plan, without what has failed."""
    wanted = _tag(tag)
    if source is not None:
        check_source(source)
    name = _node(session, node, command="fetch")
    failed: fetch.Failures = {}
    while True:
        tried: list[fetch.Attempt] = []
        try:
            after = _fetch_once(session, node=name, tag=wanted, source=source, via=via, failed=failed, tried=tried)
        except (Busy, Refused, Usage):
            raise
        except BreakglassError as error:
            if not tried or tried[-1] in failed:
                raise
            failed[tried[-1]] = error
            (source_name, file), way = tried[-1]
            session.screen.warn(f"{file} from {source_name} via {way}: {error.message}; trying the next way")
            continue
        if not session.outcome.dry_run:
            session.screen.say(f"Next: breakglass import {after.node}")
        return fetch.result(after, tried[-1])


def _fetch_once(session: Session, *, node: str, tag: str | None, source: str | None, via: str, failed: fetch.Failures, tried: list[fetch.Attempt]) -> fetch.Facts:
    """`tried` gets what was chosen, also when it fails."""

    def decide(facts: fetch.Facts) -> Plan:
        planned = fetch.plan(facts, image=session.config.image, identity=session.estate.identity, tag=tag, via=via, failed=failed)
        tried.append(fetch.chosen(facts, tag=tag, via=via, failed=failed))
        return planned

    after, _ = session.carry_out(observe=lambda: fetch.observe(session.estate, node=node, source=source, via=via), decide=decide, state=fetch.state)
    return after


def run_import(session: Session, *, node: str | None, tag: str | None) -> dict[str, Any]:
    wanted = _tag(tag)
    name = _node(session, node, command="import")
    config, identity = session.config, session.estate.identity
    after, _ = session.carry_out(
        observe=lambda: import_image.observe(session.estate, node=name, tag=wanted),
        decide=lambda facts: import_image.plan(facts, nodes=config.nodes, identity=identity, tag=wanted),
        state=import_image.state,
    )
    if not session.outcome.dry_run:
        for line in import_image.verdict(after):
            session.screen.say(line)
        session.screen.say(f"Next: breakglass pin {after.node}")
    return import_image.result(after)


def run_pin(session: Session, *, node: str | None, reason: str, yes: bool) -> dict[str, Any]:
    name = _node(session, node, command="pin")
    after, done = session.carry_out(
        observe=lambda: pin.observe(session.estate, node=name),
        decide=lambda facts: pin.plan(facts, identity=session.estate.identity, reason=reason),
        state=pin.state,
        question=f"Cordon these nodes, so that pods are scheduled on {name} only?",
        yes=yes,
    )
    if not session.outcome.dry_run:
        session.screen.say("Next: run the pipeline; then give everything back: breakglass restore")
    return pin.result(after, done)


def run_restore(session: Session, *, nodes: tuple[str, ...], yes: bool) -> dict[str, Any]:
    for node in nodes:
        check_node_name(node)
    _, done = session.carry_out(
        observe=lambda: restore.observe(session.estate, ask_registries=not nodes),
        decide=lambda facts: restore.plan(facts, names=nodes),
        state=restore.state,
        question="Give these nodes back?",
        yes=yes,
    )
    return restore.result(done)


def run_check(session: Session, *, tag: str | None, expect_served: bool) -> dict[str, Any]:
    facts = check.observe(session.estate, tag=_tag(tag) or "latest")
    for line in check.lines(facts):
        session.screen.say(line)
    verdict = check.judge(facts.registries, expect_served=expect_served)
    session.screen.say(f"{verdict.sentence}. Next: {verdict.next_step}")
    session.outcome.exit_code = verdict.exit_code
    return check.result(facts, verdict)


def _tag(tag: str | None) -> str | None:
    """None for `latest`: then it is what the link means."""
    if tag is not None:
        check_tag(tag)
    return None if tag == "latest" else tag


def _node(session: Session, node: str | None, *, command: str) -> str:
    if node is not None:
        check_node_name(node)
        return node
    choice = choose.choose_for(session.estate, command=command)
    session.screen.say(choice.why)
    return choice.node
