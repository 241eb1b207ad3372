"""Guarded patches of many nodes in parallel, with a deadline for a server that falls silent."""

import queue
import threading
import time
from collections.abc import Callable, Sequence

from breakglass.kube.patch import LAST_LOOK_SECONDS, Nodes, patch_one
from breakglass.plan import PatchNode
from breakglass.ports import Patched, PatchOutcome

THREADS = 16
SILENT_SERVER = "the API server has stopped answering"


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
