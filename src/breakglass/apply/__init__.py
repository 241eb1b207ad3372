"""The only module that changes anything: it walks a plan, announces each step before it starts, and
stops at the first failure.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import groupby

from breakglass.apply.compared import compare
from breakglass.apply.failures import Explain, check_copy, check_run, combined, confirm
from breakglass.apply.patches import send_claim, send_patches
from breakglass.apply.reports import Reports
from breakglass.apply.signing import sign
from breakglass.apply.unchanged import check_after_lock, check_before_patches, host_of
from breakglass.errors import RUN_AGAIN, BreakglassError, Failed, bug_at
from breakglass.plan import Compare, Confirm, Copy, Host, Lock, PatchNode, Plan, Run, Sign, Step
from breakglass.ports import Held, Writes, WritesCluster, said


def apply(
    plan: Plan,
    *,
    hosts: Writes,
    cluster: WritesCluster,
    reports: Reports,
    plan_again: Callable[[], Plan],
    explain: Explain,
) -> None:
    """Do the plan. `plan_again` reads and plans anew: under the lock, or where there is none before
    the first step, the plan must still be the one that was shown.

    Raises what the first failed step means.
    """
    with ExitStack() as locks:
        _Walk(plan, hosts, cluster, reports, plan_again, explain, locks).walk()


class _Walk:
    """A plan that is being done: the locks that are held for it, and what has failed so far."""

    def __init__(
        self,
        plan: Plan,
        hosts: Writes,
        cluster: WritesCluster,
        reports: Reports,
        plan_again: Callable[[], Plan],
        explain: Explain,
        locks: ExitStack,
    ) -> None:
        self._plan, self._hosts, self._cluster = plan, hosts, cluster
        self._reports, self._plan_again, self._explain = reports, plan_again, explain
        self._locks = locks
        self._held: list[tuple[Host, Held]] = []
        self._errors: list[BreakglassError] = []
        """Of an independent plan, for its end."""
        self._failed: set[Host] = set()

    def walk(self) -> None:
        may_patch = self._may_patch()
        index = 0
        for is_patch, group in groupby(
            self._plan.steps, key=lambda step: isinstance(step, PatchNode)
        ):
            steps = tuple(group)
            if not is_patch:
                for offset, step in enumerate(steps):
                    self._step(index + offset, step)
            elif may_patch:
                self._patch(
                    [
                        (number, step)
                        for number, step in enumerate(steps, index)
                        if isinstance(step, PatchNode) and step.needs not in self._failed
                    ]
                )
            index += len(steps)
        if self._errors:
            raise combined(self._errors)

    def _may_patch(self) -> bool:
        """Whether the nodes are as they were when the plan was made. Patches have no lock."""
        plan = self._plan
        if not any(isinstance(step, PatchNode) for step in plan.steps):
            return False
        try:
            check_before_patches(plan, self._plan_again())
        except BreakglassError as error:
            if not plan.independent:
                raise
            self._errors.append(error)
            return False
        return True

    def _patch(self, steps: list[tuple[int, PatchNode]]) -> None:
        try:
            if steps and steps[0][1].is_claim:
                send_claim(*steps.pop(0), self._cluster, self._reports)
            send_patches(steps, self._cluster, self._reports)
        except BreakglassError as error:
            if not self._plan.independent:
                raise
            self._errors.append(error)
        except Exception as bug:
            if not self._plan.independent:
                raise
            self._errors.append(bug_at("the API", bug))

    def _step(self, index: int, step: Step) -> None:
        """Do a step, unless its host has failed; where it fails, undo what has begun."""
        host = host_of(step)
        if host in self._failed:
            return
        try:
            self._do(index, step)
            if isinstance(step, Lock):
                check_after_lock(self._plan, self._plan_again(), step)
        except BreakglassError as error:
            if self._plan.independent and host is not None:
                self._errors.append(error)
                self._failed.add(host)
                return
            undone, signalled = self._undo(index)
            if signalled is not None:
                signalled.add_note(f"Before that: {error.message}. {undone}")
                raise signalled from error
            raise error.replaced(state=f"{error.state} {undone}".strip()) from error.__cause__
        except KeyboardInterrupt as signalled:
            signalled.add_note(self._undo(index)[0])
            raise
        except Exception as bug:
            if not self._plan.independent or host is None:
                raise
            self._errors.append(bug_at(str(host), bug))
            self._failed.add(host)

    def _do(self, index: int, step: Step) -> None:
        self._check_locks(host_of(step) if self._plan.independent else None)
        self._reports.started(index, step)
        started = time.monotonic()
        ok = False
        try:
            self._execute(step)
            ok = True
        finally:
            self._reports.ended(index, step, ok=ok, seconds=time.monotonic() - started)

    def _execute(self, step: Step) -> None:
        hosts, reports = self._hosts, self._reports
        if isinstance(step, Lock):
            self._held.append((step.host, self._locks.enter_context(hosts.hold(step))))
        elif isinstance(step, Confirm):
            confirm(step, hosts)
        elif isinstance(step, Compare):
            compare(step, hosts)
        elif isinstance(step, Copy):
            # A copy is counted as it passes through this machine, so from the resumed bytes on.
            resumed = step.resumed_bytes
            check_copy(step, *hosts.copy(step, lambda done: reports.progress(resumed + done)))
        elif isinstance(step, Sign):
            sign(step, hosts, self._explain)
        elif isinstance(step, Run):
            check_run(step, hosts.run(step, reports.progress), self._explain)

    def _check_locks(self, own: Host | None) -> None:
        """`own`: only this host's lock matters."""
        for host, _ in self._held:
            if own in (None, host) and self._lost_lock(host):
                raise Failed(
                    f"{host}: the lock was lost: the connection broke, or this machine or the "
                    f"host hung for a minute",
                    next_step=RUN_AGAIN,
                    where=host.name,
                )

    def _lost_lock(self, host: Host) -> bool:
        return any(lock.lost() for holder, lock in self._held if holder == host)

    def _undo(self, failed: int) -> tuple[str, KeyboardInterrupt | None]:
        """Undo what has begun, up to the step `failed`; says whether that worked, and which signal
        came meanwhile. The caller's error stays the error of the plan.

        Nothing is undone on a host whose lock was lost: another run may have confirmed since then
        what this would take away. Every prefix of a plan is safe, so it can stay.
        """
        plan = self._plan
        is_settled = plan.settled is not None and failed >= plan.settled
        begun = () if is_settled else plan.steps[: failed + 1]
        outcome, left, signalled = "", "", None
        for step, undoing in plan.undo:
            if step not in begun:
                continue
            if self._lost_lock(undoing.host):
                left = _not_undone(undoing.host)
                continue
            fault, signal = self._undo_step(undoing)
            signalled = signal or signalled
            if fault:
                return f"Undoing failed, at {undoing}: {fault}.", signalled
            outcome = "What had begun was undone."
        return f"{outcome} {left}".strip(), signalled

    def _undo_step(self, undoing: Run) -> tuple[str, KeyboardInterrupt | None]:
        """Why it failed, or nothing; and the signal that came meanwhile. After a signal the step is
        tried once more: a second signal ends the process, so only the first is seen here.
        """
        self._reports.undoing(undoing)
        signalled = None
        for _ in range(2):
            try:
                result = self._hosts.run(undoing, _silent)
            except BreakglassError as error:
                return error.message, signalled
            except KeyboardInterrupt as signal:
                signalled = signal
            else:
                return "" if result.ok else said(result), signalled
        return "a signal came", signalled


def _not_undone(host: Host) -> str:
    return (
        f"The lock of {host} was lost, so nothing was undone there: another run may have changed "
        f"it since."
    )


def _silent(_: int) -> None:
    return
