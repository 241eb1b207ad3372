"""The only module that changes anything: it walks a plan, announces each step before it starts, and
stops at the first failure.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import groupby
from typing import Protocol

from breakglass.errors import (
    BY_EXIT_CODE,
    BreakglassError,
    Busy,
    Failed,
    Integrity,
    Unreachable,
    worst,
)
from breakglass.observe.containerd import Ctr, read_image_id, read_targets, read_unpacked
from breakglass.plan import Confirm, Copy, Host, Lock, PatchNode, Plan, Run, Step
from breakglass.ports import Held, Patched, PatchOutcome, Reads, Result, Writes, WritesCluster, said
from breakglass.text import inert

Explain = Callable[[Step, Result], BreakglassError | None]
"""What a failed step means, where the command knows better than its exit status."""


class Reports(Protocol):
    """Who is told how far the plan is."""

    def started(self, index: int, step: Step) -> None: ...

    def progress(self, done_bytes: int) -> None: ...

    def ended(self, index: int, step: Step, *, ok: bool, seconds: float) -> None: ...

    def undoing(self, step: Step) -> None: ...


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
    errors: list[BreakglassError] = []
    failed: set[Host] = set()
    may_patch = True
    if any(isinstance(step, PatchNode) for step in plan.steps):
        try:
            _check_unchanged(
                *(
                    _lines(
                        step
                        for step in one.steps
                        if not plan.independent or isinstance(step, PatchNode)
                    )
                    for one in (plan, plan_again())
                )
            )
        except BreakglassError as error:
            if not plan.independent:
                raise
            errors.append(error)
            may_patch = False
    with ExitStack() as locks:
        held: list[tuple[Host, Held]] = []
        index = 0
        for is_patch, group in groupby(plan.steps, key=lambda step: isinstance(step, PatchNode)):
            batch = list(group)
            try:
                if is_patch and may_patch:
                    _patch(
                        index,
                        [step for step in batch if isinstance(step, PatchNode)],
                        cluster,
                        reports,
                    )
            except BreakglassError as error:
                if not plan.independent:
                    raise
                errors.append(error)
            for offset, step in enumerate(() if is_patch else batch):
                host = _host(step)
                if host in failed:
                    continue
                try:
                    _do(
                        index + offset,
                        step,
                        hosts,
                        reports,
                        explain,
                        locks,
                        held,
                        own=host if plan.independent else None,
                    )
                    if isinstance(step, Lock):
                        _check_unchanged(_after_lock(plan, step), _after_lock(plan_again(), step))
                except BreakglassError as error:
                    if not plan.independent or host is None:
                        told, signalled = _undo(plan, index + offset, hosts, reports)
                        if signalled is not None:
                            signalled.add_note(f"Before that: {error.message}. {told}")
                            raise signalled from error
                        raise error.replaced(
                            state=f"{error.state} {told}".strip()
                        ) from error.__cause__
                    errors.append(error)
                    failed.add(host)
                except KeyboardInterrupt as signalled:
                    signalled.add_note(_undo(plan, index + offset, hosts, reports)[0])
                    raise
            index += len(batch)
    if errors:
        raise _all_of(errors)


def _do(
    index: int,
    step: Step,
    hosts: Writes,
    reports: Reports,
    explain: Explain,
    locks: ExitStack,
    held: list[tuple[Host, Held]],
    *,
    own: Host | None,
) -> None:
    """`own`: only this host's lock matters."""
    lost = next((host for host, lock in held if own in (None, host) and lock.lost()), None)
    if lost is not None:
        raise Failed(
            f"{lost}: the lock was lost: the connection broke, or the host hung for 60 seconds",
            next_step="run the same command again",
        )
    reports.started(index, step)
    started = time.monotonic()
    try:
        if isinstance(step, Lock):
            held.append((step.host, locks.enter_context(hosts.hold(step))))
        elif isinstance(step, Confirm):
            _confirm(step, hosts)
        elif isinstance(step, Copy):
            # A copy is counted as it passes through this machine, so from the resumed bytes on.
            resumed = step.resumed_bytes
            _judge_copy(step, *hosts.copy(step, lambda done: reports.progress(resumed + done)))
        elif isinstance(step, Run):
            _judge(step, hosts.run(step, reports.progress), explain)
    except BaseException:
        reports.ended(index, step, ok=False, seconds=time.monotonic() - started)
        raise
    reports.ended(index, step, ok=True, seconds=time.monotonic() - started)


