"""What the result of a step means: nothing, or the error that ends the plan."""

from collections.abc import Callable, Sequence

from breakglass.errors import (
    BY_EXIT_CODE,
    RUN_AGAIN,
    BreakglassError,
    Failed,
    Integrity,
    Next,
    Usage,
    joined,
    look_first,
    then,
    worst,
)
from breakglass.observe.containerd import Ctr, read_checks, read_image_id, read_targets
from breakglass.observe.containerd_config import Unpacking
from breakglass.plan import Confirm, Copy, Host, Run, Step
from breakglass.ports import NO_ROOM, Reads, Result, said
from breakglass.text import inert

Explain = Callable[[Step, Result], BreakglassError | None]
"""What a failed step means, where the command knows better than its exit status."""


def check_run(step: Run, result: Result, explain: Explain) -> None:
    if not result.ok:
        raise explain(step, result) or _meaning(step, result)


def check_copy(step: Copy, source: Result, sink: Result) -> None:
    if sink.exit_status not in (0, None) and source.exit_status in (0, None):
        error = _meaning(step.sink, sink)
        cause = f" ({step.source.host}: {source.lost})" if source.lost else ""
        raise error.replaced(message=error.message + cause)
    if not source.ok:
        raise Failed(
            f"the copy from {step.source.host} broke off: {said(source)}",
            next_step=RUN_AGAIN,
        )
    if not sink.ok:
        raise _meaning(step.sink, sink)


def confirm(step: Confirm, hosts: Reads) -> None:
    """Read back what an import has left in containerd. Raises Failed or Integrity."""
    host, ctr = step.host, Ctr(step.ctr, step.namespace, Unpacking(step.snapshotter))
    target = read_targets(hosts, host, ctr).get(step.reference)
    if target is None:
        raise Failed(
            f"{host}: containerd took the archive, but {step.reference} is not there",
            next_step=RUN_AGAIN,
        )
    image_id = read_image_id(hosts, host, ctr, target, step.architecture)
    if image_id != step.image_id:
        actual = image_id or "unknown (its content is not whole)"
        raise Integrity(
            f"{host}: {step.reference} is image ID {actual}, recorded is {step.image_id}",
            next_step=then(
                f"breakglass fetch {host}",
                f"breakglass import {host}",
                advice="where that does not help, give import an older --tag",
            ),
        )
    unpacked, _ = read_checks(hosts, host, ctr, (step.reference,))
    if step.reference not in unpacked:
        check = host.by_hand(*ctr.line_of_check((step.reference,)))
        raise Integrity(
            f"{host}: {step.reference} is the recorded image, but containerd has not unpacked it"
            f"{f' with {step.snapshotter}' if step.snapshotter else ''}",
            next_step=look_first(check),
        )


def combined(errors: Sequence[BreakglassError]) -> BreakglassError:
    """The error that decides the exit code, with the sentences of all."""
    messages = [worst(errors).message, *(error.message for error in errors)]
    return worst(
        errors,
        message="; ".join(dict.fromkeys(messages)),
        next_step=joined([*(error.next_step for error in errors), RUN_AGAIN]),
    )


def _meaning(step: Run, result: Result) -> BreakglassError:
    """Our own scripts exit with the codes of errors.py. Of another command only what it printed is
    known.
    """
    kind = BY_EXIT_CODE.get(result.exit_status or 0)
    if step.ends_in_script and kind not in (None, Usage):
        return _meaning_of_script(step, result, kind)
    if result.exit_status is None:
        return Failed(
            f"{step.host}: the outcome of this step is not known: {said(result)}: {step}",
            next_step=RUN_AGAIN,
        )
    next_step = RUN_AGAIN
    if _disk_is_full(result):
        next_step = _make_room(step.host)
    return Failed(f"{step.host}: this failed with {said(result)}: {step}", next_step=next_step)


def _meaning_of_script(step: Run, result: Result, kind: type[BreakglassError]) -> BreakglassError:
    """The last line is the script's own sentence; what stands before it comes from others."""
    others, _, sentence = result.stderr.strip().rpartition(b"\n")
    is_without_room = sentence.startswith(NO_ROOM)
    sentence = sentence.removeprefix(NO_ROOM)
    message = f"{step.host}: {inert(sentence)}"
    if others.strip():
        message += f" ({inert(others)})"
    next_step = RUN_AGAIN
    if kind is Failed and step.failed_next:
        next_step = step.failed_next
    elif kind is Integrity and step.repair:
        next_step = step.repair
    elif is_without_room or _disk_is_full(result):
        next_step = _make_room(step.host)
    return kind(message, next_step=next_step)


def _disk_is_full(result: Result) -> bool:
    return b"no space left" in result.stderr.lower()


def _make_room(host: Host) -> Next:
    return look_first(host.by_hand("df", "-h"), advice="make room there, then try again")
