"""Sends the patches of a plan, and says what it means where some of them failed."""

import time
from collections.abc import Sequence

from breakglass.apply.reports import Reports
from breakglass.cluster_name import BIND_THE_ROLE
from breakglass.errors import AGAIN, Busy, Failed, Refused, Unreachable, then
from breakglass.observe.pins import pins_of
from breakglass.plan import PatchNode
from breakglass.ports import Patched, PatchOutcome, WritesCluster

SHOWN_FAILURES = 5
_OUTCOMES = {
    PatchOutcome.CHANGED: "somebody else changed it meanwhile, it was left alone",
    PatchOutcome.REFUSED: "the API refused",
    PatchOutcome.UNSENT: "not sent",
    PatchOutcome.UNKNOWN: "it is not known whether it was patched",
}


def send_patches(
    steps: Sequence[tuple[int, PatchNode]], cluster: WritesCluster, reports: Reports
) -> None:
    """Send all patches, each with its number in the plan, at once; each is reported as started
    before the first is sent.

    Raises Unreachable where no node can have been patched, else Failed.
    """
    started = time.monotonic()
    index_of_node = {step.node: index for index, step in steps}
    for index, step in steps:
        reports.started(index, step)

    def finished(patched: Patched) -> None:
        seconds = time.monotonic() - started
        index = index_of_node[patched.step.node]
        reports.ended(index, patched.step, ok=patched.ok, seconds=seconds)

    outcomes = cluster.patch([step for _, step in steps], finished)
    failures = [patched for patched in outcomes if not patched.ok]
    if failures:
        raise _failure(failures, len(outcomes))


def send_claim(index: int, step: PatchNode, cluster: WritesCluster, reports: Reports) -> None:
    """Send the patch that decides between two runs at the same time.

    Raises Busy where another one was faster: then nothing was changed.
    """
    started = time.monotonic()
    reports.started(index, step)

    def finished(patched: Patched) -> None:
        won = patched.outcome is PatchOutcome.DONE
        reports.ended(index, patched.step, ok=won, seconds=time.monotonic() - started)

    (patched,) = cluster.patch((step,), finished)
    if patched.outcome in (PatchOutcome.CHANGED, PatchOutcome.GONE):
        raise Busy(
            f"{_winner(patched)} at the same time, and was faster",
            state="Nothing was changed by this run.",
            next_step=then("breakglass status"),
        )
    if not patched.ok:
        raise _failure([patched], 1)


def _winner(patched: Patched) -> str:
    """Who else changed the node, as far as its annotations say."""
    try:
        pins = pins_of(patched.now) if patched.now else ()
    except Refused:
        pins = ()
    if not pins:
        return f"somebody else changed {patched.step.node} ({patched.why})"
    pin = pins[0]
    reason = f", reason: {pin.reason}" if pin.reason else ""
    return f"another pin began (target {pin.target}, by {pin.by} at {pin.at}{reason})"


def _failure(failures: Sequence[Patched], count: int) -> Failed | Unreachable:
    sentences = [_sentence(patched) for patched in failures[:SHOWN_FAILURES]]
    hidden = len(failures) - SHOWN_FAILURES
    listed = "; ".join(sentences) + (f" and {hidden} more" if hidden > 0 else "")
    outcomes = {patched.outcome for patched in failures}
    if len(failures) < count or not outcomes <= {PatchOutcome.REFUSED, PatchOutcome.UNSENT}:
        return Failed(
            f"{len(failures)} of {count} nodes were not patched: {listed}",
            next_step=then(
                AGAIN,
                "breakglass restore",
                advice="do the rest, or undo whatever carries our annotation",
            ),
        )
    next_step = then(AGAIN, advice="when the API answers")
    if PatchOutcome.REFUSED in outcomes:
        next_step = BIND_THE_ROLE
    return Unreachable(f"no node was patched: {listed}", next_step=next_step)


def _sentence(patched: Patched) -> str:
    sentence = f"{patched.step.node}: {_OUTCOMES[patched.outcome]}"
    return f"{sentence}: {patched.why}" if patched.why else sentence
