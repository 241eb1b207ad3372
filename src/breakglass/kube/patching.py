"""Guarded patches of many nodes in parallel: what each answer means, and when to try again."""

import queue
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from breakglass.kube.faults import Fault
from breakglass.plan import ANNOTATION, HOLDS, Mark, PatchNode
from breakglass.ports import Patched, PatchOutcome
from breakglass.shape import fits

Node = dict[str, Any]

THREADS = 16
TRIES = 100
"""Per node, each some milliseconds. Where reading and patching take nearly the 10 ms between two
writes of a writer at 100 Hz, few tries fall into a gap.
"""
LAST_LOOK_SECONDS = 5.0
SILENT_SERVER = "the API server has stopped answering"
_NODE = {
    "metadata": {"annotations": ({ANNOTATION: (str, None), HOLDS: (str, None)}, None)},
    "spec": ({"unschedulable": (bool, None)}, None),
}


class Nodes(Protocol):
    """The two requests. Both raise Fault; neither takes much longer than `seconds`."""

    def read(self, name: str, *, seconds: float) -> Node: ...

    def send(self, name: str, patch: Mapping[str, object], *, seconds: float) -> Node: ...


def patch_all(
    nodes: Nodes,
    steps: Sequence[PatchNode],
    finished: Callable[[Patched], None],
    *,
    quiet_seconds: float,
) -> list[Patched]:
    """Send the patches; one result for each, in the order of the steps.

    Ends when every node has an outcome, or when for `quiet_seconds` none had one that is certain.
    """
    return _Run(nodes, steps, finished, quiet_seconds).results()


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


class _Run:
    """The threads of one patch_all, and what is known so far."""

    def __init__(
        self,
        nodes: Nodes,
        steps: Sequence[PatchNode],
        finished: Callable[[Patched], None],
        quiet_seconds: float,
    ) -> None:
        self._nodes, self._steps, self._finished = nodes, steps, finished
        self._quiet_seconds = quiet_seconds
        self._waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._known: dict[int, Patched] = {}
        self._changed = threading.Condition(threading.RLock())
        self._stopped = threading.Event()
        self._certain_at = time.monotonic()
        self._bug: BaseException | None = None

    def results(self) -> list[Patched]:
        for index in range(len(self._steps)):
            self._waiting.put(index)
        # Daemons: one that hangs in the system's resolver must not keep the command from ending.
        threads = [
            threading.Thread(target=self._work, name=f"patch-{number}", daemon=True)
            for number in range(min(THREADS, len(self._steps)))
        ]
        try:
            for thread in threads:
                thread.start()
            self._wait()
        finally:
            self._stopped.set()
            # Short: after a signal what is in flight may still end well, and is then reported as
            # done.
            end = time.monotonic() + 2.0
            for thread in threads:
                if thread.ident is not None and not self._all_known():
                    thread.join(max(0.0, end - time.monotonic()))
        if self._bug is not None:
            raise self._bug
        for index, step in enumerate(self._steps):
            self._settle(index, Patched(step, PatchOutcome.UNKNOWN, SILENT_SERVER))
        return [self._known[index] for index in range(len(self._steps))]

    def _wait(self) -> None:
        limit = self._quiet_seconds + LAST_LOOK_SECONDS + 1.0
        with self._changed:
            while not self._all_known() and self._bug is None:
                left = self._certain_at + limit - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    def _all_known(self) -> bool:
        return len(self._known) == len(self._steps)

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                index = self._waiting.get_nowait()
                step = self._steps[index]
                if time.monotonic() - self._certain_at >= self._quiet_seconds:
                    patched = Patched(step, PatchOutcome.UNSENT, SILENT_SERVER)
                else:
                    patched = patch_one(
                        self._nodes, step, self._stopped, quiet_seconds=self._quiet_seconds
                    )
                self._settle(index, patched)
        except queue.Empty:
            pass
        except BaseException as error:
            with self._changed:
                self._bug = error
                self._changed.notify_all()

    def _settle(self, index: int, result: Patched) -> None:
        """Record and report the first outcome of a node; a later one, of a thread that was given
        up, does not count.
        """
        with self._changed:
            if index in self._known:
                return
            self._known[index] = result
            if result.outcome not in (PatchOutcome.UNKNOWN, PatchOutcome.UNSENT):
                self._certain_at = time.monotonic()
            self._finished(result)
            self._changed.notify_all()
