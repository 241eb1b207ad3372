"""The one line of status that says what to type next. Pure."""

from breakglass.commands.check_advice import CHECK, RECOVER, SAVE_A_BUILD, STATUS
from breakglass.commands.check_verdict import Need, Verdict
from breakglass.commands.environment import Unread
from breakglass.commands.fitness import Kind, in_words
from breakglass.commands.status_facts import (
    Facts,
    PinSeen,
    Seen,
    is_stale,
    lacking,
    pins,
    unverified,
)
from breakglass.commands.status_headline import verdict
from breakglass.commands.whole_cluster import another_context
from breakglass.errors import AGAIN, NOTHING, Next, joined, then

OVER = "every registry serves the image"
RESTORE = "breakglass restore"
GO_ON = "go on, or undo it when the outage is over"


def next_step(facts: Facts) -> Next:
    """What to type, the most urgent first."""
    if facts.doubt:
        return another_context(facts.cluster)
    in_force, unreadable = pins(facts.nodes)
    judged = verdict(facts)
    is_over = judged.word is Need.NOT_NEEDED
    if in_force and is_over:
        target = in_force[0].pin.target
        return then(RESTORE, advice=f"{OVER}; when no pipeline runs on {target} any more")
    if in_force:
        return _for_the_pin(facts, in_force)
    if unreadable:
        names = ", ".join(unreadable)
        return then(
            RESTORE, advice=f"the annotation of {names} cannot be read; restore undoes these too"
        )
    if facts.unmarked:
        return then(
            RESTORE,
            advice=(
                f"a run of breakglass has cordoned {', '.join(facts.unmarked)}, and somebody has "
                f"removed our annotation"
            ),
        )
    of_the_import = _for_the_import(facts, is_over=is_over)
    return of_the_import or (_for_the_rest(facts) if is_over else _for_the_outage(facts, judged))


def _for_the_outage(facts: Facts, judged: Verdict) -> Next:
    """Where not every registry serves the image: as `check` says it, and from the nodes too."""
    if judged.commands == (STATUS,):
        return _without_a_source(facts)
    return judged.next_step


def _without_a_source(facts: Facts) -> Next:
    """No source that was read has a tarball. A node may have one, or the image."""
    fitting = [
        seen
        for seen in facts.nodes
        if seen.node is None or (seen.node.ready and not seen.node.mark.unschedulable)
    ]
    for seen in fitting:
        if seen.shelf and seen.shelf.verified:
            return then(f"breakglass import {seen.name}", advice=f"{seen.name} has a tarball")
    for seen in fitting:
        if seen.is_whole and not seen.holds:
            return then(
                f"breakglass import {seen.name}",
                advice=f"containerd on {seen.name} has the image whole",
            )
    for seen in fitting:
        if seen.holds and facts.api is None:
            return then(f"breakglass pin {seen.name}", advice=f"{seen.name} has the image")
    lost = _for_the_unread(
        tuple(source.found for source in facts.sources if isinstance(source.found, Unread))
    )
    none = "no source that was reached has a tarball, and no node has the image"
    repair = then(CHECK, advice="repair a registry, or push the image again (runbook.md, 7)")
    return joined([then(advice=none), lost or repair])


def _for_the_pin(facts: Facts, in_force: tuple[PinSeen, ...]) -> Next:
    first = in_force[0]
    name = first.pin.target
    target = next((seen for seen in facts.nodes if seen.name == name), None)
    if target is None or target.node is None:
        return then(RESTORE, advice=f"the pin is for {name}, which is no node of the cluster")
    another = "restore, and recover chooses another node"
    if not target.node.ready:
        return then(RESTORE, RECOVER, advice=f"bring {name} back; or {another}")
    # A taint or a label may be what the operator went on with, by --anyway.
    states = [reason for reason in target.unfit if reason.kind is Kind.STATE]
    if states:
        why = f"{name} takes no new pods: {in_words(states)}"
        return then(RESTORE, RECOVER, advice=f"{why}; {another}")
    # The API may not have noticed yet; or it is this machine that does not reach the node.
    if target.host is None:
        return then(
            RESTORE,
            RECOVER,
            advice=f"see whether {name} is up; if it is, run the pipeline, then restore; else "
            f"{another}",
        )
    repairs = []
    if target.fails_to_answer:
        repair = f"recover {name} --anyway" if target.unfit else f"import {name}"
        repairs.append(f"breakglass {repair}")
    if first.joined and len(in_force) == 1:
        repairs.append(f"breakglass pin {name}")
    advice = "run the pipeline, then undo everything"
    if repairs:
        advice = "the last one undoes everything; before it, run the pipeline"
    return then(*repairs, RESTORE, advice=advice)