def _judge(step: Run, ended: Result, explain: Explain) -> None:
    if ended.ok:
        return
    raise explain(step, ended) or _meaning(step, ended)


def _judge_copy(step: Copy, source: Result, sink: Result) -> None:
    if sink.exit_status not in (0, None) and source.exit_status in (0, None):
        error = _meaning(step.sink, sink)
        cause = f" ({step.source.host}: {source.lost})" if source.lost else ""
        raise error.replaced(message=error.message + cause)
    if not source.ok:
        raise Failed(
            f"the copy from {step.source.host} broke off: {said(source)}",
            next_step="run the same command again: it goes on where this one stopped",
        )
    if not sink.ok:
        raise _meaning(step.sink, sink)


def _meaning(step: Run, ended: Result) -> BreakglassError:
    """Our own scripts exit with the codes of the table and say one sentence; of any other command
    only its words are known.
    """
    full = b"no space left" in ended.stderr.lower()
    make_room = f"make room: {step.host.by_hand('df', '-h')}; then the same command again"
    if step.is_script and ended.exit_status in BY_EXIT_CODE and ended.exit_status != 2:
        others, _, sentence = ended.stderr.strip().rpartition(b"\n")
        words = inert(sentence) + (f" ({inert(others)})" if others.strip() else "")
        next_step = make_room if full or b"no room" in sentence else "run the same command again"
        if ended.exit_status == Integrity.exit_code and step.repair:
            next_step = step.repair
        return BY_EXIT_CODE[ended.exit_status](f"{step.host}: {words}", next_step=next_step)
    if ended.exit_status is None:
        return Failed(
            f"{step.host}: the outcome of this step is not known: {said(ended)}: {step}",
            next_step=(
                "run the same command again: it reads the state first and does only what is missing"
            ),
        )
    return Failed(
        f"{step.host}: this failed with {said(ended)}: {step}",
        next_step=make_room
        if full
        else "run the same command again, or type the line by hand to see more",
    )


def _confirm(step: Confirm, hosts: Reads) -> None:
    ctr = Ctr(step.ctr, step.namespace)
    target = read_targets(hosts, step.host, ctr).get(step.reference)
    if target is None:
        raise Failed(
            f"{step.host}: containerd took the archive, but {step.reference} is not there",
            next_step="run the same command again",
        )
    image_id = read_image_id(hosts, step.host, ctr, target, step.architecture)
    if image_id != step.image_id:
        raise Integrity(
            (
                f"{step.host}: {step.reference} is image ID "
                f"{image_id or 'unknown (its content is not whole)'}, recorded is {step.image_id}"
            ),
            next_step=(
                f"run: breakglass fetch {step.host}, then breakglass import {step.host}; where "
                f"that does not help, breakglass import --tag TAG with an older one"
            ),
        )
    if step.reference not in read_unpacked(hosts, step.host, ctr, (step.reference,)):
        raise Integrity(
            (
                f"{step.host}: {step.reference} is the recorded image, but containerd has not "
                f"unpacked it whole"
            ),
            next_step=(
                f"look at it with: "
                f"{step.host.by_hand(*ctr.line('images', 'check', f'name=={step.reference}'))}; "
                f"then the same command again"
            ),
        )


def _all_of(errors: list[BreakglassError]) -> BreakglassError:
    """The one that decides the exit code, with the words of all."""
    messages = [worst(errors).message, *(error.message for error in errors)]
    next_steps = [
        *(error.next_step for error in errors if error.next_step),
        "then the same command again: it does only what is missing",
    ]
    return worst(
        errors,
        message="; ".join(dict.fromkeys(messages)),
        next_step="; ".join(dict.fromkeys(next_steps)),
    )


