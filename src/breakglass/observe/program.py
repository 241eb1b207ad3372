"""Asks breakglass-remote.pyz on a host, and reads the JSON that it prints."""

from itertools import takewhile
from typing import Any

from breakglass.errors import BY_EXIT_CODE, BreakglassError, Failed, Unreachable, Usage, look_first
from breakglass.plan import PROGRAM, Argv, Host, script
from breakglass.ports import Reads, Result
from breakglass.shape import fits, parse_json
from breakglass.text import inert


def ask_program(reads: Reads, host: Host, arguments: Argv, shape: Any) -> Any:
    """Its answer, of the shape that was asked for.

    Raises what its exit code means, and Unreachable for an answer of another shape.
    """
    result = reads.ask(host, script(*arguments))
    if not result.ok:
        raise _failure(host, arguments, result)
    try:
        answer = parse_json(result.stdout)
        if not fits(answer, shape):
            raise ValueError("it is of another shape")
    except ValueError as error:
        raise Unreachable(
            f"{host}: {PROGRAM} {arguments[0]} answered something else than was asked: "
            f"{inert(result.stdout)}",
            next_step=look_first(host.by_hand("python3", "--version")),
            where=host.name,
        ) from error
    return answer


def _failure(host: Host, arguments: Argv, result: Result) -> BreakglassError:
    kind = BY_EXIT_CODE.get(result.exit_status or 0, Unreachable)
    if kind is Usage:
        kind = Failed
    last_line = result.stderr.strip().rpartition(b"\n")[2]
    sentence = (
        inert(last_line)
        or result.lost
        or f"{PROGRAM} {arguments[0]} ended with {result.exit_status}"
    )
    ours = takewhile(lambda each: each != "--", arguments)
    path = next((each for each in ours if each.startswith("/")), None)
    # Without a path the program has asked containerd.
    look = ("ls", "-la", path) if path else ("systemctl", "status", "containerd")
    return kind(f"{host}: {sentence}", next_step=look_first(host.by_hand(*look)), where=host.name)