def _for_the_import(facts: Facts, *, is_over: bool) -> Next:
    """Where a node still has what an import has set up, and no pin is known."""
    failing = next((seen for seen in facts.nodes if seen.fails_to_answer), None)
    imported = next((seen for seen in facts.nodes if seen.answers_pulls), None) or next(
        (seen for seen in facts.nodes if seen.only_keeps), None
    )
    left = failing or imported
    if left is None:
        return NOTHING
    if is_over:
        # With the API server down only nodes that are named are restored.
        target = f" {left.name}" if facts.api else ""
        return then(
            f"{RESTORE}{target}", advice=f"{OVER}, and {left.name} still has what import set up"
        )
    if left is failing and left.unfit:
        return _for_the_unfit(left)
    if left is failing:
        return then(f"breakglass import {left.name}", RESTORE, advice=GO_ON)
    if facts.api:
        state = "serves the image locally" if left.answers_pulls else "keeps the image"
        return then(
            AGAIN,
            advice=(
                f"{left.name} {state}; whether a pin is in force is not known: bring the API "
                f"server back"
            ),
        )
    if left.unfit:
        return _for_the_unfit(left)
    command = "import" if left.holds is False else "pin"
    return then(f"breakglass {command} {left.name}", RESTORE, advice=GO_ON)


def _for_the_unfit(seen: Seen) -> Next:
    """Where import and pin would refuse the node that an import has set up."""
    return then(
        RESTORE,
        RECOVER,
        advice=(
            f"{seen.name} does not fit any more: {in_words(seen.unfit)}; restore, and during an "
            f"outage recover"
        ),
    )


def _for_the_rest(facts: Facts) -> Next:
    api = _for_the_unread((facts.api,)) if facts.api else NOTHING
    others = tuple(unread for unread in facts.unread if unread is not facts.api)
    besides = _for_the_tarballs(facts) or _for_the_unread(others)
    return joined([api, besides]) or then(CHECK, advice="nothing to do; in an outage")


def _for_the_tarballs(facts: Facts) -> Next:
    vm = facts.sources[0]
    if is_stale(facts):
        back = then(advice=f"bring {vm.host} back.") if vm.shelf is None else NOTHING
        return joined([back, SAVE_A_BUILD])
    for source in facts.sources[1:]:
        if lacks := lacking(facts, source):
            verb = "is" if len(lacks) == 1 else "are"
            return then(
                source.host.by_hand("ls", "-l", source.directory),
                advice=f"look at the job that copies from {vm.host} to {source.host}: "
                f"{len(lacks)} newer {verb} not there yet",
            )
    if vm.shelf and vm.shelf.latest_fault:
        fault = f"latest {vm.shelf.latest_fault}; snapshot points it at the newest tarball"
        if not vm.shelf.verified:
            return joined([then(advice=fault), SAVE_A_BUILD])
        return then(f"breakglass snapshot --tag {vm.shelf.verified[0].tag}", advice=fault)
    for source in facts.sources:
        if source.shelf and unverified(source.shelf):
            return then(
                source.host.by_hand("ls", "-l", source.directory),
                advice="see whether the unverified ones are wanted",
            )
    return NOTHING


def _for_the_unread(unread: tuple[Unread, ...]) -> Next:
    first = next((each for each in unread if each.error.next_step), None)
    if first is None:
        return NOTHING
    step = first.error.next_step
    return then(*step.commands, advice=f"{first.name}: {step.advice}" if step.advice else "")