def _host(step: Step) -> Host | None:
    return step.host if isinstance(step, Run | Lock | Confirm) else None


def _check_unchanged(planned: list[str], again: list[str]) -> None:
    if planned != again:
        raise Busy(
            "things have changed since they were read: another run, or somebody by hand",
            state="Nothing was changed by this run.",
            next_step="run the same command again",
        )


def _lines(steps: Iterable[Step]) -> list[str]:
    return [str(step) for step in steps]


def _after_lock(plan: Plan, lock: Lock) -> list[str]:
    """What is done under a lock: all behind it, or, where no host waits for another, that of its
    host.
    """
    at = plan.steps.index(lock) if lock in plan.steps else len(plan.steps)
    return _lines(
        step for step in plan.steps[at + 1 :] if not plan.independent or _host(step) == lock.host
    )


def _undo(
    plan: Plan, failed: int, hosts: Writes, reports: Reports
) -> tuple[str, KeyboardInterrupt | None]:
    """Undoes what had begun, to its end whatever signal comes meanwhile; says whether it could.
    What made it necessary stays the error.
    """
    begun = () if plan.settled is not None and failed >= plan.settled else plan.steps[: failed + 1]
    undone, signalled = "", None
    for step, undoing in plan.undo:
        if step not in begun:
            continue
        reports.undoing(undoing)
        said_no = "a signal came"
        for _ in range(2):  # only the first signal gets here, a second one ends the process
            try:
                ended = hosts.run(undoing, _silent)
                said_no = "" if ended.ok else said(ended)
            except BreakglassError as second:
                said_no = second.message
            except KeyboardInterrupt as signal:
                signalled = signal
                continue
            break
        if said_no:
            return f"Putting things back failed, at {undoing}: {said_no}.", signalled
        undone = "What had begun was put back."
    return undone, signalled


def _patch(index: int, steps: list[PatchNode], cluster: WritesCluster, reports: Reports) -> None:
    """All at once; every one is announced before the first is sent."""
    started = time.monotonic()
    at = {step.node: index + offset for offset, step in enumerate(steps)}
    for step in steps:
        reports.started(at[step.node], step)

    def finished(patched: Patched) -> None:
        seconds = time.monotonic() - started
        reports.ended(at[patched.step.node], patched.step, ok=patched.ok, seconds=seconds)

    outcomes = cluster.patch(steps, finished)
    wrong = [patched for patched in outcomes if not patched.ok]
    if not wrong:
        return
    told = "; ".join(
        (
            f"{patched.step.node}: "
            f"{_OUTCOMES[patched.outcome]}{': ' + patched.why if patched.why else ''}"
        )
        for patched in wrong[:5]
    )
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    next_step = (
        "run the same command again; breakglass restore gives back whatever carries our annotation"
    )
    if len(wrong) == len(outcomes) and all(
        patched.outcome in (PatchOutcome.REFUSED, PatchOutcome.UNSENT) for patched in wrong
    ):
        refused = any(patched.outcome is PatchOutcome.REFUSED for patched in wrong)
        raise Unreachable(
            f"no node was patched: {told}{more}",
            next_step="bind the ClusterRole in docs/security.md to this identity"
            if refused
            else "run the same command again when the API answers",
        )
    raise Failed(
        f"{len(wrong)} of {len(outcomes)} nodes were not patched: {told}{more}", next_step=next_step
    )


_OUTCOMES = {
    PatchOutcome.CHANGED: "somebody else changed it meanwhile, it was left alone",
    PatchOutcome.REFUSED: "the API refused",
    PatchOutcome.UNSENT: "not sent",
    PatchOutcome.UNKNOWN: "it is not known whether it was patched",
}


def _silent(_: int) -> None:
    return
