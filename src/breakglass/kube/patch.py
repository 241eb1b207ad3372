"""One guarded patch of one node: what each answer means, and when to try again."""

import random
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

from breakglass.kube.faults import Fault
from breakglass.marks import ANNOTATION, HOLDS, Mark
from breakglass.plan import PatchNode
from breakglass.ports import Patched, PatchOutcome
from breakglass.shape import fits

Node = dict[str, Any]

TRIES = 100
"""Each takes some milliseconds. Where reading and patching take nearly the 10 ms between two writes
of a writer at 100 Hz, few tries fall into a gap.
"""
LAST_LOOK_SECONDS = 5.0
_NODE = {
    "metadata": {"annotations": ({ANNOTATION: (str, None), HOLDS: (str, None)}, None)},
    "spec": ({"unschedulable": (bool, None)}, None),
}


class Nodes(Protocol):
    """The two requests. Both raise Fault; neither takes much longer than `seconds`."""

    def read(self, name: str, *, seconds: float) -> Node: ...

    def send(self, name: str, patch: Mapping[str, object], *, seconds: float) -> Node: ...


def patch_one(
    nodes: Nodes, step: PatchNode, stopped: threading.Event, *, quiet_seconds: float
) -> Patched:
    """Bring one node from `before` to `after`; in doubt read it again, and let it be if somebody
    else has changed it.
    """
    end = time.monotonic() + quiet_seconds
    version = step.resource_version
    pause = 0.1
    doubt = ""
    failure = Fault("not sent", unsent=True)
    for _ in range(TRIES):
        if stopped.is_set() or time.monotonic() >= end:
            break
        was_sent = False
        try:
            if not version:
                node = nodes.read(step.node, seconds=end - time.monotonic())
                if judged := _judge(step, mark_of(node)):
                    return judged
                version = str(node["metadata"].get("resourceVersion") or "")
            was_sent = True
            return _send(nodes, step, version, seconds=max(0.1, end - time.monotonic()))
        except Fault as fault:
            failure, version = fault, ""
        if failure.status == 409:
            # At once: a busy writer leaves only short gaps.
            stopped.wait(random.uniform(0.001, 0.01))
            continue
        if failure.status == 404 or failure.declined:
            break
        if was_sent and not failure.unsent:
            doubt = failure.why
        stopped.wait(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, 2.0)
    if doubt and failure.status != 404:
        return _last_look(nodes, step, doubt)
    return _given_up(step, failure)


def mark_of(node: Node) -> Mark:
    """What a Node object says of us and of cordoning. Raises Fault for what is none."""
    if not fits(node, _NODE):
        raise Fault("the API server answered with something else than the node")
    metadata, spec = node.get("metadata") or {}, node.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    return Mark(
        unschedulable=spec.get("unschedulable") is True,
        annotation=annotations.get(ANNOTATION),
        holds=annotations.get(HOLDS),
    )


def _send(nodes: Nodes, step: PatchNode, version: str, *, seconds: float) -> Patched:
    node = nodes.send(step.node, _guarded(step, version), seconds=seconds)
    if mark_of(node) != step.after:
        raise Fault("the API server accepted the patch but returned the node without it")
    return Patched(step, PatchOutcome.DONE)


def _given_up(step: PatchNode, failure: Fault) -> Patched:
    """What the last fault means, where no patch can have arrived."""
    if failure.status == 404:
        return Patched(step, PatchOutcome.GONE, failure.why)
    if failure.status == 409:
        return Patched(
            step,
            PatchOutcome.CHANGED,
            "somebody else keeps changing the node, every try met a newer version; it was left as "
            "it was",
        )
    outcome = PatchOutcome.REFUSED if failure.declined else PatchOutcome.UNSENT
    return Patched(step, outcome, failure.why)


def _last_look(nodes: Nodes, step: PatchNode, doubt: str) -> Patched:
    try:
        judged = _judge(step, mark_of(nodes.read(step.node, seconds=LAST_LOOK_SECONDS)))
    except Fault as fault:
        if fault.status == 404:
            return Patched(step, PatchOutcome.GONE, fault.why)
        why = f"{doubt}; and it could not be read again: {fault.why}"
        return Patched(step, PatchOutcome.UNKNOWN, why)
    if judged:
        return judged
    # Read as before proves nothing here: the last patch may still be on its way.
    why = f"{doubt}; when last read, the node was as before"
    return Patched(step, PatchOutcome.UNKNOWN, why)


def _judge(step: PatchNode, now: Mark) -> Patched | None:
    """The outcome that a re-read node proves; None: it is as before, the patch may be sent."""
    if now == step.after:
        return Patched(step, PatchOutcome.DONE)
    if now == step.before:
        return None
    differences = []
    if now.unschedulable != step.before.unschedulable:
        differences.append("cordoned it" if now.unschedulable else "uncordoned it")
    for name, before, after in (
        (ANNOTATION, step.before.annotation, now.annotation),
        (HOLDS, step.before.holds, now.holds),
    ):
        if before != after:
            verb = "set" if before is None else "removed" if after is None else "changed"
            differences.append(f"{verb} its annotation {name}")
    return Patched(
        step, PatchOutcome.CHANGED, f"somebody else {' and '.join(differences)} meanwhile", now
    )


def _guarded(step: PatchNode, version: str) -> Mapping[str, object]:
    patch = dict(step.body())
    metadata = patch["metadata"]
    assert isinstance(metadata, dict)
    return patch | {"metadata": metadata | {"resourceVersion": version}}
