"""The writers that `apply` gets: each change is in the journal, before it begins and after it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from breakglass.cli.journal import Journal
from breakglass.errors import BreakglassError
from breakglass.plan import Argv, Copy, Host, Lock, PatchNode, Run, Sign
from breakglass.ports import Held, Patched, Progress, Result, Writes, WritesCluster

T = TypeVar("T")


class JournaledHosts:
    """Changes hosts, and writes each change into the journal. Implements ports.Writes."""

    def __init__(self, hosts: Writes, journal: Journal) -> None:
        self._hosts, self._journal = hosts, journal

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:
        return self._hosts.ask(host, *pipeline, quiet_seconds=quiet_seconds)

    def hold(self, step: Lock) -> AbstractContextManager[Held]:
        return self._hosts.hold(step)

    def run(self, step: Run, progress: Progress) -> Result:
        return self._change(step, lambda: self._hosts.run(step, progress), lambda result: (result,))

    def copy(self, step: Copy, progress: Progress) -> tuple[Result, Result]:
        return self._change(step, lambda: self._hosts.copy(step, progress), lambda results: results)

    def sign(self, step: Sign, record: bytes) -> Result:
        return self._change(step, lambda: self._hosts.sign(step, record), lambda result: (result,))

    def _change(
        self, step: Run | Copy | Sign, do: Callable[[], T], results: Callable[[T], Sequence[Result]]
    ) -> T:
        outcome = "unknown"
        self._journal.begin(step)
        try:
            ended = do()
            statuses = [result.exit_status for result in results(ended)]
            outcome = "failed" if any(statuses) else "unknown" if None in statuses else "done"
        except BreakglassError:
            outcome = "failed"
            raise
        finally:
            self._journal.close(step, outcome)
        return ended


class JournaledCluster:
    """Changes Node objects, and writes each change into the journal. Implements
    ports.WritesCluster.
    """

    def __init__(self, cluster: WritesCluster, journal: Journal) -> None:
        self._cluster, self._journal = cluster, journal

    def nodes(self) -> list[dict[str, Any]]:
        return self._cluster.nodes()

    def pods(self) -> list[dict[str, Any]]:
        return self._cluster.pods()

    def volumes(self) -> list[dict[str, Any]]:
        return self._cluster.volumes()

    def patch(
        self, steps: Sequence[PatchNode], finished: Callable[[Patched], None]
    ) -> list[Patched]:
        def close(patched: Patched) -> None:
            self._journal.close(
                patched.step,
                {"done": "done", "gone": "done", "unknown": "unknown"}.get(
                    patched.outcome, "failed"
                ),
            )
            finished(patched)

        for step in steps:
            self._journal.begin(step)
        try:
            return self._cluster.patch(steps, close)
        finally:
            for step in steps:
                self._journal.close(step, "unknown")
