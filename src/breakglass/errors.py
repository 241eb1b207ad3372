"""Every expected failure is one class with one exit code; anything else is a bug and shows its
traceback.
"""


class BreakglassError(Exception):
    """A fault told as three sentences: what is wrong, what state things are in, what to type
    next.
    """

    kind = "bug"
    exit_code = 1
    state_by_default = ""

    def __init__(self, message: str, *, state: str = "", next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.state = state or self.state_by_default
        self.next_step = next_step


class Usage(BreakglassError):
    """Usage or configuration: nothing was contacted."""

    kind, exit_code, state_by_default = "usage", 2, "Nothing was changed, nothing was contacted."


class Refused(BreakglassError):
    """A precondition does not hold."""

    kind, exit_code, state_by_default = "refused", 3, "Nothing was changed."


class Failed(BreakglassError):
    """Failed part-way."""

    kind, exit_code = "failed", 4


class Unreachable(BreakglassError):
    """A host, registry or API was not reached, or did not let us in."""

    kind, exit_code, state_by_default = "unreachable", 5, "Nothing was changed."


class Integrity(BreakglassError):
    """What was found is not what was recorded; it was not used."""

    kind, exit_code, state_by_default = "integrity", 6, "It was not used."


class Busy(BreakglassError):
    """Another run holds the lock."""

    kind, exit_code, state_by_default = "busy", 7, "Nothing was changed."


class Interrupted(BreakglassError):
    """Ended by a signal; its number is known only when it comes."""

    kind = "signal"

    def __init__(self, signal_number: int, *, state: str = "", next_step: str = "") -> None:
        super().__init__(f"ended by signal {signal_number}", state=state, next_step=next_step)
        self.exit_code = 128 + signal_number


BY_EXIT_CODE: dict[int, type[BreakglassError]] = {
    kind.exit_code: kind for kind in (Usage, Refused, Failed, Unreachable, Integrity, Busy)
}


def worst(errors: list[BreakglassError]) -> BreakglassError:
    """Of several causes the one that decides the exit code: 6 before 4 before 5 before 3."""
    order = [6, 4, 5, 3, 7, 2]
    return min(
        errors, key=lambda error: order.index(error.exit_code) if error.exit_code in order else -1
    )
