"""Sends the patches of a plan, and says what it means where some of them failed."""

import time
from collections.abc import Sequence

from breakglass.apply.reports import Reports
from breakglass.errors import Failed, Unreachable
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
    first_index: int, steps: Sequence[PatchNode], cluster: WritesCluster, reports: Reports
) -> None:
    """Send all patches at once; each is reported as started before the first is sent.

    Raises Unreachable where no node can have been patched, else Failed.
    """
    started = time.monotonic()
    index_of_node = {step.node: first_index + offset for offset, step in enumerate(steps)}
    for step in steps:
        reports.started(index_of_node[step.node], step)

    def finished(patched: Patched) -> None:
        seconds = time.monotonic() - started
        index = index_of_node[patched.step.node]
        reports.ended(index, patched.step, ok=patched.ok, seconds=seconds)

    outcomes = cluster.patch(steps, finished)
    failures = [patched for patched in outcomes if not patched.ok]
    if failures:
        raise _failure(failures, len(outcomes))


def _failure(failures: Sequence[Patched], count: int) -> Failed | Unreachable:
    sentences = [_sentence(patched) for patched in failures[:SHOWN_FAILURES]]
    hidden = len(failures) - SHOWN_FAILURES
    listed = "; ".join(sentences) + (f" and {hidden} more" if hidden > 0 else "")
    outcomes = {patched.outcome for patched in failures}
    if len(failures) < count or not outcomes <= {PatchOutcome.REFUSED, PatchOutcome.UNSENT}:
        return Failed(
            f"{len(failures)} of {count} nodes were not patched: {listed}",
            next_step=(
                "run the same command again; breakglass restore undoes whatever carries our "
                "annotation"
            ),
        )
    next_step = "run the same command again when the API answers"
    if PatchOutcome.REFUSED in outcomes:
        next_step = "bind the ClusterRole in docs/security.md to this identity"
    return Unreachable(f"no node was patched: {listed}", next_step=next_step)


def _sentence(patched: Patched) -> str:
    sentence = f"{patched.step.node}: {_OUTCOMES[patched.outcome]}"
    return f"{sentence}: {patched.why}" if patched.why else sentence
