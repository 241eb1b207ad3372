"""The one line of status that says what to type next. Pure."""

from breakglass.commands.check_advice import STATUS
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

OVER = "every registry serves the image"


def next_step(facts: Facts) -> str:
    """What to type, the most urgent first."""
    if facts.doubt:
        return another_context(facts.cluster)
    in_force, unreadable = pins(facts.nodes)
    judged = verdict(facts)
    is_over = judged.word is Need.NOT_NEEDED
    if in_force and is_over:
        return (
            f"{OVER}; when no pipeline runs on {in_force[0].pin.target} any more: "
            f"breakglass restore"
        )
    if in_force:
        return _for_the_pin(facts, in_force)
    if unreadable:
        return (
            f"breakglass restore (the annotation of {', '.join(unreadable)} cannot be read, it "
            f"gives these back too)"
        )
    if facts.unmarked:
        return (
            f"breakglass restore (a run of breakglass has cordoned {', '.join(facts.unmarked)}, "
            f"and somebody has removed our annotation)"
        )
    of_the_import = _for_the_import(facts, is_over=is_over)
    return of_the_import or (_for_the_rest(facts) if is_over else _for_the_outage(facts, judged))


def _for_the_outage(facts: Facts, judged: Verdict) -> str:
    """Where not every registry serves the image: as `check` says it, and from the nodes too."""
    if judged.commands == (STATUS,):
        return _without_a_source(facts)
    commands = "; then: ".join(judged.commands)
    if judged.advice and commands:
        return f"{judged.advice.rstrip(':')}: {commands}"
    return judged.advice or commands


def _without_a_source(facts: Facts) -> str:
    """No source that was read has a tarball. A node may have one, or the image."""
    fitting = [
        seen
        for seen in facts.nodes
        if seen.node is None or (seen.node.ready and not seen.node.mark.unschedulable)
    ]
    for seen in fitting:
        if seen.shelf and seen.shelf.verified:
            return f"{seen.name} has a tarball: breakglass import {seen.name}"
    for seen in fitting:
        if seen.holds and facts.api is None:
            return f"{seen.name} has the image: breakglass pin {seen.name}"
    lost = _for_the_unread(
        tuple(source.found for source in facts.sources if isinstance(source.found, Unread))
    )
    none = "no source that was reached has a tarball, and no node has the image"
    return f"{none}: {lost or 'repair a registry, or push the image again (runbook.md, 7)'}"


def _for_the_pin(facts: Facts, in_force: tuple[PinSeen, ...]) -> str:
    first = in_force[0]
    name = first.pin.target
    target = next((seen for seen in facts.nodes if seen.name == name), None)
    if target is None or target.node is None:
        return f"breakglass restore (the pin is for {name}, which is no node of the cluster)"
    another = "breakglass restore, then breakglass recover, which chooses another node"
    if not target.node.ready:
        return f"bring {name} back; or {another}"
    # A taint or a label may be what the operator went on with, by --anyway.
    states = [reason for reason in target.unfit if reason.kind is Kind.STATE]
    if states:
        return f"{another} ({name} takes no new pods: {in_words(states)})"
    # The API may not have noticed yet; or it is this machine that does not reach the node.
    if target.host is None:
        return (
            f"see whether {name} is up; if it is: run the pipeline, then: breakglass restore; "
            f"else: {another}"
        )
    repairs = ""
    if target.fails_to_answer:
        repair = f"recover {name} --anyway" if target.unfit else f"import {name}"
        repairs += f"breakglass {repair}; "
    if first.joined and len(in_force) == 1:
        repairs += f"breakglass pin {name}; "
    return f"{repairs}run the pipeline; then: breakglass restore"


def _for_the_import(facts: Facts, *, is_over: bool) -> str:
    """Where a node still has what an import has set up, and no pin is known."""
    failing = next((seen for seen in facts.nodes if seen.fails_to_answer), None)
    imported = next((seen for seen in facts.nodes if seen.answers_pulls), None) or next(
        (seen for seen in facts.nodes if seen.only_keeps), None
    )
    left = failing or imported
    if left is None:
        return ""
    if is_over:
        # With the API server down only nodes that are named are restored.
        target = f" {left.name}" if facts.api else ""
        return f"{OVER}, and {left.name} still has what import set up: breakglass restore{target}"
    if left is failing and left.unfit:
        return _for_the_unfit(left)
    if left is failing:
        return f"breakglass import {left.name}; or, when the outage is over: breakglass restore"
    if facts.api:
        state = "serves the image locally" if left.answers_pulls else "keeps the image"
        return (
            f"bring the API server back, then: breakglass status ({left.name} {state}; "
            f"whether a pin is in force is not known)"
        )
    if left.unfit:
        return _for_the_unfit(left)
    command = "import" if left.holds is False else "pin"
    return f"breakglass {command} {left.name}; or, when the outage is over: breakglass restore"


def _for_the_unfit(seen: Seen) -> str:
    """Where import and pin would refuse the node that an import has set up."""
    return (
        f"breakglass restore ({seen.name} does not fit any more: {in_words(seen.unfit)}); during "
        f"an outage then: breakglass recover"
    )


def _for_the_rest(facts: Facts) -> str:
    api = _for_the_unread((facts.api,)) if facts.api else ""
    others = tuple(unread for unread in facts.unread if unread is not facts.api)
    besides = _for_the_tarballs(facts) or _for_the_unread(others)
    sentences = [sentence for sentence in (api, besides) if sentence]
    return "; ".join(sentences) or "nothing to do; in an outage: breakglass check"


def _for_the_tarballs(facts: Facts) -> str:
    vm = facts.sources[0]
    if is_stale(facts):
        return (
            f"{f'bring {vm.host} back, then: ' if vm.shelf is None else ''}breakglass snapshot "
            f"--tag TAG"
        )
    for source in facts.sources[1:]:
        if lacks := lacking(facts, source):
            return (
                f"look at the job that copies from {vm.host} to {source.host}: {len(lacks)} "
                f"newer {'is' if len(lacks) == 1 else 'are'} not there yet"
            )
    if vm.shelf and vm.shelf.latest_fault:
        return f"breakglass snapshot --tag TAG re-points latest, which {vm.shelf.latest_fault}"
    for source in facts.sources:
        if source.shelf and unverified(source.shelf):
            return (
                f"see whether the unverified ones are wanted: "
                f"{source.host.by_hand('ls', '-l', source.directory)}"
            )
    return ""


def _for_the_unread(unread: tuple[Unread, ...]) -> str:
    first = next((each for each in unread if each.error.next_step), None)
    return f"{first.name}: {first.error.next_step}" if first else ""
